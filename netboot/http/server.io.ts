// netboot/http/server.io.ts - the boot port: node:http on the served addresses, bodies from memory and files.
//
// Owns: sockets, ranges applied, backpressure, counting what was sent. Does not own what is answered (route.ts, boots.io.ts).
//
// Files that never change are sent from memory, which all readers share (bodies.io.ts). What has no room there is read with
// fs.read into two buffers of 256 KB per response, one filled while the other is sent, reused only after the write
// callback; createReadStream has a third of the throughput at four times the CPU.

import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { printableAscii } from '../../formats/printable.ts';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import { portHolder } from '../ports.io.ts';
import { portTaken } from '../ports.ts';
import { PROTOCOL_BODY_LIMIT_BYTES } from '../fleet/lines.ts';
import { Bodies, type Body } from './bodies.io.ts';
import { connectionLimit, descriptorLimit, Doors, Turns } from './doors.ts';
import { select, type Slice } from './range.ts';
import { peerAddress } from './route.ts';

/** A stretch of a body. Files never change once published, so their size may be known before. */
export type BodyPart =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** `isShared`: it never changes, and many read it at once. */
  | { readonly kind: 'file'; readonly path: string; readonly sizeBytes: number; readonly isShared?: boolean };

export type HttpRequest = {
  readonly method: string;
  readonly target: string;
  readonly peer: Ipv4Address;
  /** Whether the peer was seen to be at its address, as whoever opens a connection is; a datagram's sender may be made up. */
  readonly isProven: boolean;
  readonly authorization: string | undefined;
  /** Read for POST only; at most PROTOCOL_BODY_LIMIT_BYTES + 1 bytes. */
  readonly body: Uint8Array;
};

/** What became of a body. */
export type Sent = { readonly bytes: number; readonly durationMs: number; readonly complete: boolean };

export type HttpResponse = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly etag?: string | undefined;
  readonly parts: readonly BodyPart[];
  /** Told once before the first octet, with how many there are; onSent follows. Not for HEAD. */
  readonly onBegun?: (bytes: number) => void;
  /** Told once when the body is sent or broken off. Not for HEAD. */
  readonly onSent?: (sent: Sent) => void;
};

export type HttpServerOptions = {
  readonly addresses: readonly Ipv4Address[];
  /** 0 takes a free one. */
  readonly port: number;
  readonly respond: (request: HttpRequest) => Promise<HttpResponse>;
  /** Files in memory; its own where it is left out. */
  readonly bodies?: Bodies;
  readonly log: (line: string) => void;
};

const CHUNK_BYTES = 256 * 1024;
/** Of a body in memory at a time: what was sent is counted by these. */
const SLICE_BYTES = 1024 * 1024;
/** A machine that was switched off in the middle of a download holds its socket no longer than this. */
const SILENT_SOCKET_MS = 60_000;
/** Whoever connects has something to ask: its head within this time, all of it within the next. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 20_000;
const BETWEEN_REQUESTS_MS = 15_000;
/** How often requests are looked for whose head or whole did not come in its time. */
const LOOK_EVERY_MS = 2000;
/** Requests sent before their answers came: answered one after the other, and no more of them than this. */
const MOST_PIPELINED = 8;

/**
 * Serves until closed.
 *
 * @returns the port that was taken; close() ends open downloads.
 * @throws Fault E_PORT_TAKEN naming the port.
 */
