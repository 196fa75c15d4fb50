// netboot/api/api.io.ts - netboot.sock: the management socket, HTTP with JSON.
//
// Owns: the socket's file and mode, the stream of events. Does not own the routes (routes.ts), how a request gets to its handler
// (dispatch.io.ts), the handlers. Whoever may open the socket may do everything, so it is for its owner and group alone.

import { createAdaptorServer } from '@hono/node-server';
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import { chmod, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Fault, reasonOf } from '../../formats/errors.ts';
import type { BootEvent } from '../journal/journal.ts';
import { dispatch } from './dispatch.io.ts';
import { type HandlerFacts, handlersOf } from './handlers.io.ts';
import { prepareProofs, whoAsks } from './identity.io.ts';

export type ApiFacts = HandlerFacts & {
  /** Told of each event while an event stream is open. */
  readonly watchers: Set<(event: BootEvent) => void>;
};

const COMMENT_EVERY_MS = 15_000;

/** @throws Fault E_LOCKED where another boot server answers on the socket. */
export async function serveApi(socketPath: string, facts: ApiFacts): Promise<{ close: () => Promise<void> }> {
  await takeSocket(socketPath);
  const runDir = dirname(socketPath);
  await prepareProofs(runDir);
  const { libDir, log, watchers } = facts;
  const api = dispatch({
    handlers: handlersOf(facts),
    events: (c) => eventStream(c, watchers),
    whoAsks: (proof, says) => whoAsks(runDir, proof, says),
    libDir,
    log,
  });
  const server = createAdaptorServer({ fetch: api.fetch });
  // A stream of events is not a slow request.
  if ('requestTimeout' in server) server.requestTimeout = 0;
  const oldMask = process.umask(0o117);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
  } catch (error) {
    throw new Fault('E_COMMAND', { what: `cannot listen on ${socketPath}`, why: reasonOf(error) }, { cause: error });
  } finally {
    process.umask(oldMask);
  }
  await chmod(socketPath, 0o660);
  return {
    close: () =>
      new Promise((resolve) => {
        if ('closeAllConnections' in server) server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** Removes a socket that a killed boot server left; one that answers is another boot server's. */
async function takeSocket(socketPath: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answers) {
    throw new Fault('E_LOCKED', {
      what: `another rouse netboot answers on ${socketPath}`,
      todo: 'use that one, or stop it first',
    });
  }
  await unlink(socketPath).catch(() => undefined);
}

/** The journal's events, until the reader goes away. */
function eventStream(c: Context, watchers: ApiFacts['watchers']): Response {
  return streamSSE(c, async (stream) => {
    const queue: BootEvent[] = [];
    let wake: () => void = () => undefined;
    const watcher = (event: BootEvent): void => {
      // A reader that does not read must not fill memory: it is cut off and asks again.
      if (queue.push(event) > 10_000) stream.abort();
      wake();
    };
    watchers.add(watcher);
    stream.onAbort(() => {
      watchers.delete(watcher);
      wake();
    });
    while (!stream.aborted && !stream.closed) {
      const event = queue.shift();
      if (event !== undefined) {
        await stream.writeSSE({ event: event.kind, data: JSON.stringify(event) });
        continue;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, COMMENT_EVERY_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      // Proxies and dead peers are found out by a line that says nothing.
      if (queue.length === 0) await stream.write(': still here\n\n');
    }
    watchers.delete(watcher);
  });
}
