// RFC 2131 section 4.3 as a table: what we answer to which message, and when we stay silent.
// No sockets, no clock, no mocks: messages and worlds are values.

import { expect, test } from 'vitest';
import { type Ipv4Address, IPV4_BROADCAST } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { decide } from '../../../netboot/dhcp/decide.ts';
import type { MessageType } from '../../../netboot/dhcp/message.ts';
import { toHex } from '../../../netboot/dhcp/values.ts';
import type { Decision, DhcpRequest, DhcpWorld, ReplyDecision } from '../../../netboot/dhcp/world.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import {
  type Asked,
  CLIENTS,
  ip,
  mac,
  message,
  NOW_S,
  request,
  STRANGER,
  subnet,
  US,
  WEB1,
  world,
} from './messages.ts';

const OURS = ip('10.77.1.11');
const OTHER_SERVER = ip('10.77.1.2');
const POOLED = ip('10.77.1.150');

function lease(address: Ipv4Address, holder: MacAddress, more: Partial<Lease> = {}): Lease {
  return { address, mac: holder, subnet: 'rack1', state: 'bound', expiresAtS: NOW_S + 1000, ...more };
}

type Want =
  | { kind: 'ack' | 'offer'; yiaddr: Ipv4Address; why: string }
  | { kind: 'nak' | 'ignore' | 'record'; why: string };
type Row = {
  state: string;
  type: MessageType;
  asked?: Asked;
  leases?: Lease[];
  more?: Partial<DhcpRequest>;
  world?: Partial<DhcpWorld>;
  want: Want;
};

const chosen = (server: Ipv4Address, address?: Ipv4Address): Asked => ({
  options: { serverIdentifier: server, requestedAddress: address },
});
const onlyOne = { subnets: [subnet({ pool: '10.77.1.165-10.77.1.165' })] };
const ignoring = { subnets: [subnet({ unknown: 'ignore' })] };