export async function serveHttp(options: HttpServerOptions): Promise<{ port: number; close: () => Promise<void> }> {
  const servers: Server[] = [];
  const doors = new Doors(connectionLimit(descriptorLimit(readFileSync('/proc/self/limits', 'utf8'))));
  const turns = new Turns();
  const bodies = options.bodies ?? new Bodies();
  const close = async (): Promise<void> => {
    await Promise.all(
      servers.map((server) => {
        server.closeAllConnections();
        return new Promise<void>((resolve) => server.close(() => resolve()));
      }),
    );
  };
  let { port } = options;
  try {
    for (const address of options.addresses) {
      const server = createServer({
        keepAliveTimeout: BETWEEN_REQUESTS_MS,
        headersTimeout: HEADERS_MS,
        requestTimeout: REQUEST_MS,
        connectionsCheckingInterval: LOOK_EVERY_MS,
      });
      // A client that shuts its sending side after the request still reads: nc and simple loaders do.
      Object.assign(server, { httpAllowHalfOpen: true });
      server.on('connection', (socket) => welcome(socket, doors, options));
      const queues = new WeakMap<Socket, { last: Promise<void>; length: number }>();
      server.on('request', (request, response) => {
        // node:http tells of every request that has arrived, though only the first can be answered now.
        const queue = queues.get(request.socket) ?? { last: Promise.resolve(), length: 0 };
        queues.set(request.socket, queue);
        if (queue.length >= MOST_PIPELINED) return void request.socket.destroy();
        queue.length += 1;
        queue.last = queue.last.then(async () => {
          try {
            if (!request.socket.destroyed) await handle(request, response, options, turns, bodies);
          } catch (error) {
            options.log(`http: ${request.method} ${printableAscii(request.url ?? '', 200)}: ${reasonOf(error)}`);
            response.destroy();
            request.socket.destroy();
          }
          queue.length -= 1;
        });
      });
      server.setTimeout(SILENT_SOCKET_MS, (socket) => socket.destroy());
      await listen(server, address, port);
      servers.push(server);
      const bound = server.address();
      if (typeof bound === 'object' && bound !== null) ({ port } = bound);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { port, close };
}

function welcome(socket: Socket, doors: Doors, { log }: HttpServerOptions): void {
  const peer = socket.remoteAddress ?? '';
  const place = doors.enter(peer);
  if (place === 'come') return void socket.once('close', () => doors.leave(peer));
  if (place === 'refuse-first') log(`http: ${doors.open} connections are open, no more are taken (from ${peer})`);
  socket.destroy();
}

async function listen(server: Server, address: Ipv4Address, port: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, resolve);
    });
  } catch (thrown) {
    const what = `cannot listen on TCP ${address}:${port} for boot files`;
    const isTaken = thrown instanceof Error && 'code' in thrown && thrown.code === 'EADDRINUSE';
    if (!isTaken) throw new Fault('E_COMMAND', { what, why: reasonOf(thrown) }, { cause: thrown });
    const { why, todo } = portTaken(port, await portHolder('tcp', port));
    const facts = { what, why, todo: `${todo}, or set another http.port in rouse.yaml` };
    throw new Fault('E_PORT_TAKEN', facts, { cause: thrown });
  }
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpServerOptions,
  turns: Turns,
  bodies: Bodies,
): Promise<void> {
  const peer = peerAddress(request.socket.remoteAddress);
  if (peer === undefined) return void response.destroy();
  const method = request.method ?? 'GET';
  const body = method === 'POST' ? await readBody(request) : new Uint8Array(0);
  const answer = await options.respond({
    method,
    target: request.url ?? '/',
    peer,
    isProven: true,
    authorization: request.headers.authorization,
    body,
  });
  await send(request, response, answer, bodies, () => turns.take(peer).then(() => () => turns.done(peer)));
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > PROTOCOL_BODY_LIMIT_BYTES) break;
  }
  return Buffer.concat(chunks);
}

