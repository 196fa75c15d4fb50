// netboot/fleet/behind.ts - nodes that have not taken the live files that they were ordered to take.
//
// Owns: when that is told, and the words. Does not own orders (orders.ts), what the files would change (livediff.ts).
//
// A load balancer learns its peers and its pool by its live files alone. One that has not taken them may take a second
// balancer for none, and both hold the virtual address: the reports of two masters tell that late, this tells it before. Pure.

import type { NodeState } from './nodestate.ts';
import type { Order } from './orders.ts';

export type BehindFacts = {
  readonly ordersOf: (bootId: string) => readonly Order[];
  readonly nowMs: number;
  /** Since when nodes can take orders at all. */
  readonly listeningSinceMs: number;
};

/** An order is taken at once, and its files are rendered, checked and reloaded in a few seconds. */
const TAKEN_WITHIN_MS = 15_000;

/** "has not taken its live files for 95 s"; undefined where it has, or there is still time. */
export function filesBehind({ boot, report }: NodeState, facts: BehindFacts): string | undefined {
  if (boot?.isReady !== true) return undefined;
  const order = facts.ordersOf(boot.id).findLast(({ verb }) => verb === 'files');
  if (order === undefined || report?.report.filesRevision === order.argument) return undefined;
  if (order.outcome.kind === 'failed') return `could not take its live files: ${order.outcome.detail}`;
  const waitsMs = facts.nowMs - Math.max(order.madeAtMs, facts.listeningSinceMs);
  if (order.outcome.kind !== 'waiting' || waitsMs <= TAKEN_WITHIN_MS) return undefined;
  return `has not taken its live files for ${Math.round(waitsMs / 1000)} s`;
}
