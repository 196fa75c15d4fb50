// netboot/fleet/nodestate.ts - what the boot server remembers of a node between boots: what it runs, how that went, what is planned.
//
// Owns: the state and its transitions (a boot begins, is loaded, gets ready, reports), the last good plan, and which plan
// the next boot is given: the wanted one, the last good one after a failure, or maintenance after three in a row.
// Does not own: what the files want (site/plan.ts), pools (pools.ts), a change's steps (change.ts), the store.
//
// A boot counts as in vain only when its last file had left: a loader that asks for its script again and again because
// the network is slow has not tried the plan. Source: ARCHITECTURE.md, "Going back". Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { ImageVar, Template } from '../../images/manifest.ts';
import type { Change } from './change.ts';
import type { NodeReport } from './reports.ts';
import type { BootPlan } from '../site/plan.ts';

/** What of an image's manifest is needed again while a node runs it. */
export type BootImage = {
  readonly templates: readonly Template[];
  readonly vars: Readonly<Record<string, ImageVar>>;
};

/** A plan that reached ready on this node, with what renders its files. */
type GoodPlan = { readonly plan: BootPlan; readonly image: BootImage };

/** The boot that a node began last. */
export type BegunBoot = GoodPlan & {
  readonly id: string;
  /** What it booted with. */
  readonly address: Ipv4Address;
  readonly startedAtMs: number;
  /** Whether all its files had left for the node, or it spoke. */
  readonly isLoaded: boolean;
  /** Whether it was ready once. */
  readonly isReady: boolean;
  /** Why it is not what the files want, in words. */
  readonly insteadOf: string | undefined;
};

type KeptReport = {
  readonly bootId: string;
  readonly atMs: number;
  readonly report: NodeReport;
  /** Since when each address was reported without a gap; by address, milliseconds since 1970. */
  readonly sinceMs: Readonly<Record<string, number>>;
};

/** Who drains it: an operator, until undrained; or a change, until its new boot begins. */
export type Draining = 'no' | 'operator' | 'change';

export type NodeState = {
  readonly node: string;
  readonly boot: BegunBoot | undefined;
  /** What it still runs for all that is known: it was ready, and of the boot after it nothing more than the script was asked for. */
  readonly before?: BegunBoot | undefined;
  readonly report: KeptReport | undefined;
  readonly lastGood: GoodPlan | undefined;
  /** Key of the plan that failed: not given again by itself until the files want another one. */
  readonly failedKey: string | undefined;
  /** Boots in a row that were loaded and never ready. */
  readonly inVain: number;
  readonly draining: Draining;
  /** The profile that is booted one time: until it was ready, or tried in vain. */
  readonly once: string | undefined;
  readonly change: Change | undefined;
};

export const MAINTENANCE_PROFILE = 'maintenance';
const BOOTS_IN_VAIN = 3;

export function freshState(node: string): NodeState {
  return {
    node,
    boot: undefined,
    report: undefined,
    lastGood: undefined,
    failedKey: undefined,
    inVain: 0,
    draining: 'no',
    once: undefined,
    change: undefined,
  };
}

/** What makes two plans the same try. */
export function planKey({ profile, target, cmdline, vars }: BootPlan): string {
  return JSON.stringify([profile.name, target, cmdline, vars]);
}

/** The machine starts anew: what its boot so far came to. Asking twice changes nothing, for a closed boot is not counted again. */
export function closed(state: NodeState): NodeState {
  const { boot, lastGood } = state;
  if (boot === undefined || !boot.isLoaded || boot.isReady) return state;
  const key = planKey(boot.plan);
  const isGood = lastGood !== undefined && planKey(lastGood.plan) === key;
  return {
    ...state,
    boot: { ...boot, isLoaded: false },
    inVain: state.inVain + 1,
    // Its one try was in vain: asked for again and again it would be an endless loop.
    once: state.once === boot.plan.profile.name ? undefined : state.once,
    // Known to be good: the machine or the network failed it, not the plan.
    failedKey: isGood || boot.plan.profile.name === MAINTENANCE_PROFILE ? state.failedKey : key,
  };
}

export type Choice =
  | { readonly kind: 'wanted' }
  | { readonly kind: 'last-good'; readonly good: GoodPlan; readonly why: string }
  | { readonly kind: 'maintenance'; readonly why: string };

/**
 * Which plan a machine is given that asks for its script.
 *
 * @param state as closed() leaves it. @param wanted what the files want; undefined where they want nothing that can boot.
 * @param rules.rollback the profile's. @param rules.hasMaintenance whether there is a profile of that name.
 */
