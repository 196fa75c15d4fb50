// Windows in one send, on this machine's real kernel: what arrives are ordinary datagrams; and all goes on where the kernel
// cannot cut, or there is no helper.

import { createSocket, type Socket } from 'node:dgram';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ipv4Address, parseIpv4 } from '../../../formats/ipv4.ts';
import { decodePacket, encodePacket, type Request } from '../../../netboot/tftp/packet.ts';
import { runTransfer } from '../../../netboot/tftp/run.io.ts';
import { Segments } from '../../../netboot/tftp/segments.io.ts';
import { beginTransfer, blockFitting, segmentBytes, type Transfer } from '../../../netboot/tftp/transfer.ts';

const LOOPBACK: Ipv4Address = parseIpv4('127.0.0.1')!;
const LIMITS = { mostBlockBytes: 1468 };
const FILE = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 31 + (index >>> 9)) & 255);
const RRQ: Request = { kind: 'rrq', name: 'x', mode: 'octet', options: { blksize: 1428, windowsize: 8 } };

let segments: Segments;
let client: Socket;
let lengths: number[];
let senders: Set<number>;

beforeEach(async () => {
  // A busy machine may take its time; what is tested is what it does.
  segments = new Segments(30_000);
  client = createSocket('udp4');
  await new Promise<void>((resolve) => client.bind(0, '127.0.0.1', resolve));
  lengths = [];
  senders = new Set();
});
afterEach(() => {
  segments.close();
  client.close();
});

/** A transfer on `cutting`, with a client that acknowledges each window. @returns what arrived. */
async function fetch(cutting: Promise<Socket | undefined>, windowsize = 8): Promise<Buffer> {
  const got: Buffer[] = [];
  let next = 1;
  client.on('message', (octets, from) => {
    senders.add(from.port);
    const decoded = decodePacket(octets);
    if (!decoded.ok) return;
    const { packet } = decoded;
    if (packet.kind === 'oack') return client.send(encodePacket({ kind: 'ack', block: 0 }), from.port);
    if (packet.kind !== 'data' || packet.block !== next) return;
    lengths.push(octets.length);
    got.push(Buffer.from(packet.data));
    if (next % windowsize === 0 || packet.data.length < 1428)
      client.send(encodePacket({ kind: 'ack', block: next }), from.port);
    next += 1;
  });
  const ended = await new Promise<Transfer>((resolve, reject) => {
    runTransfer({
      local: LOOPBACK,
      peer: { address: LOOPBACK, port: client.address().port },
      cutting,
      start: (nowMs) => beginTransfer({ ...RRQ, options: { blksize: 1428, windowsize } }, FILE, LIMITS, nowMs),
      onProven: () => undefined,
      onEnd: resolve,
      onFail: reject,
      onOver: undefined,
    });
  });
  expect(ended.outcome).toBe('complete');
  return Buffer.concat(got);
}

test('the kernel cuts one send into datagrams of one length, the last one shorter', async () => {
  const socket = (await segments.take(LOOPBACK, 104))!;
  const received = new Promise<number[]>((resolve) => {
    client.on('message', ({ length }) => {
      lengths.push(length);
      if (length < 104) resolve(lengths);
    });
  });
  await new Promise<void>((resolve) => socket.connect(client.address().port, '127.0.0.1', resolve));
  socket.send(Buffer.alloc(104 * 3 + 10));
  expect(await received).toEqual([104, 104, 104, 10]);
  socket.close();
});

test('a file in windows arrives as blocks from one port, each in a datagram of its own', async () => {
  const cutting = segments.take(LOOPBACK, 1432);
  expect(await cutting).toBeDefined();
  expect((await fetch(cutting)).equals(FILE)).toBe(true);
  expect(senders.size).toBe(1);
  expect(new Set(lengths.slice(0, -1))).toEqual(new Set([1432]));
});

test('where the kernel refuses to cut, as for a way that is too narrow, the same port goes on one datagram at a time', async () => {
  // A window of 32 blocks would be 458 datagrams, more than the kernel makes of one send.
  const cutting = segments.take(LOOPBACK, 100);
  const port = (await cutting)!.address().port;
  expect((await fetch(cutting, 32)).equals(FILE)).toBe(true);
  expect([...senders]).toEqual([port]);
});

test('without perl there are no such sockets, and nobody waits for them', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '/nonexistent';
  try {
    expect(await segments.take(LOOPBACK, 1432)).toBeUndefined();
    expect(await segments.take(LOOPBACK, 1432)).toBeUndefined();
    expect((await fetch(segments.take(LOOPBACK, 1432))).equals(FILE)).toBe(true);
  } finally {
    process.env['PATH'] = path;
  }
});

test('an address that is not ours gives none', async () => {
  expect(await segments.take(parseIpv4('192.0.2.1')!, 1432)).toBeUndefined();
  (await segments.take(LOOPBACK, 1432))!.close();
});

test('only windows want one, and only files longer than a window', () => {
  const wants = (options: Request['options'], bytes = FILE.length, mode: Request['mode'] = 'octet') =>
    segmentBytes({ ...RRQ, options, mode }, FILE.subarray(0, bytes), LIMITS);
  expect(wants({ blksize: 1428, windowsize: 16 })).toBe(1432);
  expect(wants({ blksize: 9000, windowsize: 4 })).toBe(1472);
  expect(wants({ windowsize: 4 })).toBe(516);
  expect(wants({ blksize: 1428 })).toBeUndefined();
  expect(wants({ blksize: 1428, windowsize: 1 })).toBeUndefined();
  expect(wants({ blksize: 1428, windowsize: 16 }, 10_000)).toBeUndefined();
  expect(wants({ blksize: 1428, windowsize: 16 }, FILE.length, 'netascii')).toBeUndefined();
});

test('a block fits one datagram of the interface, and no more than Ethernet carries', () => {
  expect([1500, 1400, 9000, 65_536, 300, undefined].map((mtuBytes) => blockFitting(mtuBytes))).toEqual([
    1468, 1368, 1468, 1468, 512, 1468,
  ]);
});
