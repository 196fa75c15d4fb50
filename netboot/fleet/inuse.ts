// netboot/fleet/inuse.ts - which generations of images nodes run, are loading, or would go back to: what must not be pruned.
//
// Owns: that list. Does not own: what else stays (images/prune.ts). Pure.

import type { InUse } from '../../images/prune.ts';
import type { StoredBoot } from '../store/records.ts';
import { kernelNamed, layerNamed } from '../world.ts';
import type { BootPlan } from '../site/plan.ts';
import type { NodeState } from './nodestate.ts';

/** @param boots of all machines, the oldest first. */
export function imagesInUse(boots: Iterable<StoredBoot>, states: Iterable<NodeState>): InUse[] {
  const latest = new Map(Array.from(boots, (boot) => [boot.mac, boot] as const));
  const found = new Map<string, InUse>();
  const add = ({ target }: BootPlan, why: string): void => {
    if (target.kind !== 'linux') return;
    const { image, generation, kernel, layers } = target;
    const files = [kernelNamed(kernel), ...layers.map(layerNamed)].map(({ path }) => path.replace(/^images\//, ''));
    found.set(`${image} ${generation} ${why}`, { image, generation, files, why });
  };
  for (const { plan } of latest.values()) add(plan, `${plan.node.name} booted it last`);
  for (const { node, boot, lastGood } of states) {
    if (boot !== undefined) add(boot.plan, `${node} runs it`);
    if (lastGood !== undefined) add(lastGood.plan, `${node} would go back to it`);
  }
  return [...found.values()];
}