const ROWS: Row[] = [
  // 4.3.1 DHCPDISCOVER
  { state: 'INIT, a node', type: 'discover', want: { kind: 'offer', yiaddr: OURS, why: 'reservation' } },
  {
    state: 'INIT, a stranger who asks for a free address',
    type: 'discover',
    asked: { from: STRANGER, options: { requestedAddress: POOLED } },
    want: { kind: 'offer', yiaddr: POOLED, why: 'requested-address' },
  },
  {
    state: "INIT, a stranger who asks for a node's address",
    type: 'discover',
    asked: { from: STRANGER, options: { requestedAddress: OURS } },
    world: onlyOne,
    want: { kind: 'offer', yiaddr: ip('10.77.1.165'), why: 'from-pool' },
  },
  {
    state: 'INIT, a stranger who was here before',
    type: 'discover',
    asked: { from: STRANGER },
    leases: [lease(POOLED, STRANGER, { state: 'released', expiresAtS: 5 })],
    want: { kind: 'offer', yiaddr: POOLED, why: 'last-address' },
  },
  {
    state: 'INIT, unknown: ignore',
    type: 'discover',
    asked: { from: STRANGER },
    world: ignoring,
    want: { kind: 'ignore', why: 'unknown-machine' },
  },
  {
    state: 'INIT, a node whose address its other interface holds',
    type: 'discover',
    leases: [lease(OURS, STRANGER)],
    world: onlyOne,
    want: { kind: 'offer', yiaddr: ip('10.77.1.165'), why: 'from-pool' },
  },
  {
    state: 'INIT, the pool full',
    type: 'discover',
    asked: { from: STRANGER },
    leases: [lease(POOLED, WEB1)],
    world: { subnets: [subnet({ pool: '10.77.1.150-10.77.1.150' })] },
    want: { kind: 'ignore', why: 'pool-full' },
  },
  {
    state: 'INIT, no pool',
    type: 'discover',
    asked: { from: STRANGER },
    world: { subnets: [subnet({ pools: [] })] },
    want: { kind: 'ignore', why: 'no-pool' },
  },
  // 4.3.2 DHCPREQUEST, SELECTING
  {
    state: 'SELECTING, our offer',
    type: 'request',
    asked: chosen(US, OURS),
    want: { kind: 'ack', yiaddr: OURS, why: 'reservation' },
  },
  {
    state: 'SELECTING, another server',
    type: 'request',
    asked: chosen(OTHER_SERVER, OURS),
    want: { kind: 'ignore', why: 'other-server' },
  },
  {
    state: 'SELECTING, our offer to a stranger',
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, POOLED) },
    leases: [lease(POOLED, STRANGER, { state: 'offered' })],
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  // A server that was restarted between OFFER and REQUEST.
  {
    state: 'SELECTING, an offer that is forgotten',
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, POOLED) },
    want: { kind: 'ack', yiaddr: POOLED, why: 'pool-address-free' },
  },
  {
    state: "SELECTING, an address that is another's by now",
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, POOLED) },
    leases: [lease(POOLED, WEB1)],
    want: { kind: 'nak', why: 'leased-to-another' },
  },
  {
    state: "SELECTING, a node's address",
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, OURS) },
    want: { kind: 'nak', why: 'reserved-for-another' },
  },
  {
    state: "SELECTING, the server's own address",
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, US) },
    want: { kind: 'nak', why: 'not-ours' },
  },
  {
    state: "SELECTING, the server's own address, which lies in a pool",
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, US) },
    world: { subnets: [subnet({ pool: '10.77.1.1-10.77.1.9' })] },
    want: { kind: 'nak', why: 'not-ours' },
  },
  {
    state: "SELECTING, the network's broadcast address",
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, ip('10.77.1.255')) },
    want: { kind: 'nak', why: 'wrong-network' },
  },
  {
    state: 'SELECTING, no address',
    type: 'request',
    asked: chosen(US),
    want: { kind: 'ignore', why: 'nothing-requested' },
  },
  {
    state: 'SELECTING, an address in quarantine',
    type: 'request',
    asked: { from: STRANGER, ...chosen(US, POOLED) },
    leases: [lease(POOLED, STRANGER, { state: 'declined' })],
    want: { kind: 'nak', why: 'address-declined' },
  },
  // 4.3.2, INIT-REBOOT: option 50, no 54, no ciaddr
  {
    state: 'INIT-REBOOT, right address',
    type: 'request',
    asked: { options: { requestedAddress: OURS } },
    want: { kind: 'ack', yiaddr: OURS, why: 'reservation' },
  },
  {
    state: 'INIT-REBOOT, a node with another address',
    type: 'request',
    asked: { options: { requestedAddress: POOLED } },
    want: { kind: 'nak', why: 'reservation-differs' },
  },
  {
    state: 'INIT-REBOOT, wrong network',
    type: 'request',
    asked: { options: { requestedAddress: ip('192.168.1.5') } },
    want: { kind: 'nak', why: 'wrong-network' },
  },
  // "If the DHCP server has no record of this client, then it MUST remain silent"
  {
    state: 'INIT-REBOOT, unknown client',
    type: 'request',
    asked: { from: STRANGER, options: { requestedAddress: POOLED } },
    want: { kind: 'ignore', why: 'no-record' },
  },
  {
    state: 'INIT-REBOOT, a stranger with its lease',
    type: 'request',
    asked: { from: STRANGER, options: { requestedAddress: POOLED } },
    leases: [lease(POOLED, STRANGER)],
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: 'INIT-REBOOT, a stranger with an expired lease that is still free',
    type: 'request',
    asked: { from: STRANGER, options: { requestedAddress: POOLED } },
    leases: [lease(POOLED, STRANGER, { expiresAtS: NOW_S - 1 })],
    want: { kind: 'ack', yiaddr: POOLED, why: 'pool-address-free' },
  },
  {
    state: 'INIT-REBOOT, a lease that another has',
    type: 'request',
    asked: { from: STRANGER, options: { requestedAddress: POOLED } },
    leases: [lease(POOLED, WEB1), lease(ip('10.77.1.151'), STRANGER)],
    want: { kind: 'nak', why: 'leased-to-another' },
  },
  // 4.3.2, RENEWING (unicast) and REBINDING (broadcast): ciaddr
  {
    state: 'RENEWING, own lease',
    type: 'request',
    asked: { from: STRANGER, ciaddr: POOLED },
    leases: [lease(POOLED, STRANGER)],
    more: { isUnicast: true },
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: 'RENEWING, own reservation',
    type: 'request',
    asked: { ciaddr: OURS },
    more: { isUnicast: true },
    want: { kind: 'ack', yiaddr: OURS, why: 'reservation' },
  },
  {
    state: 'RENEWING, a node up with its old pool address',
    type: 'request',
    asked: { ciaddr: POOLED },
    leases: [lease(POOLED, WEB1)],
    more: { isUnicast: true },
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: 'RENEWING, discovered and adopted since',
    type: 'request',
    asked: { ciaddr: POOLED },
    leases: [lease(POOLED, WEB1, { isDiscovery: true })],
    more: { isUnicast: true },
    want: { kind: 'nak', why: 'adopted' },
  },
  {
    state: 'RENEWING, discovered and still a stranger',
    type: 'request',
    asked: { from: STRANGER, ciaddr: POOLED },
    leases: [lease(POOLED, STRANGER, { isDiscovery: true })],
    more: { isUnicast: true },
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: 'SELECTING, discovered and adopted since: its firmware boots it as the node',
    type: 'request',
    asked: chosen(US, POOLED),
    leases: [lease(POOLED, WEB1, { isDiscovery: true })],
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: 'RENEWING, the lease was lost',
    type: 'request',
    asked: { from: STRANGER, ciaddr: POOLED },
    more: { isUnicast: true },
    want: { kind: 'ack', yiaddr: POOLED, why: 'pool-address-free' },
  },
  {
    state: 'RENEWING, an address never ours',
    type: 'request',
    asked: { from: STRANGER, ciaddr: ip('10.77.1.50') },
    more: { isUnicast: true },
    want: { kind: 'nak', why: 'not-ours' },
  },
  {
    state: 'RENEWING, an address reserved since',
    type: 'request',
    asked: { from: STRANGER, ciaddr: OURS },
    leases: [lease(OURS, STRANGER)],
    more: { isUnicast: true },
    want: { kind: 'nak', why: 'reserved-for-another' },
  },
  {
    state: 'REBINDING, own lease',
    type: 'request',
    asked: { from: STRANGER, ciaddr: POOLED },
    leases: [lease(POOLED, STRANGER)],
    want: { kind: 'ack', yiaddr: POOLED, why: 'lease-known' },
  },
  {
    state: "REBINDING, another server's client",
    type: 'request',
    asked: { from: STRANGER, ciaddr: ip('10.77.1.50') },
    want: { kind: 'ignore', why: 'no-record' },
  },
  {
    state: 'REBINDING, moved from another network',
    type: 'request',
    asked: { ciaddr: ip('192.168.1.5') },
    want: { kind: 'nak', why: 'wrong-network' },
  },
  { state: 'nothing requested', type: 'request', want: { kind: 'ignore', why: 'nothing-requested' } },
  // 4.3.3 DHCPDECLINE
  {
    state: 'bound',
    type: 'decline',
    asked: chosen(US, POOLED),
    leases: [lease(POOLED, WEB1)],
    want: { kind: 'record', why: 'declined' },
  },
  {
    state: "another's lease",
    type: 'decline',
    asked: chosen(US, POOLED),
    leases: [lease(POOLED, STRANGER)],
    want: { kind: 'ignore', why: 'not-its-lease' },
  },
  { state: 'no lease', type: 'decline', asked: chosen(US, POOLED), want: { kind: 'ignore', why: 'not-its-lease' } },
  {
    state: 'another server',
    type: 'decline',
    asked: chosen(OTHER_SERVER, POOLED),
    leases: [lease(POOLED, WEB1)],
    want: { kind: 'ignore', why: 'other-server' },
  },
  { state: 'no address', type: 'decline', want: { kind: 'ignore', why: 'nothing-requested' } },
  // 4.3.4 DHCPRELEASE
  {
    state: 'bound',
    type: 'release',
    asked: { ciaddr: POOLED },
    leases: [lease(POOLED, WEB1)],
    want: { kind: 'record', why: 'released' },
  },
  {
    state: "another's lease",
    type: 'release',
    asked: { ciaddr: POOLED },
    leases: [lease(POOLED, STRANGER)],
    want: { kind: 'ignore', why: 'not-its-lease' },
  },
  {
    state: 'released already',
    type: 'release',
    asked: { ciaddr: POOLED },
    leases: [lease(POOLED, WEB1, { state: 'released' })],
    want: { kind: 'ignore', why: 'not-its-lease' },
  },
  // 4.3.5 DHCPINFORM
  {
    state: 'an address of its own',
    type: 'inform',
    asked: { ciaddr: ip('10.77.1.50') },
    want: { kind: 'ack', yiaddr: ip('0.0.0.0'), why: 'inform' },
  },
  { state: 'no address', type: 'inform', want: { kind: 'ignore', why: 'nothing-requested' } },
  // What only servers send.
  { state: 'a server', type: 'offer', want: { kind: 'ignore', why: 'unexpected-type' } },
  { state: 'a server', type: 'ack', want: { kind: 'ignore', why: 'unexpected-type' } },
  { state: 'a server', type: 'nak', want: { kind: 'ignore', why: 'unexpected-type' } },
];
for (const { state, type, asked, leases = [], more, world: change, want } of ROWS) {
  test(`${type.toUpperCase()} in ${state}: ${want.kind}, ${want.why}`, () => {
    const decision = decide(world({ leases: new LeaseBook(leases), ...change }), request(message(type, asked), more));
    const yiaddr = 'message' in decision ? { yiaddr: decision.message.yiaddr } : {};
    const full = { kind: decision.kind, why: decision.why, ...yiaddr };
    expect(want.kind === 'nak' ? { kind: full.kind, why: full.why } : full).toEqual(want);
  });
}

