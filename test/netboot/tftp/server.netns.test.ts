// The TFTP server against real clients on loopback: tftp-hpa, atftp, busybox, curl and npm's tftp, block sizes and windows.

import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ipv4Address, parseIpv4 } from '../../../formats/ipv4.ts';
import { encodePacket } from '../../../netboot/tftp/packet.ts';
import type { TftpEvent } from '../../../netboot/tftp/event.ts';
import { type RunningTftp, serveTftp } from '../../../netboot/tftp/server.io.ts';

const run = promisify(execFile);
const LOOPBACK: Ipv4Address = parseIpv4('127.0.0.1')!;
const MEGABYTE = Uint8Array.from({ length: 1_000_000 }, (_, index) => (index * 31 + (index >>> 9)) & 255);
// 65536 blocks of 512 octets and a bit more: the block number comes around to 0.
const LONG = new Uint8Array(512 * 65_600 + 7).map((_, index) => (index * 13 + (index >>> 10)) & 255);
const FILES = new Map<string, Uint8Array>([
  ['boot/loader.bin', MEGABYTE],
  ['exact.bin', MEGABYTE.subarray(0, 512 * 40)],
  ['empty.bin', new Uint8Array()],
  ['long.bin', LONG],
  ['text.txt', new TextEncoder().encode('one\ntwo\n')],
]);

