// netboot/fleet/strangers.ts - the states of machines that no node file names: how many are kept, and when one has become a node.
//
// Owns: which are forgotten, and which are to boot again as what they now are. Does not own the states (nodestate.ts), orders
// (orders.ts), what an unknown machine boots (site/plan.ts).
//
// Anybody who can lease addresses can be any number of machines. Those that never spoke are forgotten first: a machine that
// waits to be adopted reports. Pure.

import { DISCOVER_PROFILE } from '../site/checks.ts';
import type { Site } from '../site/site.ts';
import { subnetAt } from '../world.ts';
import type { NodeState } from './nodestate.ts';
import type { States } from './pools.ts';

const MOST_STRANGERS = 1000;

/** Whether no node file named the machine when it booted last. */
function isStranger({ boot, before, lastGood }: NodeState): boolean {
  return (boot ?? before ?? lastGood)?.plan.node.known === false;
}

/** Names of the states beyond the bound: those that never spoke, then those that booted longest ago. */
export function strangersToForget(states: States, most = MOST_STRANGERS): string[] {
  if (states.size <= most) return [];
  const strangers = [...states.values()].filter(isStranger);
  const hasSpoken = ({ boot, report }: NodeState): number => (report !== undefined || boot?.isReady === true ? 1 : 0);
  const bootedAtMs = ({ boot, before }: NodeState): number => (boot ?? before)?.startedAtMs ?? 0;
  return strangers
    .sort((a, b) => hasSpoken(a) - hasSpoken(b) || bootedAtMs(a) - bootedAtMs(b))
    .slice(0, Math.max(0, strangers.length - most))
    .map(({ node }) => node);
}

/** A machine that runs the inventory, and that a node file names since. */
export type Adopted = { readonly stranger: string; readonly bootId: string; readonly node: string };

/**
 * Machines that must be told to boot as what they now are. Where rouse gives the addresses it need not: it refuses to renew that
 * of the inventory (dhcp/decide.ts). Where another DHCP server does, nobody else tells them.
 */
export function adoptedMachines(site: Site, states: States): Adopted[] {
  return [...states.values()].flatMap((state) => {
    const { boot } = state;
    if (boot === undefined || !isStranger(state) || boot.plan.profile.name !== DISCOVER_PROFILE) return [];
    const node = site.byMac.get(boot.plan.node.mac)?.name;
    if (node === undefined || subnetAt(site, boot.address)?.mode === 'dhcp') return [];
    return [{ stranger: state.node, bootId: boot.id, node }];
  });
}