const MALFORMED: [string, Asked, string][] = [
  ['a reply', { op: 2 }, 'not-a-request'],
  ['BOOTP', { options: { messageType: undefined } }, 'bootp'],
  ['type 99', { options: { messageType: 99 } }, 'unexpected-type'],
  ['InfiniBand', { htype: 32, hlen: 0 }, 'no-hardware-address'],
  ['a UUID as hardware address', { hlen: 16 }, 'no-hardware-address'],
  ['a relay on no subnet of ours', { giaddr: ip('10.99.0.1') }, 'no-subnet'],
];
for (const [what, asked, why] of MALFORMED) {
  test(`${what} is ignored: ${why}`, () => {
    expect(decide(world(), request(message('discover', asked)))).toMatchObject({ kind: 'ignore', why });
  });
}

function reply(decision: Decision): ReplyDecision {
  if (decision.kind === 'ignore' || decision.kind === 'record') throw new Error(`${decision.kind}: ${decision.why}`);
  return decision;
}

test('what an ACK carries: the lease that must be on disk first, times, and the echoes', () => {
  const asked = message('request', {
    giaddr: ip('10.77.1.1'),
    flags: 0x8000,
    options: {
      serverIdentifier: US,
      requestedAddress: OURS,
      hostname: 'client-says',
      clientIdentifier: Uint8Array.of(1, 2, 3),
      relayAgent: Uint8Array.of(1, 2, 0xaa, 0xbb, 2, 1, 0xcc),
    },
  });
  const decision = reply(decide(world(), request(asked)));
  expect(decision.commit).toEqual({
    address: OURS,
    mac: WEB1,
    subnet: 'rack1',
    state: 'bound',
    // A second more than the client is told: NOW_S has lost its fraction.
    expiresAtS: NOW_S + 3601,
    clientId: '010203',
    hostname: 'client-says',
    circuitId: 'aabb',
    remoteId: 'cc',
  });
  expect(decision.hold).toBeUndefined();
  const { options, ...header } = decision.message;
  expect(header).toMatchObject({ op: 2, xid: 0x12345678, yiaddr: OURS, giaddr: US, flags: 0x8000, hops: 0, secs: 0 });
  expect(options).toMatchObject({
    messageType: 5,
    serverIdentifier: US,
    leaseTimeS: 3600,
    renewalTimeS: 1800,
    rebindingTimeS: 3150,
    subnetMask: '255.255.255.0',
    broadcastAddress: '10.77.1.255',
    routers: [US],
    dnsServers: ['10.77.1.53'],
    hostname: 'web1',
  });
  expect(toHex(options.relayAgent!)).toBe('0102aabb0201cc');
  expect(toHex(options.clientIdentifier!)).toBe('010203');
});