/** @param turn resolves when the peer's other bodies leave room for one, to what ends the turn. */
async function send(
  request: IncomingMessage,
  response: ServerResponse,
  answer: HttpResponse,
  bodies: Bodies,
  turn: () => Promise<() => void>,
): Promise<void> {
  const sizeBytes = answer.parts.reduce((sum, part) => sum + sizeOf(part), 0);
  const headers: Record<string, string> = { ...answer.headers };
  if (answer.etag !== undefined) headers['ETag'] = answer.etag;
  const isFile = answer.status === 200;
  if (isFile) headers['Accept-Ranges'] = 'bytes';
  const selection = isFile
    ? select(
        {
          range: request.headers.range,
          ifRange: headerText(request.headers['if-range']),
          ifNoneMatch: request.headers['if-none-match'],
        },
        sizeBytes,
        answer.etag,
      )
    : ({ kind: 'whole' } as const);
  if (selection.kind === 'unchanged') return void response.writeHead(304, headers).end();
  if (selection.kind === 'unsatisfiable') {
    headers['Content-Range'] = `bytes */${sizeBytes}`;
    return void response.writeHead(416, { ...headers, 'Content-Length': '0' }).end();
  }
  const slice: Slice = selection.kind === 'part' ? selection.slice : { from: 0, to: sizeBytes };
  if (selection.kind === 'part') headers['Content-Range'] = `bytes ${slice.from}-${slice.to - 1}/${sizeBytes}`;
  if (answer.status !== 204) headers['Content-Length'] = String(slice.to - slice.from);
  response.writeHead(selection.kind === 'part' ? 206 : answer.status, headers);
  if (request.method === 'HEAD' || slice.from === slice.to) return void response.end();

  answer.onBegun?.(slice.to - slice.from);
  const endTurn = await turn();
  const startedAtMs = performance.now();
  const sent = { bytes: 0 };
  let complete = false;
  try {
    await sendParts(response, answer.parts, slice, sent, bodies);
    await new Promise<void>((resolve, reject) => {
      response.once('close', () => (response.writableFinished ? resolve() : reject(new Error('broken off'))));
      response.end(resolve);
    });
    complete = true;
  } catch (error) {
    if (!response.destroyed) throw error;
  } finally {
    endTurn();
    answer.onSent?.({ bytes: sent.bytes, durationMs: performance.now() - startedAtMs, complete });
  }
}

function headerText(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function sizeOf(part: BodyPart): number {
  return part.kind === 'bytes' ? part.bytes.length : part.sizeBytes;
}

async function sendParts(
  response: ServerResponse,
  parts: readonly BodyPart[],
  slice: Slice,
  sent: { bytes: number },
  bodies: Bodies,
): Promise<void> {
  let partFrom = 0;
  for (const part of parts) {
    const size = sizeOf(part);
    const from = Math.max(0, slice.from - partFrom);
    const to = Math.min(size, slice.to - partFrom);
    partFrom += size;
    if (from >= to) continue;
    if (part.kind === 'bytes') {
      await write(response, part.bytes.subarray(from, to));
      sent.bytes += to - from;
      continue;
    }
    const body = part.isShared === true ? bodies.enter(part.path, part.sizeBytes) : undefined;
    if (body === undefined) await sendFile(response, part.path, { from, to }, sent);
    else {
      try {
        await sendBody(response, body, { from, to }, sent);
      } finally {
        bodies.leave(part.path);
      }
    }
  }
}

async function sendBody(
  response: ServerResponse,
  body: Body,
  { from, to }: Slice,
  sent: { bytes: number },
): Promise<void> {
  for (let at = from; at < to; at += SLICE_BYTES) {
    const end = Math.min(at + SLICE_BYTES, to);
    await body.upTo(end);
    await write(response, body.bytes.subarray(at, end));
    sent.bytes += end - at;
  }
}

async function sendFile(
  response: ServerResponse,
  path: string,
  { from, to }: Slice,
  sent: { bytes: number },
): Promise<void> {
  const file = await open(path, 'r');
  try {
    const buffers: Buffer[] = [];
    const bufferBytes = Math.min(CHUNK_BYTES, to - from);
    let at = from;
    let pending: Promise<void> = Promise.resolve();
    for (let turn = 0; at < to; turn += 1) {
      // The second one only where there is a second block.
      const buffer = (buffers[turn % 2] ??= Buffer.allocUnsafe(bufferBytes));
      const wanted = Math.min(buffer.length, to - at);
      const read = await readFully(file, buffer, wanted, at);
      if (read < wanted) throw new Error(`${path} is shorter than its manifest says`);
      await pending;
      const chunk = buffer.subarray(0, wanted);
      pending = write(response, chunk).then(() => {
        sent.bytes += chunk.length;
      });
      // Awaited at the next turn; a failure meanwhile must not count as unhandled.
      pending.catch(() => undefined);
      at += wanted;
    }
    await pending;
  } finally {
    await file.close();
  }
}

async function readFully(file: FileHandle, buffer: Buffer, wanted: number, position: number): Promise<number> {
  let done = 0;
  while (done < wanted) {
    const { bytesRead } = await file.read(buffer, done, wanted - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Resolves when the bytes have left for the kernel; rejects when the client is gone, which no callback may tell. */
function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error('broken off'));
    if (response.destroyed) return gone();
    response.once('close', gone);
    response.write(bytes, (error) => {
      response.off('close', gone);
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}
