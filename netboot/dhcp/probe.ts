// netboot/dhcp/probe.ts - is somebody using the address already? RFC 2131 section 3.1 (2): a server SHOULD look.
//
// Owns: what a probe's answer makes of an offer, and the format of /proc/net/arp. Does not own asking (probe.io.ts).
// Only addresses that no living lease vouches for are probed: a rack that reboots waits for nothing.
// Source: proc(5), arp(7): flag 2 is a complete entry. Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import type { Decision, ReplyDecision } from './world.ts';

/**
 * How long an address that somebody answers for is left alone. Short, because the kernel's entry may be that of a machine
 * just gone: the probe itself makes the kernel find that out within some ten seconds.
 */
const CONFLICT_HOLD_S = 60;

/** Who answers for the address on the interface. */
export function holderInArp(table: string, address: Ipv4Address, interfaceName: string): MacAddress | undefined {
  const rows = table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
  const row = rows.find(([ip, , , , , device]) => ip === address && device === interfaceName);
  const isComplete = (Number(row?.[2] ?? 0) & 2) !== 0;
  return isComplete ? parseMac(row?.[3] ?? '') : undefined;
}

/** Whether the offer waits for a probe. Behind a relay there is no ARP to ask. */
export function isProbed(decision: Decision): decision is ReplyDecision {
  return decision.kind === 'offer' && decision.isNewAddress && decision.message.giaddr === '0.0.0.0';
}

/** @returns what becomes of the offer instead, where another machine than `client` answers for its address. */
export function conflictOf(
  decision: ReplyDecision,
  client: MacAddress,
  holder: MacAddress | undefined,
  nowS: number,
): Extract<Decision, { kind: 'record' }> | undefined {
  if (holder === undefined || holder === client || decision.hold === undefined) return undefined;
  const commit = { ...decision.hold, state: 'declined' as const, expiresAtS: nowS + CONFLICT_HOLD_S };
  return { kind: 'record', why: 'conflict', detail: `${decision.hold.address} is at ${holder}`, commit };
}
