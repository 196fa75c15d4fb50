// images/deb.io.ts - the files of a .deb.
//
// Owns: reading them with dpkg-deb. Does not own: which packages (apt.io.ts), what of its
// members an image carries (member.ts), which files stay (layout.ts).

import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { Fault, reasonOf } from '../formats/errors.ts';
import { TarHeaders } from '../formats/tarheaders.ts';
import type { Content } from './content.ts';
import { type CpioEntry, EMPTY } from './cpio.ts';
import { memberOf, settle } from './member.ts';

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
        const isTaken = entry.kind === 'file' && wanted(entry.path);
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
  return settled.entries.filter((entry): entry is CpioEntry<Data> => wanted(entry.path));
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
