// supervise/post.io.ts - a supervisor's post: the lock that keeps a second one away, and the socket beside it.
//
// Owns: both files, and telling whether they are still the ones that were made. Does not own: the requests (server.io.ts),
// what follows from a removal (presence.ts).

import { closeSync, constants, fstatSync, mkdirSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { dirname } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { lockFiles } from './commands.io.ts';
import type { Found } from './presence.ts';
import { serve } from './server.io.ts';
import type { ServedServices } from './server.io.ts';
import { openStateFile } from './statefile.io.ts';

export class Post {
  readonly #socketPath: string;
  readonly #services: ServedServices;
  #lockFd: number | undefined;
  #server: Server | undefined;
  #socketId: string | undefined;

  constructor(socketPath: string, services: ServedServices) {
    this.#socketPath = socketPath;
    this.#services = services;
  }

  /** Takes the lock where it is not held, and listens. Throws a Fault: E_LOCKED where another supervisor is there, E_STORE. */
  async take(): Promise<void> {
    mkdirSync(dirname(this.#socketPath), { recursive: true });
    if (this.lock !== 'ours') {
      const fd = await takeLock(this.#socketPath);
      if (this.#lockFd !== undefined) closeSync(this.#lockFd);
      this.#lockFd = fd;
    }
    // Before the next one is there: closing removes whatever has the name.
    this.#close();
    this.#server = await serve(this.#socketPath, this.#services);
    this.#socketId = idOf(this.#socketPath);
  }

  get lock(): Found {
    if (this.#lockFd === undefined) return 'gone';
    const { dev, ino } = fstatSync(this.#lockFd, { bigint: true });
    return found(`${this.#socketPath}.lock`, `${dev}:${ino}`);
  }

  get socket(): Found {
    return found(this.#socketPath, this.#socketId);
  }

  leave(): void {
    this.#close();
    if (this.#lockFd !== undefined) closeSync(this.#lockFd);
    this.#lockFd = undefined;
  }

  #close(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = undefined;
  }
}

/** "device:inode" of what has the name; undefined for nothing. */
export function idOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}

/** Whether what has the name is what had it. What cannot be told counts as ours. */
export function found(path: string, id: string | undefined): Found {
  try {
    const now = idOf(path);
    if (now === undefined) return 'gone';
    return now === id ? 'ours' : 'another';
  } catch {
    return 'ours';
  }
}

async function takeLock(socketPath: string): Promise<number> {
  let fd: number;
  let isTaken: boolean | undefined;
  try {
    fd = openStateFile(`${socketPath}.lock`, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
    [isTaken] = await lockFiles([fd]);
  } catch (thrown) {
    throw new Fault('E_STORE', { what: `cannot lock ${socketPath}`, why: reasonOf(thrown) }, { cause: thrown });
  }
  if (isTaken === true) return fd;
  closeSync(fd);
  throw new Fault('E_LOCKED', {
    what: `cannot supervise with the socket ${socketPath}`,
    why: 'another rouse supervise is running on it',
    todo: 'use that one (rouse status), or stop it first',
  });
}
