// Conflict detection: reading the kernel's ARP table, and what an answer makes of an offer.

import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { conflictOf, holderInArp, isProbed, type Probe } from '../../../netboot/dhcp/probe.ts';
import type { ReplyDecision } from '../../../netboot/dhcp/world.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import { type Asked, ip, mac, message, NOW_S, request, STRANGER, WEB1, world } from './messages.ts';

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

const OTHER = mac('52:54:00:00:55:55');
const offer = decide(world(), request(message('discover', { from: STRANGER }))) as ReplyDecision;

/** Whether the answer to a client that has this to say waits for a probe. */
function probed(asked: Asked, leases: Lease[] = []): boolean {
  const book = new LeaseBook(leases);
  const said = message(asked.ciaddr === undefined ? 'discover' : 'request', asked);
  const decision = decide(world({ leases: book }), request(said)) as ReplyDecision;
  return isProbed(decision, asked.from ?? WEB1, book.byAddress(decision.message.yiaddr));
}
const lease = (address: string, holder: MacAddress, expiresAtS: number): Lease => ({
  ...{ address: ip(address), mac: holder, subnet: 'rack1', state: 'bound', expiresAtS },
});
const OVER = NOW_S - 3600;

test('what no living lease vouches for is probed, behind a relay what another client had', () => {
  expect(probed({ from: STRANGER })).toBe(true);
  const relayed = { from: STRANGER, giaddr: ip('10.77.1.9'), options: { requestedAddress: ip('10.77.1.150') } };
  expect(probed(relayed)).toBe(false);
  expect(probed(relayed, [lease('10.77.1.150', OTHER, OVER)])).toBe(true);
  expect(probed({ from: STRANGER, ciaddr: ip('10.77.1.150') }, [lease('10.77.1.150', OTHER, OVER)])).toBe(true);
  expect(probed({ from: STRANGER, ciaddr: ip('10.77.1.150') }, [lease('10.77.1.150', STRANGER, NOW_S + 9)])).toBe(
    false,
  );
});
test('a reservation is not, unless another machine had the address last', () => {
  expect(probed({})).toBe(false);
  expect(probed({}, [lease('10.77.1.11', WEB1, OVER)])).toBe(false);
  expect(probed({}, [lease('10.77.1.11', OTHER, OVER)])).toBe(true);
  expect(probed({ ciaddr: ip('10.77.1.11') }, [lease('10.77.1.11', OTHER, OVER)])).toBe(true);
});

const used = (holder?: MacAddress): Probe => ({ kind: 'used', holder });

test('another machine that answers quarantines the address, nobody or the client itself does not', () => {
  expect(conflictOf(offer, STRANGER, { kind: 'free' }, undefined, NOW_S)).toBeUndefined();
  expect(conflictOf(offer, STRANGER, used(STRANGER), undefined, NOW_S)).toBeUndefined();
  for (const holder of [OTHER, undefined]) {
    expect(conflictOf(offer, STRANGER, used(holder), undefined, NOW_S)).toMatchObject({
      kind: 'record',
      why: 'conflict',
      commit: { address: offer.message.yiaddr, mac: STRANGER, state: 'declined', expiresAtS: NOW_S + 60 },
    });
  }
});

test('the holder of a lease that ran out while nobody answered keeps its address; a third machine there does not', () => {
  const last = lease(offer.message.yiaddr, OTHER, OVER);
  for (const holder of [OTHER, undefined]) {
    expect(conflictOf(offer, STRANGER, used(holder), last, NOW_S)).toMatchObject({
      why: 'still-there',
      commit: { ...last, expiresAtS: NOW_S + 60 },
    });
  }
  expect(conflictOf(offer, STRANGER, used(WEB1), last, NOW_S)).toMatchObject({ why: 'conflict' });
  const released = { ...last, state: 'released' } as const;
  expect(conflictOf(offer, STRANGER, used(), released, NOW_S)).toMatchObject({ why: 'conflict' });
});
