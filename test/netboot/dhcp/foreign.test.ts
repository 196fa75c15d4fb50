// Safe start: another DHCP server found at the start silences this one until it is gone; one that comes later does not.

import { expect, test } from 'vitest';
import { decide } from '../../../netboot/dhcp/decide.ts';
import { foreignReply, type Hold, questions, Segment } from '../../../netboot/dhcp/foreign.ts';
import { decodeMessage, encodeMessage, MESSAGE_TYPES, type MessageType } from '../../../netboot/dhcp/message.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import { type Asked, ip, message, NOW_S, request, STRANGER, subnet, US, WEB1, world } from './messages.ts';

const OTHER = ip('10.77.1.2');
const FOREIGN: Hold = { kind: 'foreign', server: OTHER };

/** What the segment says at each second in which something is heard or asked. */
function course(heardAtS: readonly number[], atS: readonly number[]): (string | undefined)[] {
  const segment = new Segment(0);
  const all = [...heardAtS.map((s) => ({ s, heard: true })), ...atS.map((s) => ({ s, heard: false }))];
  const said: (string | undefined)[] = [];
  for (const { s, heard } of all.sort((a, b) => a.s - b.s)) {
    if (heard) segment.heard(OTHER, s * 1000);
    else said.push(segment.hold(s * 1000)?.kind);
  }
  return said;
}

test('nobody answers: it looks for a second, then serves', () => {
  expect(course([], [0, 0.9, 1.1, 1000])).toEqual(['looking', 'looking', undefined, undefined]);
});
test('one that answers at the start, or late because it pings first, silences this one until it is gone', () => {
  expect(course([0.5], [0.6, 100, 151])).toEqual(['foreign', 'foreign', undefined]);
  expect(course([3.5, 63], [2, 4, 200, 214])).toEqual([undefined, 'foreign', 'foreign', undefined]);
});
test('one that comes later changes nothing', () => {
  expect(course([11, 12], [13])).toEqual([undefined]);
});
test('it asks once, and every minute while somebody else answers', () => {
  const segment = new Segment(0);
  const askedAtS: number[] = [];
  for (let s = 0; s < 400; s += 1) {
    if (segment.isLookDue(s * 1000)) askedAtS.push(s);
    if (s === 2 || s === 60) segment.heard(OTHER, s * 1000);
  }
  expect(askedAtS).toEqual([0, 60, 120, 180]);
});
test('a server is news once, and again when it had gone; of many made-up ones only so many are remembered', () => {
  const segment = new Segment(0);
  expect([5, 6, 100, 400].map((s) => segment.heard(OTHER, s * 1000))).toEqual([true, false, false, true]);
  for (let last = 0; last < 200; last += 1) segment.heard(ip(`10.9.9.${last}`), 500_000);
  expect(segment.view(500_001).others.length).toBe(16);
});

test('made-up servers blind it no longer than they are sent, and push out none that was there at the start', () => {
  const segment = new Segment(0);
  segment.heard(OTHER, 1000);
  for (let last = 0; last < 50; last += 1) segment.heard(ip(`10.9.9.${last}`), 20_000 + last);
  expect(segment.hold(21_000)).toEqual(FOREIGN);
  // While they crowd, another one is remembered; once they are gone it is told as well.
  expect(segment.heard(ip('10.77.1.3'), 30_000)).toBe(false);
  expect(segment.view(30_000).others.map(({ address }) => address)).toContain('10.77.1.3');
  expect(segment.heard(ip('10.77.1.4'), 300_000)).toBe(true);
  expect(segment.view(300_000).others.map(({ address }) => address)).toEqual(['10.77.1.4']);
});

const HELD: [string, MessageType, Asked, boolean][] = [
  ['a DISCOVER', 'discover', {}, true],
  ['an INFORM', 'inform', { ciaddr: ip('10.77.1.11') }, true],
  [
    'a REQUEST that takes our offer',
    'request',
    { options: { serverIdentifier: US, requestedAddress: ip('10.77.1.11') } },
    false,
  ],
  [
    'a REQUEST that takes their offer',
    'request',
    { options: { serverIdentifier: OTHER, requestedAddress: ip('10.77.1.50') } },
    false,
  ],
  ['a reboot with an address of theirs', 'request', { options: { requestedAddress: ip('192.168.1.5') } }, true],
  [
    'a reboot with a lease of ours',
    'request',
    { from: STRANGER, options: { requestedAddress: ip('10.77.1.150') } },
    false,
  ],
  ['a renewal of a lease of ours', 'request', { from: STRANGER, ciaddr: ip('10.77.1.150') }, false],
  ['a DISCOVER through a relay', 'discover', { giaddr: ip('10.77.1.9') }, false],
];
const LEASE: Lease = {
  address: ip('10.77.1.150'),
  mac: STRANGER,
  subnet: 'rack1',
  state: 'bound',
  expiresAtS: NOW_S + 9,
};
for (const [what, type, asked, isHeld] of HELD) {
  test(`beside another server ${what} is ${isHeld ? 'left to it' : 'treated as ever'}`, () => {
    const here = world({ leases: new LeaseBook([LEASE]) });
    const decision = decide(here, request(message(type, asked), { held: FOREIGN }));
    expect(decision.why === 'foreign-server').toBe(isHeld);
    if (isHeld)
      expect(decision).toMatchObject({ kind: 'ignore', detail: OTHER, would: { kind: expect.any(String) as string } });
    const told = world({ leases: new LeaseBook([LEASE]), subnets: [subnet({ answerBesideOthers: true })] });
    const asEver = decide(told, request(message(type, asked)));
    expect(decide(told, request(message(type, asked), { held: FOREIGN }))).toEqual(asEver);
    expect(decide(told, request(message(type, asked), { held: { kind: 'looking' } }))).toEqual(asEver);
  });
}

test('its questions are an INFORM and a DISCOVER as a client of this network sends them', () => {
  const read = questions({ address: US, mac: WEB1 }, 7).map((one) => decodeMessage(encodeMessage(one)));
  expect(read.map((one) => one.ok && [one.message.options.messageType, one.message.ciaddr, one.message.flags])).toEqual(
    [
      [MESSAGE_TYPES.inform, US, 0x8000],
      [MESSAGE_TYPES.discover, '0.0.0.0', 0x8000],
    ],
  );
});

test('what gives an address or settings is a DHCP server; a ProxyDHCP server may stand beside', () => {
  const reply = (type: MessageType, more: Asked): ReturnType<typeof foreignReply> => foreignReply(message(type, more));
  const from = { serverIdentifier: OTHER };
  expect(reply('offer', { yiaddr: ip('10.77.1.50'), options: from })).toEqual({
    server: OTHER,
    words: 'OFFER 10.77.1.50 of 10.77.1.2',
  });
  expect(reply('ack', { options: { ...from, subnetMask: ip('255.255.255.0') } })).toMatchObject({ server: OTHER });
  expect(reply('nak', { options: from })).toMatchObject({ words: 'NAK of 10.77.1.2' });
  expect(reply('offer', { options: { ...from, vendorClass: 'PXEClient' } })).toBeUndefined();
  expect(reply('request', { yiaddr: ip('10.77.1.50'), options: from })).toBeUndefined();
});
