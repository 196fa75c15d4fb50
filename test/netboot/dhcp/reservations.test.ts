// Reservations of rouse.yaml: a machine without a node file is told by its client identifier, its UUID or its MAC.

import { expect, test } from 'vitest';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { decodeMessage, encodeMessage } from '../../../netboot/dhcp/message.ts';
import type { DhcpOptions } from '../../../netboot/dhcp/options.ts';
import { parseClientId, parseUuid, type Reservation } from '../../../netboot/dhcp/reservations.ts';
import type { Decision } from '../../../netboot/dhcp/world.ts';
import { LeaseBook } from '../../../netboot/store/leases.ts';
import { ip, message, NOW_S, request, STRANGER, subnet, WEB1, world } from './messages.ts';

const UUID = '4c4c4544-0033-5a10-8052-b4c04f4d3132';
const KEPT = ip('10.77.1.60');
const OTHERS = ip('10.77.1.150');
const octets = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

/** What a stranger is offered in a subnet that keeps an address and otherwise ignores strangers. */
function offered(reservation: Omit<Reservation, 'address'>, options: DhcpOptions, from = STRANGER): Decision {
  const kept = subnet({ unknown: 'ignore', reservations: [{ address: KEPT, ...reservation }] });
  const packet = decodeMessage(encodeMessage(message('discover', { from, options })));
  if (!packet.ok) throw new Error(packet.why);
  return decide(world({ subnets: [kept] }), request(packet.message));
}

const WHO: [string, Omit<Reservation, 'address'>, DhcpOptions, boolean][] = [
  ['its client identifier', { clientId: 'ff0102' }, { clientIdentifier: octets('ff0102') }, true],
  ['another client identifier', { clientId: 'ff0102' }, { clientIdentifier: octets('ff0103') }, false],
  ['no client identifier', { clientId: 'ff0102' }, {}, false],
  // As EDK2 and iPXE send it: the first three fields little-endian.
  ['its UUID', { uuid: parseUuid(UUID) }, { clientMachineId: octets('0044454c4c3300105a8052b4c04f4d3132') }, true],
  [
    'its UUID as written',
    { uuid: parseUuid(UUID) },
    { clientMachineId: octets('004c4c454400335a108052b4c04f4d3132') },
    true,
  ],
  ['a UUID cut short', { uuid: parseUuid(UUID) }, { clientMachineId: octets('0044454c4c3300105a80') }, false],
  ['its MAC', { mac: STRANGER }, {}, true],
];
for (const [what, reservation, options, isIts] of WHO) {
  test(`a machine that says ${what} ${isIts ? 'has the address' : 'is a stranger'}`, () => {
    const want = isIts
      ? { kind: 'offer', why: 'reserved', message: { yiaddr: KEPT } }
      : { kind: 'ignore', why: 'unknown-machine' };
    expect(offered(reservation, options)).toMatchObject(want);
  });
}

test('a node file comes first', () => {
  expect(offered({ mac: WEB1 }, {}, WEB1)).toMatchObject({ why: 'reservation', message: { yiaddr: '10.77.1.11' } });
});

test('nobody else gets a kept address, from a pool or at its word', () => {
  const kept = subnet({ pool: '10.77.1.150-10.77.1.150', reservations: [{ address: OTHERS, clientId: 'ff0102' }] });
  const here = world({ subnets: [kept], leases: new LeaseBook() });
  expect(decide(here, request(message('discover', { from: STRANGER })))).toMatchObject({ why: 'pool-full' });
  const asking = message('request', { from: STRANGER, ciaddr: OTHERS });
  expect(decide(here, request(asking, { isUnicast: true }))).toMatchObject({
    kind: 'nak',
    why: 'reserved-for-another',
  });
});

test('its lease is renewed, and its reboot with another address refused', () => {
  const kept = subnet({ unknown: 'ignore', reservations: [{ address: KEPT, mac: STRANGER }] });
  const bound = { address: KEPT, mac: STRANGER, subnet: 'rack1', state: 'bound', expiresAtS: NOW_S + 9 } as const;
  const here = world({ subnets: [kept], leases: new LeaseBook([bound]) });
  expect(decide(here, request(message('request', { from: STRANGER, ciaddr: KEPT })))).toMatchObject({
    kind: 'ack',
    why: 'reserved',
  });
  const reboot = message('request', { from: STRANGER, options: { requestedAddress: OTHERS } });
  expect(decide(here, request(reboot))).toMatchObject({ kind: 'nak', why: 'reservation-differs' });
});

test('identifiers are read in the forms that people write, and nothing else', () => {
  expect(['01:52:54:00:77:00:01', '01525400770001', 'FF0102'].map(parseClientId)).toEqual([
    '01525400770001',
    '01525400770001',
    'ff0102',
  ]);
  for (const wrong of ['', '01', '01:', '0152540077000', 'client', '00'.repeat(65)])
    expect(parseClientId(wrong)).toBeUndefined();
  expect(parseUuid(UUID.toUpperCase())).toBe('4c4c454400335a108052b4c04f4d3132');
  for (const wrong of ['00000000-0000-0000-0000-000000000000', UUID.slice(1), UUID.replaceAll('-', '')])
    expect(parseUuid(wrong)).toBeUndefined();
});
