// netboot/store/leases.ts - leases: what one is, which are alive, and which address a client gets.
//
// Owns: the Lease record, the in-memory book that decisions look things up in, and the choice of an address. Does not
// own durability (the store keeps bound, declined and released leases; offers live only in the book), nor who may have a
// lease at all (dhcp/decide.ts).
//
// A client is its hardware address: one boot shows up to three client identifiers (firmware sends none, iPXE 01 + MAC,
// the system a DUID), so RFC 2131's preference for option 61 would give one machine three addresses.
// The choice is deterministic: the same book, client and time give the same address, and a pool is probed from a place
// that the MAC decides, so that a client whose lease was lost meets its old address again.
//
// Sources: RFC 2131 sections 2.1, 3.1 (6), 4.3.1. Pure.

import {
  type Ipv4Address,
  type Ipv4Network,
  type Ipv4Range,
  ipv4FromNumber,
  ipv4ToNumber,
  isHostAddress,
  rangeContains,
  rangeSize,
} from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';

/** offered: held in memory only; bound: on disk before its ACK left; declined: in quarantine; released: given back. */
type LeaseState = 'offered' | 'bound' | 'declined' | 'released';

export type Lease = {
  readonly address: Ipv4Address;
  readonly mac: MacAddress;
  /** Name of the subnet in rouse.yaml. */
  readonly subnet: string;
  readonly state: LeaseState;
  /** Unix seconds from which another client may have the address. */
  readonly expiresAtS: number;
  /** Option 61 in lower-case hexadecimal; kept for people, never a key. */
  readonly clientId?: string | undefined;
  /** Option 12, if it is a legal host name. */
  readonly hostname?: string | undefined;
  /** Option 82 sub-options 1 and 2 in hexadecimal: which switch and port a relay saw the client on. */
  readonly circuitId?: string | undefined;
  readonly remoteId?: string | undefined;
  /** Given to a machine that no node file named, to discover what it is: not renewed once a node file names it. */
  readonly isDiscovery?: boolean | undefined;
};

/** An offer that nobody takes up blocks its address this long: OVMF's REQUEST follows up to 15 s after the OFFER. */
export const OFFER_HOLD_S = 60;
/** A machine that is being discovered asks again after half of it, and then may have become a node. */
export const DISCOVERY_LEASE_S = 120;
/** An address that a client found in use is not offered for this long. */
export const DECLINE_QUARANTINE_S = 600;

/** Whether the lease keeps other clients from its address. */
export function isAlive(lease: Lease, nowS: number): boolean {
  return lease.state !== 'released' && lease.expiresAtS > nowS;
}

/** The lease once it is given back: its address is anybody's. */
export function releasedAt(lease: Lease, nowS: number): Lease {
  return { ...lease, state: 'released', expiresAtS: Math.min(lease.expiresAtS, nowS) };
}

/** What a decision may ask about leases. */
export type LeaseLookup = {
  /** The latest lease of the address, alive or not. */
  readonly byAddress: (address: Ipv4Address) => Lease | undefined;
  /** All leases whose latest holder is this client, alive or not, in any order. */
  readonly byMac: (mac: MacAddress) => readonly Lease[];
};

/**
 * The leases of a boot server in memory: one per address, the latest. Filled from the store at start; every offer and
 * every commit is put here at once, before it is on disk, so that no other client is promised the address meanwhile.
 */
export class LeaseBook implements LeaseLookup {
  readonly #byAddress = new Map<Ipv4Address, Lease>();
  readonly #byMac = new Map<MacAddress, Map<Ipv4Address, Lease>>();

  constructor(leases: Iterable<Lease> = []) {
    for (const lease of leases) this.put(lease);
  }

  /** Makes this the latest lease of its address. */
  put(lease: Lease): void {
    this.remove(lease.address);
    this.#byAddress.set(lease.address, lease);
    const mine = this.#byMac.get(lease.mac) ?? new Map<Ipv4Address, Lease>();
    mine.set(lease.address, lease);
    this.#byMac.set(lease.mac, mine);
  }

  /** Forgets the address altogether. */
  remove(address: Ipv4Address): void {
    const old = this.#byAddress.get(address);
    if (old === undefined) return;
    this.#byAddress.delete(address);
    const mine = this.#byMac.get(old.mac);
    mine?.delete(address);
    if (mine?.size === 0) this.#byMac.delete(old.mac);
  }

  readonly byAddress = (address: Ipv4Address): Lease | undefined => this.#byAddress.get(address);

