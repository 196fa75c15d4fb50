// What is remembered of machines that were only heard: their firmware and the answer to its question, and never too many.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { archOf } from '../../../netboot/api/explaindhcp.ts';
import { loadSightings, saveSightings } from '../../../netboot/journal/sightings.io.ts';
import { type Heard, readSightings, Sightings } from '../../../netboot/journal/sightings.ts';

const mac = (number: number): MacAddress =>
  `52:54:00:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}` as MacAddress;

const heard = (over: Partial<Heard> = {}): Heard => ({
  interfaceName: 'eth0',
  client: 'efi-x64 firmware (architecture 7)',
  clientKind: 'pxe',
  architecture: 7,
  text: 'OFFER 10.0.0.5',
  type: 'discover',
  ...over,
});
const IPXE = { client: 'iPXE 1.0.0 on bios (architecture 0)', clientKind: 'ipxe', architecture: 0 } as const;

test('the firmware and the answer to its DISCOVER outlast what its loader and its system say', () => {
  const sightings = new Sightings();
  sightings.put(mac(1), heard(), 1);
  sightings.put(mac(1), heard({ text: 'ignored: the client chose another DHCP server', type: 'request' }), 5);
  sightings.put(mac(1), heard({ ...IPXE, type: 'request' }), 7);
  const system = { client: 'an operating system', clientKind: 'system', architecture: undefined } as const;
  sightings.put(mac(1), heard({ ...system, text: 'ACK', type: 'request' }), 9);
  expect(sightings.of(mac(1))).toEqual({
    mac: mac(1),
    interfaceName: 'eth0',
    firstAtMs: 1,
    lastAtMs: 9,
    messages: 4,
    client: 'efi-x64 firmware (architecture 7)',
    clientKind: 'pxe',
    architecture: 7,
    said: 'OFFER 10.0.0.5',
  });
});

test('iPXE that nothing spoke before is in ROM, and explained as that', () => {
  const sightings = new Sightings();
  sightings.put(mac(1), heard(IPXE), 1);
  expect(sightings.of(mac(1))).toMatchObject(IPXE);
  const { architecture, clientKind } = sightings.of(mac(1))!;
  expect(archOf(architecture, clientKind)).toBe('bios-ipxe');
  expect(archOf(0, 'pxe')).toBe('bios');
  expect(archOf(9, 'http')).toBe('efi-x64');
});

test('strangers without number push out the one that was silent for longest', () => {
  const sightings = new Sightings();
  for (let number = 0; number < 4096; number += 1) sightings.put(mac(number), heard(), number);
  sightings.put(mac(0), heard(), 5000);
  sightings.put(mac(4096), heard(), 5001);
  expect(sightings.all()).toHaveLength(4096);
  expect(sightings.of(mac(1))).toBeUndefined();
  expect(
    sightings
      .all()
      .slice(0, 2)
      .map((one) => one.mac),
  ).toEqual([mac(4096), mac(0)]);
});

test('what was heard outlives a restart: the latest thousand, and nothing of a damaged file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-sightings-'));
  const before = new Sightings();
  for (let number = 0; number < 1500; number += 1) before.put(mac(number), heard(number === 1499 ? IPXE : {}), number);
  await saveSightings(folder, before);
  const after = new Sightings();
  await loadSightings(folder, after);
  expect(after.all()).toHaveLength(1000);
  expect(after.all()[0]).toEqual(before.of(mac(1499)));
  expect(after.of(mac(499))).toBeUndefined();
  // What is heard since counts on, and is newer than all of that.
  after.put(mac(600), heard(), 9000);
  expect(after.of(mac(600))).toMatchObject({ firstAtMs: 600, lastAtMs: 9000, messages: 2 });
  const { mtimeNs } = statSync(join(folder, 'sightings.json'), { bigint: true });
  await saveSightings(folder, before);
  expect(statSync(join(folder, 'sightings.json'), { bigint: true }).mtimeNs).toBe(mtimeNs);
  rmSync(folder, { recursive: true });
  for (const text of ['', '{}', 'null', '[1, null, {}, {"mac": "x"}]']) expect(readSightings(text)).toEqual([]);
  const [first = {}] = JSON.parse(JSON.stringify(before.toKeep())) as object[];
  for (const key of Object.keys(first)) {
    if (key === 'architecture') continue;
    expect(readSightings(JSON.stringify([{ ...first, [key]: {} }])), key).toEqual([]);
  }
  expect(readSightings(JSON.stringify([first]))).toEqual([first]);
});
