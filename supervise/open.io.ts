// supervise/open.io.ts - opening service directories: supervise/ with its lock, FIFOs and status file.
//
// Owns: the order in which supervise 0.76 makes things, kept because clients rely on it: supervise/, lock taken,
// control, status, ok. Whoever can open `ok` for writing finds everything else there. Done for many directories at a
// time, because each lock or FIFO costs a process (commands.io.ts).
// Source: daemontools 0.76 supervise.c; Debian's patch 0002 (supervise may be a link to a folder yet to be made).

import { closeSync, constants, lstatSync, mkdirSync, readlinkSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from '../formats/errors.ts';
import { lockFiles, makeFifos } from './commands.io.ts';
import { errorCode, exists } from './directory.io.ts';
import type { UnitHost, UnitPlan } from './host.io.ts';
import { openFifo, openStateFile } from './statefile.io.ts';
import { Unit } from './unit.io.ts';

export type OpenRequest = {
  readonly name: string;
  readonly base: string;
  /** Further FIFOs to make beside control (the log's). */
  readonly fifos: readonly string[];
  readonly ownFds: readonly number[];
  readonly streams: UnitPlan['streams'];
  readonly isLogged?: UnitPlan['isLogged'];
  readonly beforeStart?: UnitPlan['beforeStart'];
  readonly command?: readonly string[];
};

export type Opened =
  | { readonly ok: true; readonly unit: Unit; readonly okFd: number }
  | { readonly ok: false; readonly why: string };

/** Opens a batch; the answers are in the order of the requests. A failure of one leaves the others alone. */
export async function openDirectories(requests: readonly OpenRequest[], host: UnitHost): Promise<Opened[]> {
  const locks = requests.map(({ base }) => attempt(() => openLock(base)));
  const fds = locks.flatMap((lock) => (lock.ok ? [lock.value] : []));
  let unlockable: string | undefined;
  const isFree = await lockFiles(fds).catch((thrown: unknown): boolean[] => {
    unlockable = reasonOf(thrown);
    return [];
  });
  const taken = new Map(isFree.map((isTaken, index) => [fds[index], isTaken]));

  const complaint = await makeFifos(
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
      if (unlockable !== undefined) throw new Error(unlockable);
      if (taken.get(lock.value) !== true) throw new Error('another supervisor holds supervise/lock; stop that one');
      return openUnit(request, lock.value, host, complaint);
    });
    if (!unit.ok) closeSync(lock.value);
    return unit;
  });

  const okComplaint = await makeFifos(
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
    const ok = attempt(() => openMade(`${base}/supervise/ok`, constants.O_RDONLY, okComplaint));
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
  return openStateFile(`${path}/lock`, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
}

function openUnit(request: OpenRequest, lockFd: number, host: UnitHost, complaint: string | undefined): Unit {
  const controlFd = openMade(`${request.base}/supervise/control`, constants.O_RDWR, complaint);
  try {
    return new Unit({ ...request, lockFd, controlFd }, host);
  } catch (thrown) {
    closeSync(controlFd);
    throw thrown;
  }
}

/** A FIFO that should be there by now. @param complaint of the command that made several; says why one is missing. */
function openMade(path: string, access: number, complaint: string | undefined): number {
  try {
    return openFifo(path, access);
  } catch (thrown) {
    throw errorCode(thrown) === 'ENOENT' && complaint !== undefined ? new Error(complaint) : thrown;
  }
}
