// netboot/dhcp/decide.ts - what a DHCP message is answered with: RFC 2131 section 4.3, as a pure and total function.
//
// Owns: which subnet a client is in, whether it is answered, and with which address. Does not own the choice among free
// addresses (../store/leases.ts), the reply's options (reply.ts), what is booted (loaders.ts), ProxyDHCP (proxy.ts), or
// sending and committing (server.io.ts).
//
// Nodes are known by their hardware address (chaddr), never by client identifier: firmware sends none, iPXE 01 + MAC,
// the operating system a DUID, all in one boot.
//
// To change what a message type is answered with, change its function below; test/netboot/dhcp/decide.test.ts is the
// RFC's table of cases. Sources: RFC 2131 4.3, 4.4; RFC 3011 (118), RFC 3046 (82), RFC 3527 (82.5). Pure.

import { type Ipv4Address, IPV4_ANY, isHostAddress, networkContains, rangeContains } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import {
  chooseAddress,
  DECLINE_QUARANTINE_S,
  DISCOVERY_LEASE_S,
  isAlive,
  isAnothers,
  type Lease,
  OFFER_HOLD_S,
} from '../store/leases.ts';
import { clientOf } from './clients.ts';
import { destinationOf, PROXY_PORT } from './destination.ts';
import type { Hold } from './foreign.ts';
import { chooseBoot } from './loaders.ts';
import { BOOTREQUEST, type DhcpMessage, macOf, type MessageType, messageTypeOf } from './message.ts';
import { OPTIONS } from './options.ts';
import { decideProxy } from './proxy.ts';
import { isKept, reservedFor } from './reservations.ts';
import { grantReply, refusal, relaySubOption, type ReplyFacts, serverIdentifier } from './reply.ts';
import { toHex } from './values.ts';
import { WHY, type WhyCode } from './why.ts';
import type { Decision, DhcpRequest, DhcpSubnet, DhcpWorld } from './world.ts';

/** A client may ask for a shorter lease than the subnet's, but not for one that keeps the server busy. */
const LEAST_LEASE_TIME_S = 60;

/** nowS has lost its fraction: without this the address would be free up to a second before the client gives it up. */
const ROUNDING_S = 1;

/** One message of one client, with all that is known about it. */
export type Case = {
  readonly world: DhcpWorld;
  readonly request: DhcpRequest;
  readonly facts: ReplyFacts;
};

/** Total: every message, from whomever, has a decision, and every decision its reason. */
export function decide(world: DhcpWorld, request: DhcpRequest): Decision {
  const { message } = request;
  if (message.op !== BOOTREQUEST) return ignore('not-a-request');
  if (message.options.messageType === undefined) return ignore('bootp');
  const type = messageTypeOf(message);
  const mac = macOf(message);
  if (mac === undefined) {
    return ignore('no-hardware-address', `type ${message.htype}, ${toHex(message.chaddr.subarray(0, message.hlen))}`);
  }
  const subnet = subnetOf(world, request);
  if (subnet === undefined) return ignore('no-subnet', placeOf(message));
  const node = world.nodeByMac(mac);
  const reserved = node === undefined ? reservedFor(subnet.reservations, message, mac) : undefined;
  if (node === undefined && reserved === undefined && subnet.unknown === 'ignore')
    return ignore('unknown-machine', mac);

  const client = clientOf(message);
  const boot = chooseBoot(world.bootPolicy(mac, subnet), client, mac, world.loaderFetchedRecently(mac));
  const facts: ReplyFacts = {
    request: message,
    client,
    mac,
    serverAddress: world.serverAddress,
    subnet,
    node,
    reserved,
    boot,
  };
  const one: Case = { world, request, facts };
  if (subnet.mode === 'proxy' || request.port === PROXY_PORT) return decideProxy(type, one);
  const decision = type === undefined ? ignore('unexpected-type') : BY_TYPE[type](one);
  const held = heldBack(type, one);
  if (held !== undefined) {
    const detail = held.kind === 'foreign' ? held.server : undefined;
    return { kind: 'ignore', why: held.kind === 'foreign' ? 'foreign-server' : 'looking', detail, would: decision };
  }
  if (subnet.mode === 'observe') return { kind: 'ignore', why: 'observe', detail: subnet.name, would: decision };
  return decision;
}

const BY_TYPE = {
  discover: decideDiscover,
  request: decideRequest,
  decline: decideDecline,
  release: decideRelease,
  inform: decideInform,
  offer: () => ignore('unexpected-type'),
  ack: () => ignore('unexpected-type'),
  nak: () => ignore('unexpected-type'),
} satisfies Record<MessageType, (one: Case) => Decision>;