test('an offer is held in memory and not committed; it never shadows a living lease', () => {
  const first = reply(decide(world(), request(message('discover'))));
  expect(first.hold).toMatchObject({ address: OURS, state: 'offered', expiresAtS: NOW_S + 60 });
  expect(first.commit).toBeUndefined();
  const leased = world({ leases: new LeaseBook([lease(OURS, WEB1)]) });
  expect(reply(decide(leased, request(message('discover')))).hold).toBeUndefined();
});

test('INFORM gives no address and no lease', () => {
  const decision = reply(decide(world(), request(message('inform', { ciaddr: ip('10.77.1.50') }))));
  const { leaseTimeS, renewalTimeS, rebindingTimeS } = decision.message.options;
  expect({ leaseTimeS, renewalTimeS, rebindingTimeS, commit: decision.commit, to: decision.to }).toEqual({
    leaseTimeS: undefined,
    renewalTimeS: undefined,
    rebindingTimeS: undefined,
    commit: undefined,
    to: { address: '10.77.1.50', port: 68 },
  });
});

test('DECLINE keeps the address from everybody for ten minutes, RELEASE gives it up at once', () => {
  const leases = new LeaseBook([lease(POOLED, WEB1)]);
  const declined = decide(world({ leases }), request(message('decline', chosen(US, POOLED))));
  expect(declined).toMatchObject({ commit: { address: POOLED, state: 'declined', expiresAtS: NOW_S + 600 } });
  const released = decide(world({ leases }), request(message('release', { ciaddr: POOLED })));
  expect(released).toMatchObject({ commit: { address: POOLED, state: 'released', expiresAtS: NOW_S } });
});

