// What TFTP serves beside loaders: the boot port's files, by the boot port's rules, read once for all who load them.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { LoaderShelf } from '../../../netboot/boots/loaders.io.ts';
import { TftpShelf } from '../../../netboot/boots/tftpfiles.io.ts';
import type { HttpRequest, HttpResponse } from '../../../netboot/http/server.io.ts';

const PEER = '10.77.0.11' as Ipv4Address;
let folder = '';
let asked: HttpRequest[] = [];
let answer: HttpResponse;
let shelf: TftpShelf;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-tftpfiles-'));
  writeFileSync(join(folder, 'snponly.efi'), 'a loader');
  writeFileSync(join(folder, 'layer'), 'layer');
  asked = [];
  shelf = new TftpShelf(new LoaderShelf(folder), (request) => {
    asked.push(request);
    return Promise.resolve(answer);
  });
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
      authorization: undefined,
      body: new Uint8Array(0),
    },
  ]);
});

test('a body of several parts is joined', async () => {
  const file = { kind: 'file', path: join(folder, 'layer'), sizeBytes: 5 } as const;
  answer = { status: 200, parts: [file, { kind: 'bytes', bytes: Buffer.from('+overlay') }] };
  expect(await read('boot/0123456789abcdef/initrd')).toBe('file layer+overlay');
});

test('a file is read once for all who load it at the same time', async () => {
  answer = { status: 200, parts: [{ kind: 'file', path: join(folder, 'layer'), sizeBytes: 5 }] };
  const found = await Promise.all(Array.from({ length: 100 }, () => shelf.read('layer/x.zst', PEER)));
  const later = await shelf.read('layer/x.zst', PEER);
  const contents = new Set([...found, later].map((one) => (one.kind === 'file' ? one.content : undefined)));
  expect(contents.size).toBe(1);
});
