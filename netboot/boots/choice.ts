// netboot/boots/choice.ts - which plan a machine is given that asks for its script: the wanted one, or what it goes back to.
//
// Owns: joining what the files want (site/plan.ts), the profile of one boot only, and what earlier boots came to
// (fleet/nodestate.ts). The boot server and `rouse explain` ask the same. Does not own making the boot (boots.io.ts). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import { type BootImage, choosePlan, freshState, MAINTENANCE_PROFILE, type NodeState } from '../fleet/nodestate.ts';
import type { States } from '../fleet/pools.ts';
import { type BootPlan, type Resolution, resolve } from '../site/plan.ts';
import type { Subnet } from '../site/schema.ts';
import type { Images, Site } from '../site/site.ts';

export type Bootable = Extract<Resolution, { kind: 'boot' }>;

export type Chosen = {
  readonly plan: BootPlan;
  readonly image: BootImage;
  /** Why it is not what the files want, in words; undefined where it is. */
  readonly insteadOf: string | undefined;
};

export type ChoiceFacts = {
  readonly site: Site;
  readonly images: Images;
  readonly mac: MacAddress;
  /** The subnet in which the machine asks. */
  readonly subnet: Subnet | undefined;
};

/** What the files want of a machine, or what an operator wants of its next boot only. */
export function wantedBoot({ site, images, mac, subnet }: ChoiceFacts, states: States): Resolution {
  const once = states.get(site.byMac.get(mac)?.name ?? '')?.once;
  return resolve(site, mac, { images, subnet, as: once === undefined ? undefined : site.profiles.get(once) });
}

/** @param state of its node, closed (nodestate.ts); undefined where nothing is known of it. */
export function chosenBoot(wanted: Bootable, facts: ChoiceFacts, state: NodeState | undefined): Chosen {
  const { site, images, mac, subnet } = facts;
  const { name, known } = wanted.plan.node;
  const own = asWanted(wanted);
  if (!known) return own;
  const maintenance = site.profiles.get(MAINTENANCE_PROFILE);
  const rules = { rollback: wanted.effective.rollback.value, hasMaintenance: maintenance !== undefined };
  const choice = choosePlan(state ?? freshState(name), wanted.plan, rules);
  switch (choice.kind) {
    case 'wanted':
      return own;
    case 'last-good':
      return { plan: { ...choice.good.plan, node: wanted.plan.node }, image: choice.good.image, insteadOf: choice.why };
    case 'maintenance': {
      const rescue = resolve(site, mac, { images, subnet, as: maintenance });
      return rescue.kind === 'boot' ? { ...asWanted(rescue), insteadOf: choice.why } : own;
    }
  }
}

/** What the files want, as it is given. */
export function asWanted({ plan, templates, declared }: Bootable): Chosen {
  return { plan, image: { templates, vars: declared }, insteadOf: undefined };
}
