// images/deb.io.ts - the files of a .deb.
//
// Owns: reading them with dpkg-deb. Does not own: which packages (apt.io.ts), what of its
// members an image carries (member.ts), which files stay (layout.ts).

import { copyFile, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { Fault, reasonOf } from '../formats/errors.ts';
import { TarHeaders } from '../formats/tarheaders.ts';
import type { Content, FilePiece } from './content.ts';
import { wholeFile } from './content.io.ts';
import { type CpioEntry, EMPTY } from './cpio.ts';
import { memberOf, settle } from './member.ts';

/** Where the octets of files go, one file after the other. */
type Sink<Data> = {
  readonly take: (octets: AsyncIterable<Uint8Array>) => Promise<Data>;
  readonly close: () => Promise<void>;
};

/** Which members of an archive are taken, by path without leading slash and by kind. */
type Wanted = (entry: Pick<CpioEntry, 'path' | 'kind'>) => boolean;

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
  return readFiles(path, name, { take: (octets) => buffer(octets), close: async () => undefined }, (entry) =>
    wanted(entry.path),
  );
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
  wanted: Wanted,
): Promise<CpioEntry<Data>[]> {
  const refuse = (why: string): Fault => new Fault('E_ARCHIVE', { what: `cannot unpack the package ${name}`, why });
  const entries = new Map<string, CpioEntry<Data | Uint8Array>>();
  const { execa } = await import('execa');
  const unpack = execa('dpkg-deb', ['--fsys-tarfile', path], {
    stdin: 'ignore',
    buffer: { stdout: false },
    reject: false,
    encoding: 'buffer',
  });
  const archive = extract();
  const bounded = boundedHeaders(refuse);
  let broken: unknown;
  // What ends early for whatever reason shows in the archive.
  pipeline(unpack.stdout, bounded, archive).catch(() => undefined);
  try {
    for await (const item of archive) {
      const member = memberOf(item.header);
      if (member.kind === 'refused') throw refuse(member.why);
      if (member.kind === 'entry') {
        const { entry } = member;
        const isTaken = entry.kind === 'file' && wanted(entry);
        const data = isTaken ? await sink.take(item as AsyncIterable<Uint8Array>) : EMPTY;
        entries.delete(entry.path);
        entries.set(entry.path, entry.kind === 'file' ? { ...entry, data } : entry);
      }
      item.resume();
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
    throw refuse(said === '' ? reasonOf(broken ?? result.shortMessage) : said);
  }
  const settled = settle(entries);
  if ('why' in settled) throw refuse(settled.why);
  // What is wanted has been taken by the sink.
  return settled.entries.filter((entry): entry is CpioEntry<Data> => wanted(entry));
}

/** Hands octets of an archive on as long as its headers are of a size to be read into memory. */
function boundedHeaders(refuse: (why: string) => Fault): Transform {
  const headers = new TarHeaders();
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const why = headers.push(chunk);
      if (why === undefined) done(null, chunk);
      else done(refuse(why));
    },
  });
}

/**
 * Unpacks files of a .deb into a folder that appears only when all are in it, and that nobody else can enter.
 *
 * Folders are made here, files have neither owner nor mode of the archive, and links come last: nothing is written, read or
 * changed through what the archive says.
 *
 * @param wanted which members; only files and links can be. @param ready does what else belongs to it.
 */
export async function unpackDeb(
  path: string,
  name: string,
  into: string,
  wanted: Wanted,
  ready: (folder: string, files: readonly string[]) => Promise<void>,
): Promise<void> {
  const beside = `${into}.${process.pid}.new`;
  const place = async (inside: string): Promise<string> => {
    const full = join(beside, inside);
    await mkdir(dirname(full), { recursive: true });
    return full;
  };
  try {
    await rm(beside, { recursive: true, force: true });
    await mkdir(dirname(into), { recursive: true });
    await mkdir(beside, { mode: 0o700 });
    const taken = join(beside, '.taken');
    await mkdir(taken);
    const entries = await readFiles(path, name, folderSink(taken), wanted);
    for (const entry of entries) if (entry.kind === 'file') await rename(entry.data.file, await place(entry.path));
    const files = new Set(entries.flatMap((entry) => (entry.kind === 'file' ? [entry.path] : [])));
    for (const entry of entries) {
      if (entry.kind !== 'link') continue;
      if (!files.has(entry.target)) {
        const why = `its file ${entry.path} is a hard link to ${entry.target}, where nothing is looked for`;
        throw new Fault('E_ARCHIVE', { what: `cannot unpack the package ${name}`, why });
      }
      await copyFile(join(beside, entry.target), await place(entry.path));
      files.add(entry.path);
    }
    for (const entry of entries) if (entry.kind === 'symlink') await symlink(entry.target, await place(entry.path));
    await rm(taken, { recursive: true });
    await ready(beside, [...files]);
    await rename(beside, into);
  } catch (error) {
    await rm(beside, { recursive: true, force: true });
    throw error;
  }
}

/** Each file's octets in a file of their own. */
function folderSink(folder: string): Sink<FilePiece> {
  let count = 0;
  return {
    async take(octets) {
      count += 1;
      const file = join(folder, String(count));
      await writeFile(file, octets, { flag: 'wx' });
      return wholeFile(file);
    },
    close: async () => undefined,
  };
}
