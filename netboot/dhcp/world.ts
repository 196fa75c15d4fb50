// netboot/dhcp/world.ts - what a DHCP decision may look at, and what it can be.
//
// Owns: the types between decisions (decide.ts), whoever fills the world in (the site and the store) and the shell that
// carries decisions out (server.io.ts). No behaviour. Pure.

import type { Ipv4Address, Ipv4Network, Ipv4Range } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { Lease, LeaseLookup } from '../store/leases.ts';
import type { Destination } from './destination.ts';
import type { Hold } from './foreign.ts';
import type { BootAnswer, BootPolicy } from './loaders.ts';
import type { DhcpMessage } from './message.ts';
import type { Reservation } from './reservations.ts';
import type { WhyCode } from './why.ts';

export type DhcpSubnet = {
  readonly name: string;
  readonly network: Ipv4Network;
  readonly pools: readonly Ipv4Range[];
  /** For machines without a node file. */
  readonly reservations: readonly Reservation[];
  readonly router?: Ipv4Address | undefined;
  readonly dns: readonly Ipv4Address[];
  readonly leaseTimeS: number;
  /** What becomes of machines without a node file. */
  readonly unknown: 'ignore' | 'discover' | 'default';
  readonly mode: 'dhcp' | 'proxy' | 'observe';
  /** Whether clients are answered though another DHCP server answers them too. */
  readonly answerBesideOthers: boolean;
  readonly domain?: string | undefined;
  readonly domainSearch?: readonly string[] | undefined;
  readonly ntp?: readonly Ipv4Address[] | undefined;
  readonly mtuBytes?: number | undefined;
};

export type DhcpNode = { readonly name: string; readonly address?: Ipv4Address | undefined };

/** One interface's view: plain data and pure lookups, taken anew for every message. */
export type DhcpWorld = {
  /** Our address on the interface: server identifier and next server. */
  readonly serverAddress: Ipv4Address;
  /** The subnets served through the interface, directly or by relays. */
  readonly subnets: readonly DhcpSubnet[];
  readonly nodeByMac: (mac: MacAddress) => DhcpNode | undefined;
  /** The node that has the address as its reservation. */
  readonly nodeByAddress: (address: Ipv4Address) => DhcpNode | undefined;
  readonly leases: LeaseLookup;
  /** What the machine may boot in the subnet it is in; asked only for machines that are answered at all. */
  readonly bootPolicy: (mac: MacAddress, subnet: DhcpSubnet) => BootPolicy;
  /** Whether TFTP gave the machine a loader a moment ago (loaders.ts, LoaderMemory). */
  readonly loaderFetchedRecently: (mac: MacAddress) => boolean;
  /** Unix seconds. */
  readonly nowS: number;
};

export type DhcpRequest = {
  readonly message: DhcpMessage;
  /** The port of ours that it came to. */
  readonly port: 67 | 4011;
  /** Where it came from, as the kernel says. */
  readonly from: Destination;
  /** Whether it was sent to our own address. */
  readonly isUnicast: boolean;
  /** Why nobody is bound to this server on the interface now (safe start). */
  readonly held?: Hold | undefined;
};

export type Decision =
  /** Send `message` to `to`; `commit` must be on disk before, `hold` only in memory. */
  | {
      readonly kind: 'offer' | 'ack' | 'nak';
      readonly why: WhyCode;
      readonly detail?: string | undefined;
      readonly subnet: string;
      readonly message: DhcpMessage;
      readonly to: Destination;
      readonly commit?: Lease | undefined;
      readonly hold?: Lease | undefined;
      /** Whether no living lease vouches for the address, so that somebody else may be using it (probe.ts). */
      readonly isNewAddress: boolean;
      readonly boot: BootAnswer;
    }
  /** Send nothing; `commit` is written. */
  | {
      readonly kind: 'record';
      readonly why: 'declined' | 'released' | 'conflict' | 'still-there';
      readonly detail?: string | undefined;
      readonly commit: Lease;
    }
  | {
      readonly kind: 'ignore';
      readonly why: WhyCode;
      readonly detail?: string | undefined;
      /** mode: observe: what would have been done. */
      readonly would?: Decision | undefined;
    };

export type ReplyDecision = Extract<Decision, { kind: 'offer' | 'ack' | 'nak' }>;
