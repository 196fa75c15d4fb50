// netboot/peers.ts - who is behind an address: which machine has it, by whom it was given, which address of ours it is behind.
//
// Owns: these answers for TFTP and HTTP, which know their peers by address alone. Does not own leases (store/leases.ts), what is
// overheard of other servers' (dhcp/heard.ts), who is given what (http/route.ts). Pure: the time is an argument.

import type { Ipv4Address } from '../formats/ipv4.ts';
import type { MacAddress } from '../formats/mac.ts';
import type { HeardAddresses } from './dhcp/heard.ts';
import type { Site } from './site/site.ts';
import type { LeaseLookup } from './store/leases.ts';
import { type HostAddress, machineAt, subnetAt } from './world.ts';

export type PeerFacts = {
  readonly site: () => Site | undefined;
  readonly leases: LeaseLookup;
  /** Addresses that machines said to have taken, where another server gives them. */
  readonly heard: HeardAddresses;
  readonly nowS: () => number;
};

export class Peers {
  readonly #facts: PeerFacts;
  /** Served now, each with the address that is the server's there. */
  interfaces: readonly HostAddress[] = [];

  constructor(facts: PeerFacts) {
    this.#facts = facts;
  }

  /** Whether another DHCP server gives this address. */
  isGivenElsewhere(address: Ipv4Address): boolean {
    const site = this.#facts.site();
    return site !== undefined && (subnetAt(site, address)?.mode ?? 'dhcp') !== 'dhcp';
  }

  /** The machine that has an address: good for telling, not for giving secrets to. */
  macAt(address: Ipv4Address): MacAddress | undefined {
    const { site, leases, heard, nowS } = this.#facts;
    const now = site();
    if (now === undefined) return undefined;
    const elsewhere = this.isGivenElsewhere(address) ? heard.macAt(address) : undefined;
    return elsewhere ?? machineAt(now, leases, address, nowS());
  }

  /** Our address and port on the interface that a peer is behind. */
  serverFor(peer: Ipv4Address): { readonly address: Ipv4Address; readonly port: number } | undefined {
    const site = this.#facts.site();
    const name = site === undefined ? undefined : subnetAt(site, peer)?.interface;
    const own = this.interfaces.find((one) => one.name === name);
    return site === undefined || own === undefined ? undefined : { address: own.address, port: site.rouse.http.port };
  }
}
