// images/deb.io.ts - the files of a .deb.
//
// Owns: reading them with dpkg-deb. Does not own: which packages (apt.io.ts), which files stay (layout.ts).

import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { Content } from './content.ts';
import type { CpioEntry } from './cpio.ts';

/** Where the octets of files go, one file after the other. */
type Sink<Data> = {
  readonly take: (octets: AsyncIterable<Uint8Array>) => Promise<Data>;
  readonly close: () => Promise<void>;
};

/**
 * The files of a .deb, with owners, modes, devices and hard links as in the archive. Of a path that is there twice the last one
 * counts, as for dpkg.
 *
 * @param into a file for their octets, made anew: the entries lead there.
 * @throws Fault E_ARCHIVE where dpkg-deb cannot read it.
 */
export async function readDeb(path: string, name: string, into: string): Promise<CpioEntry<Content>[]> {
  return readFiles(path, name, await fileSink(into), () => true);
}

/** A few small files of a .deb, in memory. @param wanted which of them, by path without leading slash. */
export async function readFromDeb(path: string, name: string, wanted: (path: string) => boolean): Promise<CpioEntry[]> {
  return readFiles(path, name, { take: (octets) => buffer(octets), close: async () => undefined }, wanted);
}

async function fileSink(into: string): Promise<Sink<Content>> {
  await mkdir(dirname(into), { recursive: true });
  const file = await open(into, 'w', 0o600);
  let end = 0;
  return {
    async take(octets) {
      const offset = end;
      for await (const piece of octets) {
        await file.writeFile(piece);
        end += piece.length;
      }
      return { file: into, offset, length: end - offset };
    },
    close: () => file.close(),
  };
}

async function readFiles<Data extends Content>(
  path: string,
  name: string,
  sink: Sink<Data>,
  wanted: (path: string) => boolean,
): Promise<CpioEntry<Data>[]> {
  const entries = new Map<string, CpioEntry<Data>>();
  const { execa } = await import('execa');
  const unpack = execa('dpkg-deb', ['--fsys-tarfile', path], {
    stdin: 'ignore',
    buffer: { stdout: false },
    reject: false,
    encoding: 'buffer',
  });
  const archive = extract();
  let broken: unknown;
  unpack.stdout.on('error', (error) => archive.destroy(error)).pipe(archive);
  try {
    for await (const item of archive) {
      const { header } = item;
      const cleaned = header.name.replace(/^\.?\/+/, '').replace(/\/+$/, '');
      if (cleaned.split('/').includes('..')) {
        throw new Fault('E_ARCHIVE', {
          what: `cannot unpack the package ${name}`,
          why: `its file ${cleaned} leaves the root`,
        });
      }
      const isWanted = cleaned !== '' && cleaned !== '.' && wanted(cleaned);
      const type = header.type ?? 'file';
      const isFile = type === 'file' || type === 'contiguous-file';
      const data = isWanted && isFile ? await sink.take(item as AsyncIterable<Uint8Array>) : undefined;
      item.resume();
      if (!isWanted) continue;
      const base = { path: cleaned, mode: (header.mode ?? 0o644) & 0o7777, uid: header.uid ?? 0, gid: header.gid ?? 0 };
      const numbers = { major: header.devmajor ?? 0, minor: header.devminor ?? 0 };
      const target = header.linkname ?? '';
      entries.delete(cleaned);
      if (type === 'directory') entries.set(cleaned, { ...base, kind: 'directory' });
      else if (type === 'symlink') entries.set(cleaned, { ...base, mode: 0o777, kind: 'symlink', target });
      else if (type === 'link') entries.set(cleaned, { ...base, kind: 'link', target: target.replace(/^\.?\/+/, '') });
      else if (type === 'character-device') entries.set(cleaned, { ...base, ...numbers, kind: 'character' });
      else if (type === 'block-device') entries.set(cleaned, { ...base, ...numbers, kind: 'block' });
      else if (type === 'fifo') entries.set(cleaned, { ...base, kind: 'fifo' });
      else if (data !== undefined) entries.set(cleaned, { ...base, kind: 'file', data });
    }
  } catch (error) {
    unpack.kill();
    // What is wrong with the disk is another matter than what is wrong with the archive.
    if (error instanceof Fault || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    broken = error;
  } finally {
    await sink.close();
  }
  const result = await unpack;
  if (result.failed || broken !== undefined) {
    const said = Buffer.from(result.stderr).toString().trim().split('\n').at(-1) ?? '';
    const why = said === '' ? reasonOf(broken ?? result.shortMessage) : said;
    throw new Fault('E_ARCHIVE', { what: `cannot unpack the package ${name}`, why });
  }
  return [...entries.values()];
}

/** Unpacks a .deb into a folder that appears only when it is whole. @param ready does what else belongs to that. */
export async function unpackDeb(
  path: string,
  name: string,
  into: string,
  ready: (folder: string) => Promise<void>,
): Promise<void> {
  const beside = `${into}.${process.pid}.new`;
  const { execa } = await import('execa');
  try {
    await mkdir(beside, { recursive: true });
    const result = await execa('dpkg-deb', ['-x', path, beside], { stdin: 'ignore', reject: false });
    if (result.failed) {
      const why = result.stderr.trim() || result.shortMessage;
      throw new Fault('E_ARCHIVE', { what: `cannot unpack the package ${name}`, why });
    }
    await ready(beside);
    await rename(beside, into);
  } catch (error) {
    await rm(beside, { recursive: true, force: true });
    throw error;
  }
}
