// netboot/boots/loaders.io.ts - the loader files of lib/loaders, in memory for TFTP.
//
// Owns: reading them when they are new or changed. Does not own which there are (dhcp/loaders.ts), who is sent which.

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loaderFiles } from '../dhcp/loaders.ts';
import type { FileAnswer } from '../tftp/server.io.ts';

/** The loader files of lib/loaders, in memory: some hundred kilobytes each, asked for by a whole rack at once. */
export class LoaderShelf {
  readonly #folder: string;
  readonly #files = new Map<string, { readonly stamp: string; readonly content: Uint8Array }>();
  readonly #names: ReadonlySet<string> = new Set(loaderFiles());

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads those that are new or changed. */
  async refresh(): Promise<void> {
    const there = new Set(await readdir(this.#folder).catch(() => []));
    for (const name of this.#names) if (there.has(name)) await this.read(name);
    for (const name of this.#files.keys()) if (!there.has(name)) this.#files.delete(name);
  }

  async read(name: string): Promise<FileAnswer> {
    if (!this.#names.has(name)) return { kind: 'refuse', why: 'no boot plan names this file' };
    const path = join(this.#folder, name);
    try {
      const { mtimeMs, size } = await stat(path);
      const stamp = `${mtimeMs} ${size}`;
      const known = this.#files.get(name);
      if (known?.stamp === stamp) return { kind: 'file', content: known.content };
      const content = await readFile(path);
      this.#files.set(name, { stamp, content });
      return { kind: 'file', content };
    } catch {
      return { kind: 'refuse', why: `loader ${name} is not in ${this.#folder}; fetch it with: rouse image loaders` };
    }
  }

  sizes(): ReadonlyMap<string, number> {
    return new Map(Array.from(this.#files, ([name, { content }]) => [name, content.length]));
  }
}
