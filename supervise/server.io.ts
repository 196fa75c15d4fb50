// supervise/server.io.ts - supervise.sock: HTTP with JSON on a UNIX socket, mode 0600.
//
// Owns: the listener. Does not own: what requests mean (api.ts), the services (supervisor.io.ts).

import { chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Fault, reasonOf } from '../formats/errors.ts';
import { route } from './api.ts';
import type { ApplyAnswer } from './api.ts';
import type { HistoryEntry } from './history.ts';
import type { Event } from './service.ts';
import { renderMetrics } from './metrics.ts';
import { usageOf } from './procfs.io.ts';
import type { ServiceView } from './view.ts';
import { ORDERS } from './control.ts';

export type ServedServices = {
  readonly list: () => readonly ServiceView[];
  /** Calls back with each service that has changed. @returns how to stop. */
  readonly onEvent: (listener: (view: ServiceView) => void) => () => void;
  /** @returns undefined where no service of that name is open. */
  readonly history: (name: string) => readonly HistoryEntry[] | undefined;
  /** @returns undefined where no service of that name is open. */
  readonly apply: (name: string) => Promise<ApplyAnswer | undefined>;
  /** @returns false where no service of that name takes orders. */
  readonly feed: (name: string, event: Event) => boolean;
};

/** Listens. The caller holds the lock beside the socket, so a file in its place is a dead supervisor's. */
export async function serve(socketPath: string, services: ServedServices): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(body)}\n`);
    };
    const asked = route(request.method ?? 'GET', request.url ?? '/');
    request.resume();
    if (asked.kind === 'refuse') return answer(asked.status, { error: asked.error });
    if (asked.kind === 'list')
      return answer(200, { services: asked.usage ? withUsage(services.list()) : services.list() });
    if (asked.kind === 'metrics') {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
      response.end(renderMetrics(withUsage(services.list())));
      return;
    }
    if (asked.kind === 'events') return sendEvents(response, services);
    if (asked.kind === 'history') {
      const entries = services.history(asked.name);
      return entries === undefined
        ? answer(404, { error: `${asked.name}: no such service` })
        : answer(200, { entries });
    }
    const show = (): ServiceView | undefined => services.list().find(({ name }) => name === asked.name);
    if (asked.kind === 'order' && !services.feed(asked.name, ORDERS[asked.order].event)) {
      const why = show()?.why ?? 'no such service';
      return answer(404, { error: `${asked.name}: ${why}` });
    }
    const shown = (): void => {
      const view = show();
      return view === undefined ? answer(404, { error: `${asked.name}: no such service` }) : answer(200, view);
    };
    if (asked.kind !== 'apply') return shown();
    void services.apply(asked.name).then((given) => {
      if (given === undefined) shown();
      else if (given.kind === 'refused')
        answer(409, { error: `${asked.name}: not restarted, as it would not start: ${given.why}` });
      else answer(200, { applied: given.applied });
    });
  });
  boundConnections(server);
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    const umask = process.umask(0o077);
    server.once('error', (error) => {
      reject(new Fault('E_STORE', { what: `cannot listen on ${socketPath}`, why: reasonOf(error) }, { cause: error }));
    });
    server.listen(socketPath, resolve);
    process.umask(umask);
  });
  chmodSync(socketPath, 0o600);
  // A connection that could not be accepted is the client's to try again.
  server.on('error', () => undefined);
  return server;
}

/** Connections at a time, `rouse status --watch` and event streams included. */
const CONNECTIONS_MAX = 64;

/** So that no crowd of connections takes the descriptors that services need. The oldest without a request makes room. */
function boundConnections(server: Server): void {
  const idle = new Set<Socket>();
  let count = 0;
  server.on('connection', (socket: Socket) => {
    count += 1;
    idle.add(socket);
    socket.once('close', () => {
      count -= 1;
      idle.delete(socket);
    });
    // The newcomer is the last of them: it goes where all others are being served.
    const [oldest] = idle;
    if (count > CONNECTIONS_MAX) oldest?.destroy();
  });
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    idle.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) idle.add(socket);
    });
  });
}

function withUsage(views: readonly ServiceView[]): ServiceView[] {
  let usage: ReturnType<typeof usageOf>;
  try {
    usage = usageOf(views.flatMap(({ pid }) => (pid === 0 ? [] : [pid])));
  } catch {
    // Out of descriptors: what is used is not told, everything else is.
    return [...views];
  }
  return views.map((view) => (view.pid === 0 ? view : { ...view, usage: usage.get(view.pid) }));
}

/** A listener that does not read is let go when this much waits for it: the supervisor keeps nothing for anybody. */
const EVENTS_WAITING_BYTES_MAX = 262_144;

/** Server-sent events: first every service as it is, then each one that changes. */
function sendEvents(response: ServerResponse, services: ServedServices): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const send = (view: ServiceView): void => {
    response.write(`event: service\ndata: ${JSON.stringify(view)}\n\n`);
    if (response.writableLength > EVENTS_WAITING_BYTES_MAX) response.destroy();
  };
  const stop = services.onEvent(send);
  response.on('close', stop);
  for (const view of services.list()) send(view);
}
