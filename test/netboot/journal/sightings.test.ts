// What is remembered of machines that were only heard: their firmware and the answer to its question, and never too many.

import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { archOf } from '../../../netboot/api/explaindhcp.ts';
import { type Heard, Sightings } from '../../../netboot/journal/sightings.ts';

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