const LEASE_TIMES: [asked: number | undefined, most: number, want: number][] = [
  [undefined, 3600, 3600],
  [600, 3600, 600],
  [1, 3600, 60],
  [0xffffffff, 3600, 3600],
  [5, 12, 12],
];
for (const [asked, most, want] of LEASE_TIMES) {
  test(`a lease of ${asked} s asked of a subnet of ${most} s lasts ${want} s`, () => {
    const decision = decide(
      world({ subnets: [subnet({ leaseTimeS: most })] }),
      request(message('discover', { options: { leaseTimeS: asked } })),
    );
    expect(reply(decision).message.options.leaseTimeS).toBe(want);
  });
}

test('a machine that is being discovered soon asks again; a node beside it does not', () => {
  const discovering = world({ subnets: [subnet({ unknown: 'discover' })] });
  const offerTo = (asked: Asked) => reply(decide(discovering, request(message('discover', asked))));
  expect(offerTo({ from: STRANGER }).message.options.leaseTimeS).toBe(120);
  expect(offerTo({ from: STRANGER }).hold?.isDiscovery).toBe(true);
  expect(offerTo({}).message.options.leaseTimeS).toBe(3600);
  expect(offerTo({}).hold?.isDiscovery).toBeUndefined();
});

// RFC 2131 section 4.1.
const DESTINATIONS: [string, MessageType, Asked, string][] = [
  ['a client without an address', 'discover', {}, '255.255.255.255:68'],
  ['a client without an address that wants a broadcast', 'discover', { flags: 0x8000 }, '255.255.255.255:68'],
  ['a client with an address', 'request', { ciaddr: OURS }, '10.77.1.11:68'],
  ['a relay', 'discover', { giaddr: ip('10.77.1.9') }, '10.77.1.9:67'],
  ['a relay, for a client with an address', 'request', { giaddr: ip('10.77.1.9'), ciaddr: OURS }, '10.77.1.9:67'],
  ['a refused client with an address', 'request', { ciaddr: ip('10.77.1.12') }, '255.255.255.255:68'],
];
for (const [who, type, asked, want] of DESTINATIONS) {
  test(`the reply to ${who} goes to ${want}`, () => {
    const { to } = reply(decide(world(), request(message(type, asked), { isUnicast: true })));
    expect(`${to.address}:${to.port}`).toBe(want);
  });
}

