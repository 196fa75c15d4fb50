// images/buildlock.io.ts - one build at a time in one cache.
//
// Owns: the lock, and waiting for it. apt's own lock would end a second build with an error; here it waits, and finds its work
// done.
//
// The lock is an exclusive transaction of SQLite on an empty file in the folder itself: the kernel gives it back when its owner
// dies, however it dies, so there is nothing stale to clean up. Only who may open the file (0600, the folder's owner and root)
// can hold it, from whatever network namespace. Source: sqlite.org/lockingv3.html.

import { chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { OnBuildEvent } from './event.ts';
import { publishNew } from './files.io.ts';

const POLL_MS = 250;
const WAIT_LIMIT_MS = 3_600_000;
const LOCK_FILE = '.build.lock';
const SQLITE_BUSY = 5;

/**
 * Runs the work while no other build runs in the folder.
 *
 * @param folder made where it is missing.
 * @throws Fault E_LOCKED after an hour of waiting, E_STORE where there can be no lock.
 */
export async function withBuildLock<T>(folder: string, onEvent: OnBuildEvent, work: () => Promise<T>): Promise<T> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, LOCK_FILE);
  await makeLockFile(folder, path);
  let held = take(path);
  for (let waitedMs = 0; held === undefined; waitedMs += POLL_MS) {
    if (waitedMs === 0) onEvent({ kind: 'note', text: `another build is at work in ${folder}; waiting for it` });
    if (waitedMs >= WAIT_LIMIT_MS) {
      throw new Fault('E_LOCKED', {
        what: 'cannot build',
        why: `another build has been at work in ${folder} for an hour`,
      });
    }
    await sleep(POLL_MS);
    held = take(path);
  }
  try {
    return await work();
  } finally {
    held.close();
  }
}

/** Linked into place whole: a process that closes a file which it has open twice loses its locks on it (fcntl_locking(2)). */
async function makeLockFile(folder: string, path: string): Promise<void> {
  if (!(await publishNew(path, '', 0o600)) || process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(folder);
  await chown(path, uid, gid);
}

/** @returns undefined where another has it. */
function take(path: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // A journal on disk would need room, and a full disk is told by the build itself.
    database.exec('PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof Error && 'errcode' in error && (Number(error.errcode) & 255) === SQLITE_BUSY) return undefined;
    throw new Fault(
      'E_STORE',
      { what: `cannot lock ${path}`, why: reasonOf(error), todo: 'build as the owner of its folder, or remove it' },
      { cause: error },
    );
  }
}
