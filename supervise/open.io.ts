// supervise/open.io.ts - opening service directories: supervise/ with its lock, FIFOs and status file.
//
// Owns: the order in which supervise 0.76 makes things, kept because clients rely on it: supervise/, lock taken,
// control, status, ok. Whoever can open `ok` for writing finds everything else there. Done for many directories at a
// time, because each lock or FIFO costs a process (commands.io.ts).
// Source: daemontools 0.76 supervise.c; Debian's patch 0002 (supervise may be a link to a folder yet to be made).

import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, readlinkSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from '../formats/errors.ts';
import { lockFiles, makeFifos } from './commands.io.ts';
import { errorCode, exists } from './directory.io.ts';
import { Unit } from './unit.io.ts';
import type { StandardStreams, UnitHost } from './unit.io.ts';

export type OpenRequest = {
  readonly name: string;
  readonly base: string;
  /** Further FIFOs to make beside control (the log's). */
  readonly fifos: readonly string[];
  readonly ownFds: readonly number[];
  readonly streams: () => StandardStreams;
  readonly command?: readonly string[];
};

export type Opened =
  | { readonly ok: true; readonly unit: Unit; readonly okFd: number }
  | { readonly ok: false; readonly why: string };

/** Opens a batch; the answers are in the order of the requests. A failure of one leaves the others alone. */
export async function openDirectories(requests: readonly OpenRequest[], host: UnitHost): Promise<Opened[]> {
  const locks = requests.map(({ base }) => attempt(() => openLock(base)));
  const fds = locks.flatMap((lock) => (lock.ok ? [lock.value] : []));
  const taken = new Map((await lockFiles(fds)).map((isTaken, index) => [fds[index], isTaken]));

  await makeFifos(
    requests.flatMap(({ base, fifos }, index) => {
      const lock = locks[index];
      if (lock?.ok !== true || taken.get(lock.value) !== true) return [];
      return ['control', ...fifos].map((name) => `${base}/supervise/${name}`).filter((path) => !exists(path));
    }),
  );
  const units = requests.map((request, index) => {
    const lock = locks[index];
    if (lock === undefined || !lock.ok) return lock ?? { ok: false as const, why: 'it was not opened' };
    const unit = attempt(() => {
      if (taken.get(lock.value) !== true) throw new Error('another supervisor holds supervise/lock; stop that one');
      return openUnit(request, lock.value, host);
    });
    if (!unit.ok) closeSync(lock.value);
    return unit;
  });

  await makeFifos(
    requests.flatMap(({ base }, index) => {
      const path = `${base}/supervise/ok`;
      return units[index]?.ok === true && !exists(path) ? [path] : [];
    }),
  );
  return requests.map(({ base, ownFds }, index): Opened => {
    const unit = units[index];
    if (unit === undefined || !unit.ok) {
      for (const fd of ownFds) closeSync(fd);
      return unit ?? { ok: false, why: 'it was not opened' };
    }
    const ok = attempt(() => openFifo(`${base}/supervise/ok`, constants.O_RDONLY));
    if (ok.ok) return { ok: true, unit: unit.value, okFd: ok.value };
    unit.value.abandon();
    return ok;
  });
}

type Attempt<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

function attempt<T>(action: () => T): Attempt<T> {
  try {
    return { ok: true, value: action() };
  } catch (thrown) {
    return { ok: false, why: reasonOf(thrown) };
  }
}

function openLock(base: string): number {
  const path = `${base}/supervise`;
  try {
    mkdirSync(path, 0o700);
  } catch (thrown) {
    if (errorCode(thrown) !== 'EEXIST') throw thrown;
    if (lstatSync(path).isSymbolicLink() && !exists(path)) {
      mkdirSync(resolve(realpathSync(base), readlinkSync(path)), { recursive: true, mode: 0o700 });
    }
  }
  return openSync(`${path}/lock`, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
}

function openUnit(request: OpenRequest, lockFd: number, host: UnitHost): Unit {
  const { name, base, ownFds, streams, command } = request;
  const controlFd = openFifo(`${base}/supervise/control`, constants.O_RDWR);
  return new Unit({ name, base, lockFd, controlFd, ownFds, streams, command }, host);
}

/** Opens what must be a FIFO: a plain file in its place would be read for ever. */
export function openFifo(path: string, mode: number, flags: number = constants.O_NONBLOCK): number {
  const fd = openSync(path, mode | flags);
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  throw new Error(`${path.slice(path.indexOf('supervise/'))} is not a FIFO; remove it`);
}
