// What is remembered of machines that were only heard: their firmware and the answer to its question, and never too many.

import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { Sightings } from '../../../netboot/journal/sightings.ts';

const mac = (number: number): MacAddress =>
  `52:54:00:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}` as MacAddress;

const heard = (atMs: number, over: object = {}) => ({
  mac: mac(1),
  interfaceName: 'eth0',
  client: 'efi-x64 firmware (architecture 7)',
  architecture: 7,
  text: 'OFFER 10.0.0.5',
  isAsking: true,
  atMs,
  ...over,
});

test('the firmware and the answer to its DISCOVER outlast what its system says', () => {
  const sightings = new Sightings();
  sightings.put(heard(1));
  sightings.put(heard(5, { text: 'ignored: the client chose another DHCP server', isAsking: false }));
  sightings.put(heard(9, { client: 'an operating system', architecture: undefined, text: 'ACK', isAsking: false }));
  expect(sightings.of(mac(1))).toEqual({
    mac: mac(1),
    interfaceName: 'eth0',
    firstAtMs: 1,
    lastAtMs: 9,
    messages: 3,
    client: 'efi-x64 firmware (architecture 7)',
    architecture: 7,
    said: 'OFFER 10.0.0.5',
  });
});

test('strangers without number push out the one that was silent for longest', () => {
  const sightings = new Sightings();
  for (let number = 0; number < 4096; number += 1) sightings.put(heard(number, { mac: mac(number) }));
  sightings.put(heard(5000, { mac: mac(0) }));
  sightings.put(heard(5001, { mac: mac(4096) }));
  expect(sightings.all()).toHaveLength(4096);
  expect(sightings.of(mac(1))).toBeUndefined();
  expect(
    sightings
      .all()
      .slice(0, 2)
      .map((one) => one.mac),
  ).toEqual([mac(4096), mac(0)]);
});
