// The boot port over loopback, asked by curl: whole files, ranges, HEAD, conditions, a client that goes away.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { type HttpRequest, type HttpResponse, serveHttp } from '../../../netboot/http/server.io.ts';

const LOOPBACK = '127.0.0.1' as Ipv4Address;
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'rouse-http-'));
const file = join(folder, 'layer');
const large = join(folder, 'large');
const LARGE_BYTES = 64 * 1024 * 1024;
const out = join(folder, 'out');
// More than both buffers of a response, and no multiple of them.
const CONTENT = Buffer.alloc(3_000_001, 'rouse keeps them awake. ');
const PREFIX = new TextEncoder().encode('prefix:');
const sent: { bytes: number; complete: boolean }[] = [];
const requests: HttpRequest[] = [];
const lines: string[] = [];
let server: { port: number; close: () => Promise<void> };

const respond = (request: HttpRequest): Promise<HttpResponse> => {
  requests.push(request);
  const onSent: NonNullable<HttpResponse['onSent']> = ({ bytes, complete }) => sent.push({ bytes, complete });
  const body = { kind: 'file', path: file, sizeBytes: CONTENT.length } as const;
  if (request.method === 'POST') return Promise.resolve({ status: 204, parts: [] });
  switch (request.target) {
    case '/file':
      return Promise.resolve({ status: 200, etag: '"e"', parts: [body], onSent });
    case '/joined':
      return Promise.resolve({ status: 200, parts: [{ kind: 'bytes', bytes: PREFIX }, body], onSent });
    // Far more than the kernel's socket buffers hold.
    case '/large':
      return Promise.resolve({ status: 200, parts: [{ kind: 'file', path: large, sizeBytes: LARGE_BYTES }], onSent });
    case '/shorter':
      return Promise.resolve({ status: 200, parts: [{ ...body, sizeBytes: CONTENT.length + 10 }], onSent });
    // After its sender has shut its side.
    case '/later':
      return new Promise((resolve) =>
        setTimeout(() => resolve({ status: 200, parts: [{ kind: 'bytes', bytes: PREFIX }] }), 200),
      );
    case '/throws':
      return Promise.reject(new Error('on purpose'));
    default:
      return Promise.resolve({ status: 404, parts: [{ kind: 'bytes', bytes: new TextEncoder().encode('no\n') }] });
  }
};

beforeAll(async () => {
  writeFileSync(file, CONTENT);
  writeFileSync(large, '');
  truncateSync(large, LARGE_BYTES);
  server = await serveHttp({ addresses: [LOOPBACK], port: 0, respond, log: (line) => lines.push(line) });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

async function curl(path: string, ...more: string[]): Promise<{ head: string; body: Buffer }> {
  rmSync(out, { force: true });
  const { stdout } = await run('curl', [
    '-sS',
    '-o',
    out,
    '-D',
    '-',
    ...more,
    `http://127.0.0.1:${server.port}${path}`,
  ]);
  let body = Buffer.alloc(0);
  try {
    body = readFileSync(out);
  } catch {
    // No body: curl makes no file.
  }
  return { head: stdout, body };
}

const digest = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

test('a whole file arrives whole and is counted', async () => {
  sent.length = 0;
  const { head, body } = await curl('/file');
  expect(head).toMatch(/^HTTP\/1\.1 200 OK/);
  expect(head).toMatch(/content-length: 3000001/i);
  expect(head).toMatch(/etag: "e"/i);
  expect(digest(body)).toBe(digest(CONTENT));
  expect(sent).toEqual([{ bytes: CONTENT.length, complete: true }]);
});

test('ranges, over the seam of a joined body too', async () => {
  const whole = Buffer.concat([PREFIX, CONTENT]);
  for (const [range, from, to] of [
    ['0-0', 0, 1],
    ['3-20', 3, 21],
    ['2999990-', 2_999_990, whole.length],
    ['-5', whole.length - 5, whole.length],
    ['5-2000000', 5, 2_000_001],
  ] as const) {
    const { head, body } = await curl('/joined', '-H', `Range: bytes=${range}`);
    expect(head).toMatch(/^HTTP\/1\.1 206/);
    expect(head).toMatch(new RegExp(`content-range: bytes ${from}-${to - 1}/${whole.length}`, 'i'));
    expect(digest(body)).toBe(digest(whole.subarray(from, to)));
  }
  const { head } = await curl('/joined', '-H', 'Range: bytes=99999999-');
  expect(head).toMatch(/^HTTP\/1\.1 416/);
});

test('HEAD tells the length and sends nothing; an unchanged file is not sent again', async () => {
  sent.length = 0;
  const head = await curl('/file', '-I');
  expect(head.head).toMatch(/content-length: 3000001/i);
  const unchanged = await curl('/file', '-H', 'If-None-Match: "e"');
  expect(unchanged.head).toMatch(/^HTTP\/1\.1 304/);
  expect(sent).toEqual([]);
});

test('one connection serves many requests', async () => {
  const url = `http://127.0.0.1:${server.port}/file`;
  const { stdout } = await run('curl', ['-sS', '-w', '%{num_connects} ', url, '-o', out, url, '-o', out]);
  expect(stdout).toBe('1 0 ');
});

test('a body that is too long is cut, its reader told by what is there', async () => {
  requests.length = 0;
  writeFileSync(join(folder, 'big'), Buffer.alloc(100_000, 'x'));
  await curl('/any', '-X', 'POST', '--data-binary', `@${join(folder, 'big')}`).catch(() => undefined);
  expect(requests[0]?.body.length).toBeGreaterThan(4096);
  expect(requests[0]?.body.length).toBeLessThan(100_000);
});

test('a reader that is slow gets every block in its place', async () => {
  const blocks = Buffer.concat(Array.from({ length: 64 }, (_, index) => Buffer.alloc(256 * 1024, `block ${index} `)));
  writeFileSync(large, blocks);
  const socket = connect(server.port, '127.0.0.1');
  socket.write(`GET /large HTTP/1.1\r\nHost: x\r\nRange: bytes=0-${blocks.length - 1}\r\nConnection: close\r\n\r\n`);
  socket.pause();
  // Until the kernel's buffers are full and the server must wait.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const all = Buffer.concat(chunks);
  expect(digest(all.subarray(all.indexOf('\r\n\r\n') + 4))).toBe(digest(blocks));
  truncateSync(large, LARGE_BYTES);
});

test('a client that goes away in the middle is told as broken off, and the next is served', async () => {
  sent.length = 0;
  const socket = connect(server.port, '127.0.0.1');
  socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.pause();
  socket.destroy();
  await expect.poll(() => sent.length).toBe(1);
  expect(sent[0]?.complete).toBe(false);
  expect(sent[0]?.bytes).toBeLessThan(LARGE_BYTES);
  expect(digest((await curl('/file')).body)).toBe(digest(CONTENT));
});

test('a file shorter than its manifest says, or an answer that throws, ends the connection and is logged', async () => {
  lines.length = 0;
  await expect(curl('/shorter')).rejects.toThrow(/curl/);
  await expect(curl('/throws')).rejects.toThrow(/curl/);
  expect(lines.join('\n')).toMatch(/GET \/shorter: .* is shorter than its manifest says\n.*GET \/throws: on purpose/);
});

test('a taken port is one sentence that says what to do', async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as AddressInfo;
  const taken = serveHttp({ addresses: [LOOPBACK], port, respond, log: () => undefined });
  await expect(taken).rejects.toMatchObject({
    code: 'E_PORT_TAKEN',
    // The unit is that of whoever runs the tests, if they run in one.
    message: expect.stringMatching(
      new RegExp(
        `^cannot listen on TCP 127\\.0\\.0\\.1:${port} for boot files: \\S.* \\(pid ${process.pid}\\) has it; ` +
          `stop it with: (kill ${process.pid}|systemctl stop \\S+), or set another http\\.port in rouse\\.yaml$`,
      ),
    ) as string,
  });
  holder.close();
});

/** What a raw client is answered until the other side ends. */
async function exchange(octets: string, isHalfClosed: boolean): Promise<string> {
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  if (isHalfClosed) socket.end(octets);
  else socket.write(octets);
  const chunks: Buffer[] = [];
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', resolve).on('error', () => resolve());
  });
  socket.destroy();
  return Buffer.concat(chunks).toString('latin1');
}