  readonly byMac = (mac: MacAddress): readonly Lease[] => [...(this.#byMac.get(mac)?.values() ?? [])];

  /** Every lease in ascending order of address. */
  all(): Lease[] {
    return [...this.#byAddress.values()].sort((a, b) => ipv4ToNumber(a.address) - ipv4ToNumber(b.address));
  }

  /** Drops offers that nobody took up; bound leases stay as the memory of who had which address. */
  dropStaleOffers(nowS: number): void {
    for (const lease of this.#byAddress.values()) {
      if (lease.state === 'offered' && lease.expiresAtS <= nowS) this.remove(lease.address);
    }
  }

  get size(): number {
    return this.#byAddress.size;
  }
}

/** Who asks for an address, and where from. */
export type AddressQuestion = {
  readonly mac: MacAddress;
  readonly subnet: { readonly name: string; readonly network: Ipv4Network; readonly pools: readonly Ipv4Range[] };
  /** The address that the client's node file gives, if it lies in this subnet. */
  readonly reservation?: Ipv4Address | undefined;
  /** Option 50 of a DISCOVER. */
  readonly requested?: Ipv4Address | undefined;
  /** Addresses never given from a pool: the server's own, the router's, … */
  readonly excluded: readonly Ipv4Address[];
  /** Whether the address is some node's reservation. */
  readonly isReserved: (address: Ipv4Address) => boolean;
  readonly nowS: number;
};

export type AddressAnswer =
  | {
      readonly kind: 'address';
      readonly address: Ipv4Address;
      readonly why: 'reservation' | 'last-address' | 'requested-address' | 'from-pool';
      /** Whether somebody else may be using the address: no living lease vouches for it. */
      readonly isNew: boolean;
    }
  | { readonly kind: 'none'; readonly why: 'pool-full' | 'no-pool' | 'reservation-in-use' };

/**
 * The address this client gets, and why: its reservation; the address it had last; the one it asks for; one of the pools.
 *
 * A reservation that another living client holds (the node's second interface, or a declined address) falls through to
 * the pools: the node boots all the same, and the answer to `rouse explain` says so.
 */
export function chooseAddress(leases: LeaseLookup, question: AddressQuestion): AddressAnswer {
  const { mac, subnet, reservation, requested, nowS } = question;
  const holderOf = (address: Ipv4Address): Lease | undefined => {
    const lease = leases.byAddress(address);
    return lease !== undefined && isAlive(lease, nowS) ? lease : undefined;
  };
  // A declined address is held by nobody's right, not even by the client that declined it.
  const isFree = (address: Ipv4Address): boolean => {
    const holder = holderOf(address);
    return holder === undefined || (holder.mac === mac && holder.state !== 'declined');
  };
  const isDynamic = (address: Ipv4Address): boolean =>
    isHostAddress(subnet.network, address) &&
    subnet.pools.some((pool) => rangeContains(pool, address)) &&
    !question.excluded.includes(address) &&
    !question.isReserved(address);

  if (reservation !== undefined && isFree(reservation)) {
    return { kind: 'address', address: reservation, why: 'reservation', isNew: isAnothers(leases, reservation, mac) };
  }
  const last = leases
    .byMac(mac)
    .filter((lease) => lease.subnet === subnet.name && lease.state !== 'declined' && isDynamic(lease.address))
    .sort((a, b) => b.expiresAtS - a.expiresAtS)[0];
  if (last !== undefined) {
    const isNew = last.state !== 'bound' || !isAlive(last, nowS);
    return { kind: 'address', address: last.address, why: 'last-address', isNew };
  }
  if (requested !== undefined && isDynamic(requested) && isFree(requested)) {
    return { kind: 'address', address: requested, why: 'requested-address', isNew: true };
  }
  const address = freeOfPools(leases, question, isDynamic);
  if (address !== undefined) return { kind: 'address', address, why: 'from-pool', isNew: true };
  if (reservation !== undefined) return { kind: 'none', why: 'reservation-in-use' };
  return { kind: 'none', why: subnet.pools.length === 0 ? 'no-pool' : 'pool-full' };
}

/**
 * Whether another client had the address last and has not given it back: though its lease is over it may be up and use it,
 * for it could not renew while this server was away.
 */
export function isAnothers(leases: LeaseLookup, address: Ipv4Address, mac: MacAddress): boolean {
  const last = leases.byAddress(address);
  return last !== undefined && last.mac !== mac && last.state === 'bound';
}

/** An address that nobody ever had, else the one that has been out of use for longest. */
function freeOfPools(
  leases: LeaseLookup,
  { mac, subnet, nowS }: AddressQuestion,
  isDynamic: (address: Ipv4Address) => boolean,
): Ipv4Address | undefined {
  const total = subnet.pools.reduce((sum, pool) => sum + rangeSize(pool), 0);
  let oldest: Lease | undefined;
  const start = total === 0 ? 0 : hashOf(mac) % total;
  for (let step = 0; step < total; step += 1) {
    const address = addressAt(subnet.pools, (start + step) % total);
    const lease = leases.byAddress(address);
    // Asked first because it is cheapest: a full pool is walked to its end for every DISCOVER.
    if (lease !== undefined && isAlive(lease, nowS)) continue;
    if (!isDynamic(address)) continue;
    if (lease === undefined) return address;
    if (oldest === undefined || lease.expiresAtS < oldest.expiresAtS) oldest = lease;
  }
  return oldest?.address;
}

function addressAt(pools: readonly Ipv4Range[], index: number): Ipv4Address {
  let rest = index;
  for (const pool of pools) {
    const size = rangeSize(pool);
    if (rest < size) return ipv4FromNumber(ipv4ToNumber(pool.first) + rest);
    rest -= size;
  }
  throw new Error(`address ${index} is outside the pools`);
}

/** FNV-1a: spreads the consecutive MACs of one delivery over the pool. */
function hashOf(mac: MacAddress): number {
  let hash = 0x811c9dc5;
  for (const character of mac) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return hash;
}
