// netboot/dhcp/probe.ts - is somebody using the address already? RFC 2131 section 3.1 (2): a server SHOULD look.
//
// Owns: what a probe's answer makes of an offer, and the format of /proc/net/arp. Does not own asking (probe.io.ts).
// Only addresses that no living lease vouches for are probed: a rack that reboots waits for nothing.
// Source: proc(5), arp(7): flag 2 is a complete entry. Pure.

import { type Ipv4Address, IPV4_ANY } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import type { Lease } from '../store/leases.ts';
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

/** What a look at the network showed. The hardware address is known where ARP can be asked, which is not behind a relay. */
export type Probe = { readonly kind: 'free' } | { readonly kind: 'used'; readonly holder: MacAddress | undefined };

/**
 * Whether the reply waits for a probe. Behind a relay, where a probe takes longer and sees less, only an address that
 * another client had last and has not given back.
 *
 * @param last the latest lease of the address before this exchange.
 */
export function isProbed(decision: ReplyDecision, client: MacAddress, last: Lease | undefined): boolean {
  if (decision.kind === 'nak' || !decision.isNewAddress) return false;
  return decision.message.giaddr === IPV4_ANY || (last?.state === 'bound' && last.mac !== client);
}

/**
 * What becomes of a reply whose address another machine than `client` uses.
 *
 * @param last as above. If it is its holder who answers, the address stays its
 *   own: a node keeps its address when its lease runs out unanswered, because this server was away.
 * @returns undefined where the reply may go out.
 */
export function conflictOf(
  decision: ReplyDecision,
  client: MacAddress,
  probe: Probe,
  last: Lease | undefined,
  nowS: number,
): Extract<Decision, { kind: 'record' }> | undefined {
  const wanted = decision.hold ?? decision.commit;
  if (probe.kind === 'free' || probe.holder === client || wanted === undefined) return undefined;
  const expiresAtS = nowS + CONFLICT_HOLD_S;
  const isLasts = last?.state === 'bound' && last.mac !== client && (probe.holder ?? last.mac) === last.mac;
  if (isLasts) {
    const commit = { ...last, expiresAtS };
    return { kind: 'record', why: 'still-there', detail: `${last.address} is ${last.mac}'s`, commit };
  }
  const commit = { ...wanted, state: 'declined' as const, expiresAtS };
  const who = probe.holder === undefined ? 'is in use' : `is at ${probe.holder}`;
  return { kind: 'record', why: 'conflict', detail: `${wanted.address} ${who}`, commit };
}
