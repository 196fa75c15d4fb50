// Conflict detection: reading the kernel's ARP table, and what an answer makes of an offer.

import { expect, test } from 'vitest';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { conflictOf, holderInArp, isProbed } from '../../../netboot/dhcp/probe.ts';
import type { ReplyDecision } from '../../../netboot/dhcp/world.ts';
import { ip, mac, message, NOW_S, request, STRANGER, world } from './messages.ts';

const ARP = `IP address       HW type     Flags       HW address            Mask     Device
10.77.1.100      0x1         0x2         52:54:00:00:55:55     *        br0
10.77.1.101      0x1         0x0         00:00:00:00:00:00     *        br0
10.77.1.102      0x1         0x2         52:54:00:00:66:66     *        eth9
`;

test('a complete entry of the interface is a holder, a failed one and one of another interface are not', () => {
  const holders = [100, 101, 102, 10].map((last) => holderInArp(ARP, ip(`10.77.1.${last}`), 'br0'));
  expect(holders).toEqual(['52:54:00:00:55:55', undefined, undefined, undefined]);
  expect(holderInArp('', ip('10.77.1.100'), 'br0')).toBeUndefined();
});

const offer = decide(world(), request(message('discover', { from: STRANGER }))) as ReplyDecision;

test('an address from the pool is probed; a reservation, and one behind a relay, is not', () => {
  expect(isProbed(offer)).toBe(true);
  expect(isProbed(decide(world(), request(message('discover'))))).toBe(false);
  expect(isProbed(decide(world(), request(message('discover', { from: STRANGER, giaddr: ip('10.77.1.9') }))))).toBe(
    false,
  );
});

test('another machine that answers quarantines the address, nobody or the client itself does not', () => {
  expect(conflictOf(offer, STRANGER, undefined, NOW_S)).toBeUndefined();
  expect(conflictOf(offer, STRANGER, STRANGER, NOW_S)).toBeUndefined();
  expect(conflictOf(offer, STRANGER, mac('52:54:00:00:55:55'), NOW_S)).toMatchObject({
    kind: 'record',
    why: 'conflict',
    commit: { address: offer.message.yiaddr, state: 'declined', expiresAtS: NOW_S + 60 },
  });
});