/**
 * Safe start: whether the message is left to another DHCP server. Who holds a lease of ours or has taken our offer is
 * served: silence would cost it its address. Behind a relay there is another segment, about which nothing is known.
 */
function heldBack(type: MessageType | undefined, { world, request, facts }: Case): Hold | undefined {
  const { message, held } = request;
  const { subnet, mac } = facts;
  if (held === undefined || subnet.mode !== 'dhcp' || subnet.answerBesideOthers) return undefined;
  if (message.giaddr !== IPV4_ANY) return undefined;
  if (type === 'discover' || type === 'inform') return held;
  if (type !== 'request' || message.options.serverIdentifier !== undefined) return undefined;
  const address = message.ciaddr === IPV4_ANY ? message.options.requestedAddress : message.ciaddr;
  const lease = address === undefined ? undefined : world.leases.byAddress(address);
  return lease?.mac === mac && lease.state === 'bound' ? undefined : held;
}

/**
 * The subnet a client is in: what option 118 or a relay's link selection names; where its relay is; else, for a client
 * that has an address, where that is; else the one of the interface itself.
 */
function subnetOf(world: DhcpWorld, { message }: DhcpRequest): DhcpSubnet | undefined {
  const containing = (address: Ipv4Address): DhcpSubnet | undefined =>
    world.subnets.find(({ network }) => networkContains(network, address));
  const linkSelection = relaySubOption(message, 5);
  const selected =
    (linkSelection === undefined ? undefined : OPTIONS.subnetSelection.kind.decode(linkSelection)) ??
    message.options.subnetSelection;
  if (selected !== undefined) return containing(selected);
  if (message.giaddr !== IPV4_ANY) return containing(message.giaddr);
  const own = containing(world.serverAddress);
  if (message.ciaddr === IPV4_ANY) return own;
  return containing(message.ciaddr) ?? own;
}

function placeOf({ giaddr, ciaddr }: DhcpMessage): string {
  if (giaddr !== IPV4_ANY) return `relay ${giaddr}`;
  return ciaddr === IPV4_ANY ? 'this interface' : `client ${ciaddr}`;
}

/** RFC 2131 4.3.1. */
function decideDiscover(one: Case): Decision {
  const { world, request, facts } = one;
  const { subnet, mac } = facts;
  const answer = chooseAddress(world.leases, {
    mac,
    subnet,
    reservation: reservationOf(facts),
    requested: request.message.options.requestedAddress,
    excluded: excludedOf(one),
    isReserved: (address) => isReserved(one, address),
    nowS: world.nowS,
  });
  if (answer.kind === 'none') return ignore(answer.why, subnet.name);
  const known = world.leases.byAddress(answer.address);
  // A living lease already keeps the address for the client; an offer put over it would expire sooner than it.
  const isLeased = known !== undefined && known.mac === mac && known.state === 'bound' && isAlive(known, world.nowS);
  return {
    kind: 'offer',
    why: answer.why === 'reservation' ? whyReserved(facts) : answer.why,
    subnet: subnet.name,
    message: grantReply('offer', facts, { address: answer.address, leaseTimeS: leaseTimeOf(one) }),
    to: destinationOf(request.message, 'offer'),
    hold: isLeased ? undefined : leaseOf(one, answer.address, 'offered', world.nowS + OFFER_HOLD_S),
    isNewAddress: answer.isNew,
    boot: facts.boot,
  };
}

/** RFC 2131 4.3.2: option 54 tells SELECTING, option 50 INIT-REBOOT, ciaddr RENEWING and REBINDING. */
function decideRequest(one: Case): Decision {
  const { world, request, facts } = one;
  const { message } = request;
  const { serverIdentifier: chosen, requestedAddress } = message.options;
  if (chosen !== undefined) {
    if (chosen !== serverIdentifier(message, world.serverAddress)) return ignore('other-server', chosen);
    const address = requestedAddress ?? message.ciaddr;
    if (address === IPV4_ANY) return ignore('nothing-requested');
    const right = rightTo(one, address);
    return right.ok ? grant(one, address, right.why) : refuse(one, address, right.why);
  }
  if (message.ciaddr === IPV4_ANY) {
    return requestedAddress === undefined ? ignore('nothing-requested') : decideInitReboot(one, requestedAddress);
  }
  // What discovers it goes on renewing after the machine was adopted: refused, it boots again, as what it now is.
  const held = world.leases.byAddress(message.ciaddr);
  const isAdopted = facts.node !== undefined && held?.mac === facts.mac && held.isDiscovery === true;
  if (isAdopted) return refuse(one, message.ciaddr, 'adopted');
  const right = rightTo(one, message.ciaddr);
  if (right.ok) return grant(one, message.ciaddr, right.why);
  // A broadcast renewal may be meant for another server, which does know the client.
  if (right.why === 'not-ours' && !request.isUnicast && !hasRecord(one)) return ignore('no-record', facts.mac);
  return refuse(one, message.ciaddr, right.why);
}