test('a NAK through a relay asks it to broadcast', () => {
  const decision = reply(
    decide(
      world(),
      request(message('request', { giaddr: ip('10.77.1.9'), options: { requestedAddress: ip('10.1.1.1') } })),
    ),
  );
  expect(decision).toMatchObject({ kind: 'nak', message: { flags: 0x8000, yiaddr: '0.0.0.0' } });
  expect(decision.message.options.message).toBe('10.1.1.1: the address is not of this network');
});

const FAR = subnet({ name: 'far', at: '10.88.0.0/24', pool: '10.88.0.100-10.88.0.199', router: ip('10.88.0.1') });
const relaySub = (code: number, address: string): Uint8Array =>
  Uint8Array.of(code, 4, ...address.split('.').map(Number));
const PLACES: [string, Asked, string][] = [
  ['the interface', {}, 'rack1'],
  ['giaddr', { giaddr: ip('10.88.0.1') }, 'far'],
  ['link selection (82.5)', { giaddr: ip('10.77.1.9'), options: { relayAgent: relaySub(5, '10.88.0.0') } }, 'far'],
  ['subnet selection (118)', { options: { subnetSelection: ip('10.88.0.0') } }, 'far'],
];
for (const [what, asked, want] of PLACES) {
  test(`${what} places the client in ${want}`, () => {
    const two = world({ subnets: [subnet(), FAR] });
    const decision = reply(decide(two, request(message('discover', { from: STRANGER, ...asked }))));
    expect(decision.subnet).toBe(want);
    expect(decision.message.options.routers).toEqual([want === 'far' ? '10.88.0.1' : US]);
  });
}

test('a relay that stands in for us (82.11) is the server identifier, in replies and in what we take as ours', () => {
  const relayAgent = relaySub(11, '10.88.0.1');
  const two = world({ subnets: [subnet(), FAR] });
  const at = { from: STRANGER, giaddr: ip('10.88.0.1') };
  const offer = reply(decide(two, request(message('discover', { ...at, options: { relayAgent } }))));
  expect(offer.message.options.serverIdentifier).toBe('10.88.0.1');
  const options = { relayAgent, serverIdentifier: ip('10.88.0.1'), requestedAddress: offer.message.yiaddr };
  expect(decide(two, request(message('request', { ...at, options })))).toMatchObject({ kind: 'ack' });
});