let server: RunningTftp;
let folder: string;
let events: TftpEvent[];
let waiting: (() => void)[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-tftp-'));
  events = [];
  waiting = [];
  server = await serveTftp({
    interfaces: [{ name: 'lo', address: LOOPBACK }],
    port: 0,
    files: async (name) => {
      const content = FILES.get(name);
      return content === undefined ? { kind: 'refuse', why: `no boot plan names ${name}` } : { kind: 'file', content };
    },
    isKnown: (address) => !address.startsWith('127.0.1.'),
    onEvent: (event) => {
      events.push(event);
      for (const wake of waiting.splice(0)) wake();
    },
  });
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The event number `index`, past or future. */
async function eventAt(index: number): Promise<TftpEvent> {
  while (events.length <= index) await new Promise<void>((resolve) => waiting.push(resolve));
  return events[index]!;
}

type Tool = {
  command: string;
  /** curl refuses a tsize of 0 (lib/tftp.c, "invalid tsize"), whoever sends it. */
  not?: string;
  args: (name: string, into: string, port: string) => string[];
};
const TOOLS: Record<string, Tool> = {
  'tftp-hpa': {
    command: 'tftp',
    args: (name, into, port) => ['-m', 'binary', '127.0.0.1', port, '-c', 'get', name, into],
  },
  atftp: { command: 'atftp', args: (name, into, port) => ['-g', '-r', name, '-l', into, '127.0.0.1', port] },
  'atftp, blocks of 1428 in windows of 16': {
    command: 'atftp',
    args: (name, into, port) => [
      '--option',
      'blksize 1428',
      '--option',
      'windowsize 16',
      '-g',
      '-r',
      name,
      '-l',
      into,
      '127.0.0.1',
      port,
    ],
  },
  busybox: {
    command: 'busybox',
    args: (name, into, port) => ['tftp', '-g', '-b', '1428', '-r', name, '-l', into, '127.0.0.1', port],
  },
  curl: {
    command: 'curl',
    not: 'empty.bin',
    args: (name, into, port) => ['-sS', '-o', into, `tftp://127.0.0.1:${port}/${name}`],
  },
  'curl without options': {
    command: 'curl',
    args: (name, into, port) => ['-sS', '--tftp-no-options', '-o', into, `tftp://127.0.0.1:${port}/${name}`],
  },
};

for (const [tool, { command, args, not }] of Object.entries(TOOLS)) {
  test(`${tool} fetches a file, one that ends on a block's boundary, and an empty one`, async () => {
    for (const name of ['boot/loader.bin', 'exact.bin', 'empty.bin'].filter((one) => one !== not)) {
      const into = join(folder, 'got');
      writeFileSync(into, '');
      const index = events.length;
      await run(command, args(name, into, String(server.port)));
      expect(Buffer.compare(readFileSync(into), FILES.get(name)!)).toBe(0);
      const { length } = FILES.get(name)!;
      expect(await eventAt(index)).toMatchObject({ kind: 'ended', file: name, outcome: 'complete', fileBytes: length });
    }
  });
}

test('the windows that atftp asks for are used', async () => {
  const { command, args } = TOOLS['atftp, blocks of 1428 in windows of 16']!;
  await run(command, args('boot/loader.bin', join(folder, 'got'), String(server.port)));
  expect(await eventAt(0)).toMatchObject({ blockBytes: 1428, windowBlocks: 16, bytesSent: MEGABYTE.length });
});

test('npm tftp fetches with its own option negotiation', async () => {
  const tftp = createRequire(import.meta.url)('tftp') as {
    createClient(options: object): { get(remote: string, local: string, done: (error?: Error) => void): void };
  };
  const client = tftp.createClient({ host: '127.0.0.1', port: server.port });
  await new Promise<void>((resolve, reject) => {
    client.get('boot/loader.bin', join(folder, 'got'), (error) =>
      error === undefined || error === null ? resolve() : reject(error),
    );
  });
  expect(Buffer.compare(readFileSync(join(folder, 'got')), MEGABYTE)).toBe(0);
});

test('a file of more than 65536 blocks arrives whole', async () => {
  const into = join(folder, 'got');
  await run('curl', ['-sS', '--tftp-blksize', '512', '-o', into, `tftp://127.0.0.1:${server.port}/long.bin`]);
  expect(Buffer.compare(readFileSync(into), LONG)).toBe(0);
  expect(await eventAt(0)).toMatchObject({ outcome: 'complete', bytesSent: LONG.length, fileBytes: LONG.length });
});

test('twenty clients at once each get their file', async () => {
  const { command, args } = TOOLS['curl']!;
  const names = Array.from({ length: 20 }, (_, index) => join(folder, `got${index}`));
  await Promise.all(names.map((into) => run(command, args('boot/loader.bin', into, String(server.port)))));
  for (const into of names) expect(Buffer.compare(readFileSync(into), MEGABYTE)).toBe(0);
});

test('netascii turns line ends into CR LF', async () => {
  // busybox, atftp and curl know no netascii or undo it; the wire is asked directly.
  const socket = createSocket('udp4');
  const request = encodePacket({ kind: 'rrq', name: 'text.txt', mode: 'netascii', options: {} });
  socket.send(request, server.port, '127.0.0.1');
  const [data, from] = (await once(socket, 'message')) as [Buffer, { port: number }];
  expect(data.subarray(4).toString()).toBe('one\r\ntwo\r\n');
  socket.send(encodePacket({ kind: 'ack', block: 1 }), from.port, '127.0.0.1');
  expect(await eventAt(0)).toMatchObject({ outcome: 'complete' });
  socket.close();
});

test('the probe for the size is no failure', async () => {
  const socket = createSocket('udp4');
  socket.send(
    encodePacket({ kind: 'rrq', name: 'boot/loader.bin', mode: 'octet', options: { tsize: 0 } }),
    server.port,
    '127.0.0.1',
  );
  const [oack, from] = (await once(socket, 'message')) as [Buffer, { port: number }];
  expect(oack.toString('latin1')).toBe('\0\x06tsize\x001000000\0');
  socket.send(encodePacket({ kind: 'error', code: 8, message: 'User aborted the transfer' }), from.port, '127.0.0.1');
  expect(await eventAt(0)).toMatchObject({ outcome: 'probed', bytesSent: 0, detail: 'User aborted the transfer' });
  socket.close();
});

const REFUSED: [string, string, RegExp][] = [
  ['a name that no plan has', 'secret', /no boot plan names secret/],
  ['a name that climbs', '../../etc/passwd', /points outside/],
];
for (const [what, name, why] of REFUSED) {
  test(`${what} is refused in words`, async () => {
    const url = `tftp://127.0.0.1:${server.port}//${name}`;
    const failure = await run('curl', ['-sS', '--path-as-is', '-o', '/dev/null', url]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Error);
    expect(await eventAt(0)).toMatchObject({ kind: 'refused', why: expect.stringMatching(why) });
  });
}

test('a write is refused', async () => {
  writeFileSync(join(folder, 'up'), 'x');
  const url = `tftp://127.0.0.1:${server.port}/text.txt`;
  const failure = await run('curl', ['-sS', '-T', join(folder, 'up'), url]).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(Error);
  expect(await eventAt(0)).toMatchObject({ kind: 'refused', file: 'text.txt', why: 'this server only reads' });
});

test("a stranger on the transfer's port is not heard", async () => {
  const client = createSocket('udp4');
  const stranger = createSocket('udp4');
  client.send(encodePacket({ kind: 'rrq', name: 'exact.bin', mode: 'octet', options: {} }), server.port, '127.0.0.1');
  const [, from] = (await once(client, 'message')) as [Buffer, { port: number }];
  for (let block = 1; block < 50; block += 1)
    stranger.send(encodePacket({ kind: 'ack', block }), from.port, '127.0.0.1');
  stranger.send(encodePacket({ kind: 'error', code: 0, message: 'x' }), from.port, '127.0.0.1');
  let block = 1;
  client.on('message', (data) => {
    block = data.readUInt16BE(2);
    client.send(encodePacket({ kind: 'ack', block }), from.port, '127.0.0.1');
  });
  client.send(encodePacket({ kind: 'ack', block: 1 }), from.port, '127.0.0.1');
  expect(await eventAt(0)).toMatchObject({ outcome: 'complete', bytesSent: 512 * 40 });
  client.close();
  stranger.close();
});

test('thousands of requests that nobody acknowledges do not keep a machine with a lease from its loader', async () => {
  const sockets = await Promise.all(
    Array.from({ length: 2340 }, async (_, index) => {
      const socket = createSocket('udp4');
      socket.bind(0, `127.0.1.${1 + (index % 130)}`);
      await once(socket, 'listening');
      return socket;
    }),
  );
  const rrq = Buffer.from('\0\x01boot/loader.bin\0octet\0', 'latin1');
  // In portions that fit the socket's buffer: what the kernel drops troubles nobody.
  let turn = 0;
  const flood = setInterval(() => {
    for (let count = 0; count < 50; count += 1) {
      sockets[turn % sockets.length]!.send(rrq, server.port, '127.0.0.1');
      turn += 1;
    }
  }, 20);
  try {
    await expect.poll(() => events.map(({ kind }) => kind), { timeout: 20_000 }).toContain('crowded');
    const into = join(folder, 'got');
    await run('curl', ['-sS', '-m', '20', '-o', into, `tftp://127.0.0.1:${server.port}/boot/loader.bin`]);
    expect(Buffer.compare(readFileSync(into), MEGABYTE)).toBe(0);
    expect(events.filter(({ kind }) => kind === 'crowded').length).toBe(1);
  } finally {
    clearInterval(flood);
    for (const socket of sockets) socket.close();
  }
});
