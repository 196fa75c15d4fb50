// netboot/dhcp/judge.ts - a message decided with a look at the network where nobody vouches for the address.
//
// Owns: when the network is looked at before an answer, how often for one message, and what follows from what is found.
// Does not own the decision itself (decide.ts), what a conflict is (probe.ts), looking (probe.io.ts), sending (server.io.ts).
// The server and the simulation of its tests carry out the same judgements. Pure.

import type { Lease } from '../store/leases.ts';
import { type Ipv4Address, IPV4_ANY } from '../../formats/ipv4.ts';
import { decide } from './decide.ts';
import { macOf } from './message.ts';
import { conflictOf, isProbed, type Probe } from './probe.ts';
import type { Decision, DhcpRequest, DhcpWorld } from './world.ts';

/** Addresses looked at for one message: it is asked again, and then others are looked at. */
const MOST_LOOKS = 4;

export type Judgement = {
  readonly decision: Decision;
  /** What it promises: in memory before anything else is decided. */
  readonly hold: Lease | undefined;
  /** Undefined where the decision stands; else it stands if `conflict` says nothing about what is found. */
  readonly look: Look | undefined;
};

type Look = {
  readonly address: Ipv4Address;
  /** Behind a relay: ARP does not reach there. */
  readonly isRelayed: boolean;
  /** What is noted of an address that another machine uses: in memory alone, then the message is judged anew. */
  readonly conflict: (found: Probe) => Extract<Decision, { kind: 'record' }> | undefined;
};

/** @param looks how many addresses were looked at in vain for this message. */
export function judge(world: DhcpWorld, request: DhcpRequest, looks = 0): Judgement {
  const decision = decide(world, request);
  if (decision.kind === 'ignore' || decision.kind === 'record') return { decision, hold: undefined, look: undefined };
  const { hold } = decision;
  const address = decision.message.yiaddr;
  const last = world.leases.byAddress(address);
  const client = macOf(request.message);
  if (client === undefined || !isProbed(decision, client, last)) return { decision, hold, look: undefined };
  if (looks >= MOST_LOOKS) return { decision: { kind: 'ignore', why: 'all-in-use' }, hold, look: undefined };
  const conflict = (found: Probe) => conflictOf(decision, client, found, last, world.nowS);
  return { decision, hold, look: { address, isRelayed: request.message.giaddr !== IPV4_ANY, conflict } };
}