// The matrix of what steers each kind of client's firmware (netboot/dhcp/reply.ts).
type BootRow = { client: keyof typeof CLIENTS; want: Record<string, unknown> };
const script = `http://10.77.1.1:8080/ipxe/${WEB1.replaceAll(':', '-')}`;
const BOOTS: BootRow[] = [
  {
    client: 'bios',
    want: {
      siaddr: US,
      file: 'undionly.kpxe',
      vendorClass: 'PXEClient',
      pxe: '6=08',
      bootFile: 'undionly.kpxe',
      tftpServerName: US,
    },
  },
  {
    client: 'efi',
    want: { siaddr: US, file: 'snponly.efi', vendorClass: 'PXEClient', pxe: '6=08', bootFile: 'snponly.efi' },
  },
  {
    client: 'efi9',
    want: { siaddr: US, file: 'snponly.efi', vendorClass: 'PXEClient', pxe: '6=08', bootFile: 'snponly.efi' },
  },
  {
    client: 'arm64',
    want: {
      siaddr: US,
      file: 'snponly-arm64.efi',
      vendorClass: 'PXEClient',
      pxe: '6=08',
      bootFile: 'snponly-arm64.efi',
    },
  },
  {
    client: 'http',
    want: {
      siaddr: US,
      file: 'http://10.77.1.1:8080/loader/snponly.efi',
      vendorClass: 'HTTPClient',
      bootFile: 'http://10.77.1.1:8080/loader/snponly.efi',
    },
  },
  {
    client: 'ipxeBios',
    want: { siaddr: US, file: script, vendorClass: 'PXEClient', ipxe: '176=01', bootFile: script },
  },
  { client: 'ipxeEfi', want: { siaddr: US, file: script, vendorClass: 'PXEClient', ipxe: '176=01', bootFile: script } },
  {
    client: 'ipxeOld',
    want: { siaddr: US, file: 'undionly.kpxe', vendorClass: 'PXEClient', ipxe: '176=01', bootFile: 'undionly.kpxe' },
  },
  { client: 'system', want: { siaddr: '0.0.0.0', file: '' } },
];
for (const { client, want } of BOOTS) {
  for (const type of ['discover', 'request'] as const) {
    test(`the answer to a ${type.toUpperCase()} of ${client} steers it to ${JSON.stringify(want['file'])}`, () => {
      const options = { ...CLIENTS[client], ...(type === 'request' ? chosen(US, OURS).options : {}) };
      const decision = reply(decide(world(), request(message(type, { options }))));
      const sent = decision.message;
      const list = (subs: typeof sent.options.ipxe): string | undefined =>
        subs?.map(({ code, octets }) => `${code}=${toHex(octets)}`).join(' ');
      const { vendorClass, bootFile, tftpServerName } = sent.options;
      const got = {
        siaddr: sent.siaddr,
        file: sent.file,
        vendorClass,
        pxe: list(sent.options.vendorInformation),
        ipxe: list(sent.options.ipxe),
        bootFile,
        tftpServerName,
      };
      expect(Object.fromEntries(Object.entries(got).filter(([, value]) => value !== undefined))).toEqual(want);
    });
  }
}

test('the UUID is echoed, all zeros too, and one of a wrong length is not', () => {
  const machineId = (id: Uint8Array) =>
    reply(decide(world(), request(message('discover', { options: { ...CLIENTS.efi, clientMachineId: id } })))).message
      .options.clientMachineId;
  expect(machineId(new Uint8Array(17))).toEqual(new Uint8Array(17));
  expect(machineId(new Uint8Array(3))).toBeUndefined();
});

test('a Raspberry Pi is told by its maker and gets its menu', () => {
  const pi = mac('b8:27:eb:00:00:01');
  const { options } = reply(decide(world(), request(message('discover', { from: pi, options: CLIENTS.bios })))).message;
  expect(options.vendorInformation?.map(({ code }) => code)).toEqual([6, 9, 10]);
});

test("a subnet's domain, search list, time servers and MTU are told to whoever asks; an empty list to nobody", () => {
  const told = (settings: Parameters<typeof subnet>[0]) =>
    reply(
      decide(
        world({ subnets: [subnet(settings)] }),
        request(message('discover', { options: { parameterRequestList: [15, 26, 42, 119] } })),
      ),
    ).message.options;
  const settings = { domain: 'rack.example.org', domainSearch: ['example.org'], ntp: [US], mtuBytes: 9000 };
  expect(told(settings)).toMatchObject({
    domainName: 'rack.example.org',
    domainSearch: ['example.org'],
    ntpServers: [US],
    mtuBytes: 9000,
  });
  expect(told({ domainSearch: [], ntp: [] })).toMatchObject({ domainSearch: undefined, ntpServers: undefined });
});

test('settings that the client does not ask for are left out, the necessary ones never', () => {
  const { options } = reply(
    decide(world(), request(message('discover', { options: { parameterRequestList: [1, 0, 235] } }))),
  ).message;
  expect(
    Object.keys(options)
      .filter((name) => options[name as keyof typeof options] !== undefined)
      .sort(),
  ).toEqual([
    'dnsServers',
    'leaseTimeS',
    'messageType',
    'rebindingTimeS',
    'renewalTimeS',
    'routers',
    'serverIdentifier',
    'subnetMask',
  ]);
});