export function choosePlan(
  state: NodeState,
  wanted: BootPlan,
  rules: { readonly rollback: boolean; readonly hasMaintenance: boolean },
): Choice {
  const { lastGood, failedKey, inVain } = state;
  if (inVain >= BOOTS_IN_VAIN && rules.hasMaintenance && wanted.profile.name !== MAINTENANCE_PROFILE) {
    return { kind: 'maintenance', why: `${inVain} boots in a row were not ready` };
  }
  if (!rules.rollback || lastGood === undefined || failedKey !== planKey(wanted)) return { kind: 'wanted' };
  const { profile, target } = wanted;
  const what = target.kind === 'linux' ? `${target.image} generation ${target.generation}` : target.kind;
  return { kind: 'last-good', good: lastGood, why: `${what} as ${profile.name} was not ready in time` };
}

/** A boot begins: its script was given out, or a prepared one spoke for the first time. */
export function began(state: NodeState, boot: BegunBoot): NodeState {
  if (state.boot?.id === boot.id) return state;
  // It goes on speaking: it never began anew.
  if (state.before?.id === boot.id) return { ...state, boot: state.before, before: undefined, report: undefined };
  const done = closed(state);
  const running = state.boot?.isReady === true ? state.boot : state.before;
  const isLeft = boot.isLoaded || boot.isReady || done.draining === 'change';
  return {
    ...done,
    boot,
    before: isLeft ? undefined : running,
    report: undefined,
    draining: done.draining === 'change' ? 'no' : done.draining,
  };
}

/** Whether a boot that speaks is what the node has begun to be, though something else was known of it. */
export function hasBegun(
  { boot }: NodeState,
  speaking: { readonly id: string; readonly startedAtMs: number },
): boolean {
  if (boot?.id === speaking.id) return false;
  // A script was asked for and nothing was loaded, and here the node goes on speaking: it never began anew.
  return boot === undefined || boot.startedAtMs < speaking.startedAtMs || !boot.isLoaded;
}

/** It boots something that reports nothing to us: its own disk, another server. */
export function leftUs(state: NodeState): NodeState {
  return { ...closed(state), boot: undefined, before: undefined, report: undefined, once: undefined };
}

/** Its last file left for the machine. */
export function loaded(state: NodeState, bootId: string): NodeState {
  const { boot } = state;
  return boot === undefined || boot.id !== bootId || boot.isLoaded
    ? state
    : { ...state, boot: { ...boot, isLoaded: true }, before: undefined };
}

/** It was ready: its plan is this node's last good one. */
export function ready(state: NodeState, bootId: string): NodeState {
  const { boot } = state;
  if (boot === undefined || boot.id !== bootId || boot.isReady) return state;
  const { plan, image } = boot;
  const isOnce = state.once === plan.profile.name;
  const isMaintenance = plan.profile.name === MAINTENANCE_PROFILE;
  return {
    ...state,
    boot: { ...boot, isLoaded: true, isReady: true },
    before: undefined,
    inVain: 0,
    // Used up by being ready, not by being asked for: a loader may ask for its script any number of times.
    once: isOnce ? undefined : state.once,
    // What was for one time is nothing to go back to.
    lastGood: isMaintenance || isOnce ? state.lastGood : { plan, image },
    // Somebody mended it: what failed before may be tried again once it differs; what is ready did not fail.
    failedKey: state.failedKey === planKey(plan) ? undefined : state.failedKey,
  };
}

/** An operator asks for it: a plan that failed gets another chance. */
export function forgiven(state: NodeState): NodeState {
  return { ...state, inVain: 0, failedKey: undefined };
}

/**
 * A report of the boot that the node began last; others are of a system that is being left. That it says it is ready is for ready().
 */
export function reported(state: NodeState, bootId: string, report: NodeReport, atMs: number): NodeState {
  if (state.boot?.id !== bootId) return state;
  const before = state.report?.bootId === bootId ? state.report.sinceMs : {};
  const sinceMs = Object.fromEntries(
    report.addresses.filter(isOutward).map(({ address }) => [address, before[address] ?? atMs]),
  );
  return { ...state, report: { bootId, atMs, report, sinceMs } };
}

/** An address on the loopback answers nobody's ARP: a real server of a direct service holds its VIP there. */
function isOutward({ interface: name }: NodeReport['addresses'][number]): boolean {
  return name !== 'lo';
}