function decideInitReboot(one: Case, address: Ipv4Address): Decision {
  const { facts } = one;
  if (!networkContains(facts.subnet.network, address)) return refuse(one, address, 'wrong-network');
  if (!hasRecord(one)) return ignore('no-record', facts.mac);
  const reservation = reservationOf(facts);
  if (reservation !== undefined && reservation !== address && rightTo(one, reservation).ok) {
    return refuse(one, address, 'reservation-differs');
  }
  const right = rightTo(one, address);
  return right.ok ? grant(one, address, right.why) : refuse(one, address, right.why);
}

/** RFC 2131 4.3.3. Only the holder may decline, or anyone could empty the pool. */
function decideDecline(one: Case): Decision {
  const { world, request, facts } = one;
  const address = request.message.options.requestedAddress;
  if (address === undefined) return ignore('nothing-requested');
  const chosen = request.message.options.serverIdentifier;
  if (chosen !== undefined && chosen !== serverIdentifier(request.message, world.serverAddress)) {
    return ignore('other-server', chosen);
  }
  const lease = world.leases.byAddress(address);
  if (lease === undefined || lease.mac !== facts.mac || !isAlive(lease, world.nowS)) {
    return ignore('not-its-lease', address);
  }
  return {
    kind: 'record',
    why: 'declined',
    detail: address,
    commit: { ...lease, state: 'declined', expiresAtS: world.nowS + DECLINE_QUARANTINE_S },
  };
}

/** RFC 2131 4.3.4: the address stays remembered as this client's. */
function decideRelease({ world, request, facts }: Case): Decision {
  const address = request.message.ciaddr;
  const lease = world.leases.byAddress(address);
  if (lease === undefined || lease.mac !== facts.mac || lease.state !== 'bound')
    return ignore('not-its-lease', address);
  return {
    kind: 'record',
    why: 'released',
    detail: address,
    commit: { ...lease, state: 'released', expiresAtS: Math.min(lease.expiresAtS, world.nowS) },
  };
}

/** RFC 2131 4.3.5: settings without an address, a lease or a check of the client's address. */
function decideInform(one: Case): Decision {
  const { request, facts } = one;
  if (request.message.ciaddr === IPV4_ANY) return ignore('nothing-requested');
  return {
    kind: 'ack',
    why: 'inform',
    subnet: facts.subnet.name,
    message: grantReply('ack', facts, undefined),
    to: destinationOf(request.message, 'ack'),
    isNewAddress: false,
    boot: facts.boot,
  };
}

type Right =
  | { readonly ok: true; readonly why: WhyCode }
  | {
      readonly ok: false;
      readonly why:
        | 'wrong-network'
        | 'reserved-for-another'
        | 'leased-to-another'
        | 'address-declined'
        | 'reservation-differs'
        | 'not-ours';
    };

/** Whether the client may have this very address, and why. */
function rightTo(one: Case, address: Ipv4Address): Right {
  const { world, facts } = one;
  const { subnet, mac } = facts;
  if (!isHostAddress(subnet.network, address)) return { ok: false, why: 'wrong-network' };
  const lease = world.leases.byAddress(address);
  const holder = lease !== undefined && isAlive(lease, world.nowS) ? lease : undefined;
  if (holder?.state === 'declined') return { ok: false, why: 'address-declined' };
  if (holder !== undefined && holder.mac !== mac) return { ok: false, why: 'leased-to-another' };
  if (reservationOf(facts) === address) return { ok: true, why: whyReserved(facts) };
  if (isReserved(one, address)) return { ok: false, why: 'reserved-for-another' };
  if (excludedOf(one).includes(address)) return { ok: false, why: 'not-ours' };
  if (holder !== undefined) return { ok: true, why: 'lease-known' };
  const isPooled = subnet.pools.some((pool) => rangeContains(pool, address));
  return isPooled ? { ok: true, why: 'pool-address-free' } : { ok: false, why: 'not-ours' };
}