test('mode: observe sends nothing and says what it would have sent', () => {
  const observing = world({ subnets: [subnet({ mode: 'observe' })] });
  expect(decide(observing, request(message('discover')))).toMatchObject({
    kind: 'ignore',
    why: 'observe',
    would: { kind: 'offer', why: 'reservation', message: { yiaddr: OURS } },
  });
});

// ProxyDHCP: beside another server, and the boot server protocol on 4011.
type ProxyRow = {
  what: string;
  type: MessageType;
  options: NonNullable<Asked['options']>;
  port?: 67 | 4011;
  want: Record<string, unknown>;
};
const PROXY: ProxyRow[] = [
  {
    what: 'UEFI firmware, sent on to port 4011',
    type: 'discover',
    options: CLIENTS.efi,
    want: { kind: 'offer', file: 'snponly.efi', pxe: undefined, to: '255.255.255.255:68' },
  },
  {
    what: 'a BIOS ROM, which takes the file',
    type: 'discover',
    options: CLIENTS.bios,
    want: { kind: 'offer', file: 'undionly.kpxe', pxe: [6], to: '255.255.255.255:68' },
  },
  {
    what: 'iPXE',
    type: 'discover',
    options: CLIENTS.ipxeEfi,
    want: { kind: 'offer', file: script, pxe: undefined, to: '255.255.255.255:68' },
  },
  {
    what: 'a request on 4011',
    type: 'request',
    options: CLIENTS.efi,
    port: 4011,
    want: { kind: 'ack', file: 'snponly.efi', pxe: [6], to: '10.77.1.50:4011' },
  },
  {
    what: 'a boot item on 4011',
    type: 'request',
    options: { ...CLIENTS.bios, vendorInformation: [{ code: 71, octets: Uint8Array.of(0, 1, 0, 0) }] },
    port: 4011,
    want: { kind: 'ack', file: 'undionly.kpxe', pxe: [71], to: '10.77.1.50:4011' },
  },
  {
    what: 'a boot item that must be signed (BIS), which we cannot',
    type: 'request',
    options: { ...CLIENTS.bios, vendorInformation: [{ code: 71, octets: Uint8Array.of(0, 1, 0x80, 0) }] },
    port: 4011,
    want: { kind: 'ack', file: 'undionly.kpxe', pxe: [6], to: '10.77.1.50:4011' },
  },
  { what: 'an operating system', type: 'discover', options: {}, want: { kind: 'ignore', why: 'not-pxe' } },
  {
    what: 'a request for the other server',
    type: 'request',
    options: CLIENTS.efi,
    want: { kind: 'ignore', why: 'not-pxe' },
  },
];
for (const { what, type, options, port = 67, want } of PROXY) {
  test(`mode: proxy answers ${what}`, () => {
    const asked = message(type, { options, ...(port === 4011 ? { ciaddr: ip('10.77.1.50') } : {}) });
    const proxied = world({ subnets: [subnet({ mode: 'proxy' })] });
    const decision = decide(proxied, request(asked, { port, from: { address: asked.ciaddr, port: 4011 } }));
    if (decision.kind === 'ignore') {
      expect({ kind: decision.kind, why: decision.why }).toEqual(want);
      return;
    }
    const { message: sent, to, kind } = reply(decision);
    expect({
      kind,
      file: sent.file,
      pxe: sent.options.vendorInformation?.map(({ code }) => code),
      to: `${to.address}:${to.port}`,
    }).toEqual(want);
    expect({ yiaddr: sent.yiaddr, lease: sent.options.leaseTimeS, siaddr: sent.siaddr }).toEqual({
      yiaddr: '0.0.0.0',
      lease: undefined,
      siaddr: US,
    });
    expect('commit' in decision ? decision.commit : undefined).toBeUndefined();
  });
}

test('nothing is ever broadcast to a port that no client has', () => {
  for (const { type, asked } of ROWS) {
    const decision = decide(world(), request(message(type, asked)));
    if ('to' in decision && decision.to.address === IPV4_BROADCAST) expect(decision.to.port).toBe(68);
  }
});
