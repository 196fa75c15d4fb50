// supervise/statefile.io.ts - the files and FIFOs of supervise/, opened as if anybody could have put them there.
//
// Owns: opening, reading and writing them without following links, without waiting, and only where they are what they
// should be. Whoever may write into one service directory must not be able to stop the supervisor of all, nor have root
// write elsewhere. Does not own: what the files say (record.ts, status.ts, history.ts).
// Every failure is thrown with the reason and what to do; the descriptor is closed.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { withReserve } from './descriptors.io.ts';
import { errorCode } from './directory.io.ts';

const CAREFULLY = constants.O_NONBLOCK | constants.O_NOFOLLOW;
/** What open(2) answers for a link, a socket, a FIFO without a reader, a folder, a device without a driver. */
const WRONG_KIND = new Set(['ELOOP', 'ENXIO', 'EISDIR', 'ENODEV', 'ENOTDIR']);
/** What a file system answers that has no room for a new file. */
const FULL = new Set(['ENOSPC', 'EDQUOT']);
/** A FIFO holds 64 KiB unless somebody has made it larger; what is written meanwhile is not waited for. */
const DRAIN_READS_MAX = 64;

function openKind(
  path: string,
  flags: number,
  permissions: number,
  kind: string,
  is: (stat: Stats) => boolean,
): number {
  const refusal = (): Error => new Error(`${nameOf(path)} is not ${kind}; remove it`);
  let fd: number;
  try {
    fd = openSync(path, flags | CAREFULLY, permissions);
  } catch (thrown) {
    throw WRONG_KIND.has(errorCode(thrown) ?? '') ? refusal() : thrown;
  }
  try {
    if (!is(fstatSync(fd))) throw refusal();
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

function nameOf(path: string): string {
  const at = path.lastIndexOf('/supervise/');
  return path.slice((at === -1 ? path.lastIndexOf('/') : at) + 1);
}

/** Opens what must be a regular file. */
export function openStateFile(path: string, flags: number, permissions = 0o600): number {
  return openKind(path, flags, permissions, 'a regular file', (stat) => stat.isFile());
}

/** Opens for writing. A file that has a second name may be somebody else's, or a copy to be kept: it loses this name. */
function openToWrite(path: string, flags: number, permissions: number): number {
  const fd = openStateFile(path, constants.O_WRONLY | constants.O_CREAT | flags, permissions);
  try {
    if (fstatSync(fd).nlink <= 1) return fd;
    unlinkSync(path);
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
  closeSync(fd);
  return openStateFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | flags, permissions);
}

/** Opens what must be a FIFO: a plain file or a device in its place would be read for ever. */
export function openFifo(path: string, access: number, isBlocking = false): number {
  const fd = openKind(path, access, 0, 'a FIFO', (stat) => stat.isFIFO());
  if (!isBlocking) return fd;
  try {
    // The same FIFO, whatever has taken its name since, without O_NONBLOCK: that belongs to the open file.
    return openSync(`/proc/self/fd/${fd}`, access);
  } finally {
    closeSync(fd);
  }
}

/** Throws away what is in a FIFO opened with O_NONBLOCK. */
export function drain(fd: number): void {
  const sink = Buffer.alloc(65_536);
  try {
    for (let reads = 0; reads < DRAIN_READS_MAX && readSync(fd, sink) > 0; reads += 1);
  } catch {
    // EAGAIN: it is empty.
  }
}

/** Text of a state file; undefined where there is none. Throws where it is longer, or no regular file. */
export function readStateFile(
  path: string,
  bytesMax: number,
  encoding: 'utf8' | 'latin1' = 'utf8',
): string | undefined {
  return withReserve(() => {
    let fd: number;
    try {
      fd = openStateFile(path, constants.O_RDONLY);
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw thrown;
    }
    try {
      const buffer = Buffer.alloc(bytesMax + 1);
      const length = readSync(fd, buffer, 0, buffer.length, 0);
      if (length > bytesMax) throw new Error(`${nameOf(path)} is longer than ${bytesMax} bytes; remove it`);
      return buffer.toString(encoding, 0, length);
    } finally {
      closeSync(fd);
    }
  });
}

function writeAll(path: string, flags: number, permissions: number, octets: Uint8Array): void {
  withReserve(() => {
    const fd = openToWrite(path, flags, permissions);
    try {
      if (writeSync(fd, octets) !== octets.length) {
        throw Object.assign(new Error('the disk is full'), { code: 'ENOSPC' });
      }
    } finally {
      closeSync(fd);
    }
  });
}

/** Writes beside, then renames: a reader never sees half a file. The file beside is always a new one. */
export function replaceFile(path: string, octets: Uint8Array, permissions: number): void {
  const beside = `${path}.new`;
  const write = (): void => writeAll(beside, constants.O_EXCL, permissions, octets);
  try {
    write();
  } catch (thrown) {
    if (errorCode(thrown) !== 'EEXIST') throw thrown;
    unlinkSync(beside);
    write();
  }
  renameSync(beside, path);
}

/**
 * As replaceFile, also on a full disk: there a file of the same size is overwritten where it is, which takes no room.
 * At most a page, so that one write is whole for every reader, and over our death; over a power cut it is not.
 */
export function rewriteFile(path: string, octets: Uint8Array, permissions: number): void {
  try {
    replaceFile(path, octets, permissions);
  } catch (thrown) {
    if (!FULL.has(errorCode(thrown) ?? '') || !overwrite(path, octets)) throw thrown;
  }
}

/** @returns whether the file has the size, and no other name. */
function overwrite(path: string, octets: Uint8Array): boolean {
  return withReserve(() => {
    let fd: number;
    try {
      fd = openStateFile(path, constants.O_WRONLY);
    } catch {
      // There is none, or it is none of ours: what replaceFile said is the reason.
      return false;
    }
    try {
      const { nlink, size } = fstatSync(fd);
      return nlink === 1 && size === octets.length && writeSync(fd, octets, 0, octets.length, 0) === octets.length;
    } finally {
      closeSync(fd);
    }
  });
}

/** Adds to a file; where it is longer than it may be, it is `path.old` first. */
export function appendFile(path: string, text: string, bytesMax: number): void {
  withReserve(() => {
    const size = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size > bytesMax) renameSync(path, `${path}.old`);
    const fd = openToWrite(path, constants.O_APPEND, 0o600);
    try {
      writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  });
}
