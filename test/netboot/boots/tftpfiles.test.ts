// What TFTP serves beside loaders: the boot port's files, by the boot port's rules, read once for all who load them.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { LoaderShelf } from '../../../netboot/boots/loaders.io.ts';
import { TftpShelf } from '../../../netboot/boots/tftpfiles.io.ts';
import { Bodies } from '../../../netboot/http/bodies.io.ts';
import type { HttpRequest, HttpResponse } from '../../../netboot/http/server.io.ts';

const PEER = '10.77.0.11' as Ipv4Address;
let folder = '';
let asked: HttpRequest[] = [];
let answer: HttpResponse;
let shelf: TftpShelf;
let bodies: Bodies;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-tftpfiles-'));
  writeFileSync(join(folder, 'snponly.efi'), 'a loader');
  writeFileSync(join(folder, 'layer'), 'layer');
  asked = [];
  bodies = new Bodies(12);
  const respond = (request: HttpRequest): Promise<HttpResponse> => {
    asked.push(request);
    return Promise.resolve(answer);
  };
  shelf = new TftpShelf(new LoaderShelf(folder), respond, bodies);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const read = async (name: string): Promise<string> => {
  const found = await shelf.read(name, PEER);
  return found.kind === 'file' ? `file ${Buffer.from(found.content).toString()}` : found.why;
};

test('a loader by its name, without asking the boot port; another bare name not at all', async () => {
  expect(await read('snponly.efi')).toBe('file a loader');
  expect(await read('autoexec.ipxe')).toBe('no boot plan names this file');
  expect(await read('node/v1/boots/0123456789abcdef/orders')).toBe('no boot plan names this file');
  expect(asked).toEqual([]);
});

test('the boot port decides by path and address, and its reason is passed on', async () => {
  answer = { status: 403, parts: [{ kind: 'bytes', bytes: Buffer.from('boot x belongs to 10.77.0.12\n') }] };
  expect(await read('boot/0123456789abcdef/overlay')).toBe('boot x belongs to 10.77.0.12');
  expect(asked).toEqual([
    {
      method: 'GET',
      target: '/boot/0123456789abcdef/overlay',
      peer: PEER,
      isProven: false,
      authorization: undefined,
      body: new Uint8Array(0),
    },
  ]);
});

test('who has acknowledged a block of any file is proven to be at its address; who only asked is not', async () => {
  const isProven = (): boolean | undefined => asked.at(-1)?.isProven;
  answer = { status: 200, parts: [{ kind: 'bytes', bytes: Buffer.from('asked once more') }] };
  await read('grub/52:54:00:77:00:01.cfg');
  const found = await shelf.read('snponly.efi', PEER);
  await read('grub/52:54:00:77:00:01.cfg');
  expect(isProven()).toBe(false);
  if (found.kind === 'file') found.onProven?.();
  await read('grub/52:54:00:77:00:01.cfg');
  expect(isProven()).toBe(true);
  await shelf.read('grub/52:54:00:77:00:01.cfg', '10.77.0.12' as Ipv4Address);
  expect(isProven()).toBe(false);
});

test('the boot port hears of a file that begins to leave when its client has acknowledged, not when somebody asks', async () => {
  const begun: number[] = [];
  const bytes = Buffer.from('a kernel');
  answer = { status: 200, parts: [{ kind: 'bytes', bytes }], onBegun: (size) => begun.push(size) };
  const found = await shelf.read('kernel/x', PEER);
  expect(begun).toEqual([]);
  if (found.kind === 'file') found.onProven?.();
  expect(begun).toEqual([bytes.length]);
});

test('an initrd in one piece is made for nobody; what fits into no memory is refused for that reason', async () => {
  expect(await read('boot/0123456789abcdef/initrd')).toBe('an initrd in one piece goes by HTTP only');
  expect(asked).toEqual([]);
  answer = { status: 200, parts: [{ kind: 'file', path: join(folder, 'layer'), sizeBytes: 13 }] };
  await expect(shelf.read('layer/x.zst', PEER)).rejects.toThrow('13 bytes are too much for TFTP here (12)');
});

test('a file is in memory once for all who load it at the same time', async () => {
  answer = { status: 200, parts: [{ kind: 'file', path: join(folder, 'layer'), sizeBytes: 5 }] };
  const found = await Promise.all(Array.from({ length: 100 }, () => shelf.read('layer/x.zst', PEER)));
  expect(new Set(found.map((one) => (one.kind === 'file' ? one.content : undefined))).size).toBe(1);
  expect(bodies.bytes).toBe(5);
});

test('what there is no memory for is refused until another has ended', async () => {
  writeFileSync(join(folder, 'other'), 'other layer');
  answer = { status: 200, parts: [{ kind: 'file', path: join(folder, 'layer'), sizeBytes: 5 }] };
  const first = await shelf.read('layer/x.zst', PEER);
  answer = { status: 200, parts: [{ kind: 'file', path: join(folder, 'other'), sizeBytes: 11 }] };
  await expect(shelf.read('layer/y.zst', PEER)).rejects.toThrow('the memory for boot files is full');
  if (first.kind === 'file') first.onEnd?.();
  expect(await read('layer/y.zst')).toBe('file other layer');
});
