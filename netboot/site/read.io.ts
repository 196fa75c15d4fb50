// netboot/site/read.io.ts - one configuration file or folder read: what is absent told from what cannot be read.
//
// Owns: the open that never waits (a FIFO, a device and a folder in the place of a file are refused), the bound on what is
// read, and the difference between "there is none" and "there is one and it cannot be read", on which it depends whether a
// node is let go or the last good state stays. Does not own which files there are (load.io.ts), or what they mean.
//
// Sources: open(2) on O_NONBLOCK and FIFOs; errno(3).

import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { reasonOf } from '../../formats/errors.ts';
import { YAML_LIMIT_BYTES } from '../../formats/yaml/document.ts';

/** What stands under the name of a file. `unreadable`: something does, with the reason why it is no text. */
export type FileReading =
  | { readonly kind: 'absent' }
  /** `stamp`: another one whenever the content may be another. */
  | { readonly kind: 'text'; readonly text: string; readonly stamp: string }
  | { readonly kind: 'unreadable'; readonly why: string };

export type FolderReading =
  | { readonly kind: 'absent' }
  | { readonly kind: 'names'; readonly names: readonly string[] }
  | { readonly kind: 'unreadable'; readonly why: string };

/** Reads a regular file of at most YAML_LIMIT_BYTES. Never throws, never waits for a writer. */
export async function readRegular(file: string): Promise<FileReading> {
  let handle;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (thrown) {
    return absentOr(file, thrown);
  }
  try {
    const { mtimeNs, ctimeNs, ino, size, ...stat } = await handle.stat({ bigint: true });
    if ((Number(stat.mode) & constants.S_IFMT) !== constants.S_IFREG) {
      return { kind: 'unreadable', why: 'it is not a regular file' };
    }
    const tooLong = { kind: 'unreadable', why: `it is longer than ${YAML_LIMIT_BYTES} bytes` } as const;
    if (size > BigInt(YAML_LIMIT_BYTES)) return tooLong;
    const octets = Buffer.alloc(Number(size) + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(octets, length, octets.length - length, length);
      length += bytesRead;
      if (bytesRead === 0) break;
      // Longer than it said: it is being written, and the watch tells when it is done.
      if (length === octets.length) break;
    }
    const stamp = `${mtimeNs} ${ctimeNs} ${ino} ${size}`;
    return { kind: 'text', text: octets.toString('utf8', 0, length), stamp };
  } catch (thrown) {
    return { kind: 'unreadable', why: reasonOf(thrown) };
  } finally {
    await handle.close().catch(() => undefined);
  }
}

/** Lists a folder, sorted. Never throws. */
export async function listFolder(folder: string): Promise<FolderReading> {
  try {
    return { kind: 'names', names: (await readdir(folder)).sort(byName) };
  } catch (thrown) {
    return absentOr(folder, thrown);
  }
}

async function absentOr(
  path: string,
  thrown: unknown,
): Promise<{ kind: 'absent' } | { kind: 'unreadable'; why: string }> {
  if (codeOf(thrown) !== 'ENOENT') return { kind: 'unreadable', why: reasonOf(thrown) };
  const why = await lstat(path).then(
    (stat) => (stat.isSymbolicLink() ? 'it is a link to nothing' : undefined),
    (error: unknown) => (codeOf(error) === 'ENOENT' ? undefined : reasonOf(error)),
  );
  return why === undefined ? { kind: 'absent' } : { kind: 'unreadable', why };
}

/** "ENOENT" and the like; undefined for what is no system error. */
export function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
}

function byName(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
