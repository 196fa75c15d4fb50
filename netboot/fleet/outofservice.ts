// netboot/fleet/outofservice.ts - when a node that drains serves nobody any more.
//
// Owns: what must be heard of its balancers and its VIPs for that. Does not own how long it is waited for (change.ts), who is
// in a pool (pools.ts), who holds a VIP (vips.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { Order } from './orders.ts';
import { type PlanFacts, silentMs } from './planview.ts';

/** A balancer that was not heard of for longer is not waited for. */
const BALANCER_SILENT_MS = 30_000;

export type ServiceFacts = Pick<PlanFacts, 'states' | 'nowMs' | 'listeningSinceMs'> & {
  /** Whether what changed has been rendered and ordered. */
  readonly isSettled: boolean;
  readonly ordersOf: (bootId: string) => readonly Order[];
  readonly vips: readonly { readonly vip: Ipv4Address; readonly holders: readonly { readonly node: string }[] }[];
};

/** @param vips what it held and a peer can take: waited for until somebody else holds each, and it none. */
export function isOutOfService(name: string, vips: readonly string[], facts: ServiceFacts): boolean {
  if (!facts.isSettled) return false;
  for (const [node, { boot, report }] of facts.states) {
    if (node === name || boot === undefined || report === undefined) continue;
    if (silentMs(report, facts) > BALANCER_SILENT_MS) continue;
    // Who could not take its files, or refused them, sends what it did before: the node's own health check, or the limit of
    // the drain, ends that.
    const files = facts.ordersOf(boot.id).findLast(({ verb }) => verb === 'files');
    if (files !== undefined && files.outcome.kind !== 'done') return false;
  }
  return facts.vips
    .filter(({ vip }) => vips.includes(vip))
    .every(({ holders }) => holders.length > 0 && holders.every(({ node }) => node !== name));
}