/** Whether the client is known here: a node, or somebody who had an address of this subnet. */
function hasRecord({ world, facts }: Case): boolean {
  if (facts.node !== undefined || facts.reserved !== undefined) return true;
  return world.leases.byMac(facts.mac).some((lease) => lease.subnet === facts.subnet.name);
}

/** Whether a node file or rouse.yaml keeps the address for some machine. */
function isReserved({ world, facts }: Case, address: Ipv4Address): boolean {
  return world.nodeByAddress(address) !== undefined || isKept(facts.subnet.reservations, address);
}

/** The address kept for the machine, if it can be had in this subnet. */
function reservationOf({ node, reserved, subnet }: ReplyFacts): Ipv4Address | undefined {
  const address = node === undefined ? reserved : node.address;
  return address !== undefined && isHostAddress(subnet.network, address) ? address : undefined;
}

function whyReserved({ node }: ReplyFacts): 'reservation' | 'reserved' {
  return node === undefined ? 'reserved' : 'reservation';
}

/** Addresses of the network that belong to the infrastructure. */
function excludedOf({ world, request, facts }: Case): Ipv4Address[] {
  const { router, dns } = facts.subnet;
  return [world.serverAddress, request.message.giaddr, ...(router === undefined ? [] : [router]), ...dns];
}

/** Whether the machine is one that is asked what it is. */
function isDiscovered({ facts }: Case): boolean {
  return facts.node === undefined && facts.subnet.unknown === 'discover';
}

function leaseTimeOf(one: Case): number {
  const { request, facts } = one;
  const most = isDiscovered(one) ? Math.min(DISCOVERY_LEASE_S, facts.subnet.leaseTimeS) : facts.subnet.leaseTimeS;
  const asked = request.message.options.leaseTimeS ?? most;
  return Math.min(most, Math.max(asked, Math.min(LEAST_LEASE_TIME_S, most)));
}

function grant(one: Case, address: Ipv4Address, why: WhyCode): Decision {
  const { world, request, facts } = one;
  const leaseTimeS = leaseTimeOf(one);
  return {
    kind: 'ack',
    why,
    subnet: facts.subnet.name,
    message: grantReply('ack', facts, { address, leaseTimeS }),
    to: destinationOf(request.message, 'ack'),
    commit: leaseOf(one, address, 'bound', world.nowS + leaseTimeS + ROUNDING_S),
    // A living lease vouches for it; whose word alone is taken may be wrong.
    isNewAddress: why === 'pool-address-free' || isAnothers(world.leases, address, facts.mac),
    boot: facts.boot,
  };
}

function refuse(one: Case, address: Ipv4Address, why: Exclude<Right, { ok: true }>['why'] | 'adopted'): Decision {
  const { request, facts } = one;
  return {
    kind: 'nak',
    why,
    detail: address,
    subnet: facts.subnet.name,
    message: refusal(facts, `${address}: ${WHY[why]}`),
    to: destinationOf(request.message, 'nak'),
    isNewAddress: false,
    boot: facts.boot,
  };
}

function leaseOf(one: Case, address: Ipv4Address, state: 'offered' | 'bound', expiresAtS: number): Lease {
  const { request, facts } = one;
  const { clientIdentifier, hostname } = request.message.options;
  return {
    address,
    mac: facts.mac,
    subnet: facts.subnet.name,
    state,
    expiresAtS,
    clientId: clientIdentifier === undefined ? undefined : toHex(clientIdentifier),
    hostname: hostname !== undefined && isHostname(hostname) ? hostname : undefined,
    circuitId: hexOf(relaySubOption(request.message, 1)),
    remoteId: hexOf(relaySubOption(request.message, 2)),
    ...(isDiscovered(one) ? { isDiscovery: true } : {}),
  };
}

function hexOf(octets: Uint8Array | undefined): string | undefined {
  return octets === undefined ? undefined : toHex(octets);
}

/** RFC 1123 2.1; anything else a client sends as its name would reach logs, pages and templates. */
function isHostname(name: string): boolean {
  const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;
  return name.length <= 253 && name.split('.').every((part) => label.test(part));
}

function ignore(why: WhyCode, detail?: string): Decision {
  return { kind: 'ignore', why, detail };
}

/** The MAC of a message for the log, whatever its kind. */
export function claimedMac(message: DhcpMessage): MacAddress | string {
  return macOf(message) ?? toHex(message.chaddr.subarray(0, Math.min(16, message.hlen)));
}
