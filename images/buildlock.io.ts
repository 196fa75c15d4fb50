// images/buildlock.io.ts - one build at a time in one cache.
//
// Owns: the lock, and waiting for it. apt's own lock would end a second build with an error; here it waits, and finds its work
// done.
//
// The lock is an abstract UNIX socket named by the folder: the kernel gives it back when its owner dies, however it dies, so
// there is nothing stale to clean up. It excludes builds of one network namespace; between two, apt's lock still stands.

import { mkdir, realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../formats/errors.ts';
import type { OnBuildEvent } from './event.ts';
import { sha256Of } from './files.io.ts';

const POLL_MS = 250;
const WAIT_LIMIT_MS = 3_600_000;

/**
 * Runs the work while no other build runs in the folder.
 *
 * @param folder made where it is missing.
 * @throws Fault E_LOCKED after an hour of waiting.
 */
export async function withBuildLock<T>(folder: string, onEvent: OnBuildEvent, work: () => Promise<T>): Promise<T> {
  await mkdir(folder, { recursive: true });
  const name = `\0rouse-build-${sha256Of(await realpath(folder)).slice(0, 32)}`;
  let server = await take(name);
  for (let waitedMs = 0; server === undefined; waitedMs += POLL_MS) {
    if (waitedMs === 0) onEvent({ kind: 'note', text: `another build is at work in ${folder}; waiting for it` });
    if (waitedMs >= WAIT_LIMIT_MS) {
      throw new Fault('E_LOCKED', {
        what: 'cannot build',
        why: `another build has been at work in ${folder} for an hour`,
      });
    }
    await sleep(POLL_MS);
    server = await take(name);
  }
  const held = server;
  try {
    return await work();
  } finally {
    await new Promise((resolve) => {
      held.close(resolve);
    });
  }
}

async function take(name: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => {
      server.unref();
      resolve(server);
    });
  });
}
