// netboot/site/images.io.ts - what is built: the current manifest of every image under lib/images.
//
// Owns: reading lib/images/IMAGE/current, remembered by the file it points at, so that a promotion is seen by the next
// boot and an unchanged image costs one readlink. One that no trusted key signed is broken. Does not own the manifest's
// shape (images/manifest.ts), who is trusted (images/signature.ts), or publishing.

import type { Dirent } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import { readRegular } from '../../images/files.io.ts';
import { readTrusted } from '../../images/keys.io.ts';
import { openSigned } from '../../images/signature.ts';
import { codeOf } from './read.io.ts';
import type { ImageState, Images } from './site.ts';

/** Manifests of the same generation never change: published files are never overwritten. */
export class ImageReader {
  readonly #folder: string;
  readonly #libDir: string;
  #last: Images = new Map();
  readonly #known = new Map<string, { readonly target: string; readonly state: ImageState }>();

  /** @param libDir holds images/. It need not exist yet. */
  constructor(libDir: string) {
    this.#libDir = libDir;
    this.#folder = join(libDir, 'images');
  }

  /** Every image that has a current generation, as it is now. */
  async read(): Promise<Images> {
    let names: Dirent[];
    try {
      names = await readdir(this.#folder, { withFileTypes: true });
    } catch (error) {
      // Only a folder that is not there holds no images; one that cannot be read now (EMFILE) holds what it held.
      if (codeOf(error) !== 'ENOENT') return this.#last;
      names = [];
    }
    const images = new Map<string, ImageState>();
    for (const entry of names) {
      if (!entry.isDirectory()) continue;
      const state = await this.#readOne(entry.name);
      if (state !== undefined) images.set(entry.name, state);
    }
    this.#last = images;
    return images;
  }

  async #readOne(name: string): Promise<ImageState | undefined> {
    const known = this.#known.get(name);
    const link = join(this.#folder, name, 'current');
    let target;
    try {
      target = await readlink(link);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      return known?.state ?? { kind: 'broken', why: `${link}: ${reasonOf(error)}` };
    }
    if (known?.target === target && known.state.kind === 'built') return known.state;
    const state = await this.#parse(name, target);
    this.#known.set(name, { target, state });
    return state;
  }

  async #parse(image: string, target: string): Promise<ImageState> {
    const file = join(this.#folder, image, target);
    const generation = Number(/^([1-9]\d*)\.json$/.exec(target)?.[1]);
    try {
      const opened = openSigned(
        (await readRegular(file)).toString(),
        { image, generation },
        await readTrusted(this.#libDir),
      );
      if (opened.kind === 'trusted') return { kind: 'built', manifest: opened.manifest };
      return { kind: 'broken', why: `${file}: ${opened.why}` };
    } catch (error) {
      return { kind: 'broken', why: `${file}: ${reasonOf(error)}` };
    }
  }
}