test('a request whose sender shuts its side behind it is answered', async () => {
  const answered = await exchange('GET /later HTTP/1.1\r\nHost: x\r\n\r\n', true);
  expect(answered).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nprefix:$/);
});

test('requests sent before their answers came are answered one at a time, in their order', async () => {
  const whole = 'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n';
  const answered = await exchange(`GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=0-4\r\n\r\n${whole}${whole}`, true);
  expect(answered.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 206', 'HTTP/1.1 404', 'HTTP/1.1 404']);
});

test('a flood of requests on one connection opens no files and ends the connection', async () => {
  requests.length = 0;
  const before = readdirSync('/proc/self/fd').length;
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(600));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(requests.length).toBeLessThanOrEqual(8);
  expect(readdirSync('/proc/self/fd').length - before).toBeLessThan(8);
  socket.destroy();
});

test('one peer downloads few files at once, and the next as soon as one is done', async () => {
  requests.length = 0;
  const before = openFiles();
  const sockets = Array.from({ length: 12 }, () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.pause();
    socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
    return socket;
  });
  await expect.poll(() => requests.length).toBe(12);
  await expect.poll(() => openFiles() - before).toBe(4);
  for (const socket of sockets.slice(0, 4)) socket.destroy();
  await expect.poll(() => sent.length).toBeGreaterThanOrEqual(4);
  await expect.poll(() => openFiles() - before).toBe(4);
  for (const socket of sockets) socket.destroy();
  await expect.poll(() => openFiles() - before).toBe(0);
});

test('connections beyond those of one peer are closed at once, and told once', async () => {
  lines.length = 0;
  let closed = 0;
  const sockets = Array.from({ length: 100 }, () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined).on('close', () => (closed += 1));
    return socket;
  });
  await expect.poll(() => closed).toBe(100 - 64);
  expect(lines.filter((line) => /connections are open, no more are taken/.test(line)).length).toBe(1);
  for (const socket of sockets) socket.destroy();
  await expect.poll(async () => (await curl('/nothing')).body.toString()).toBe('no\n');
});

test('a connection that says nothing is closed', { timeout: 30_000 }, async () => {
  const socket = connect(server.port, '127.0.0.1');
  socket.write('GET / HTTP/1.1');
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
});

function openFiles(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === large;
    } catch {
      return false;
    }
  }).length;
}
