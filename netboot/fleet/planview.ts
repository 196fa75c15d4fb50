// netboot/fleet/planview.ts - what would change if nodes booted now: shown before anything is touched, and what refuses it.
//
// Owns: the comparison of what runs with what the files want, VIPs that would move, what each pool would keep.
// Does not own: resolving (site/plan.ts), membership (pools.ts), doing it (changes.io.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import { renderSteps } from './change.ts';
import { inputsFor } from './inputs.ts';
import { type NodeState, planKey } from './nodestate.ts';
import { inService, poolsOf, shortfalls, type States } from './pools.ts';
import type { BootPlan, Resolution } from '../site/plan.ts';
import { resolve } from '../site/plan.ts';
import type { Images, Profile, Site, SiteNode } from '../site/site.ts';
import { kexecMemoryKb } from '../boots/script.ts';
import { renderTemplateProblems, renderTemplates, valuesOf } from '../boots/templates.ts';
import { type VipView, vipsOf } from './vips.ts';
import { subnetAt } from '../world.ts';

type PlanRow = {
  readonly node: string;
  /** "web generation 3 as web"; undefined where it runs nothing of ours. */
  readonly runs: string | undefined;
  readonly should: string;
  /**
   * What it takes to get there: nothing, a kexec, `rouse node boot --cold` because a kexec cannot do it, or a boot by its
   * firmware because it does not report; `refused` where nothing helps but another edit.
   */
  readonly how: 'nothing' | 'kexec' | 'cold' | 'power-up' | 'refused';
  /** VIPs that it holds and that would move to a peer, or be gone. */
  readonly vips: readonly { readonly vip: Ipv4Address; readonly to: string | undefined }[];
  /** Why it cannot become that, or not by kexec, in words. */
  readonly refused: string | undefined;
};

export type PlanView = {
  readonly nodes: readonly PlanRow[];
  /** In service now, and while those that change are away. */
  readonly pools: readonly {
    readonly name: string;
    readonly minimum: number;
    readonly now: number;
    readonly meanwhile: number;
  }[];
  /** What would make `rouse node boot` of all of them refuse. */
  readonly problems: readonly string[];
};

export type PlanFacts = {
  readonly site: Site;
  readonly images: Images;
  readonly states: States;
  readonly nowMs: number;
  /** Since when reports can be heard at all. */
  readonly listeningSinceMs: number;
};

/** A node that was not heard of for longer takes no orders. */
const REPORTING_MS = 60_000;

type Hearing = Pick<PlanFacts, 'nowMs' | 'listeningSinceMs'>;

/** For how long a node that has reported was silent: while the boot server was away, it is the server that did not listen. */
export function silentMs(report: { readonly atMs: number }, { nowMs, listeningSinceMs }: Hearing): number {
  return nowMs - Math.max(report.atMs, listeningSinceMs);
}

export function isReporting({ report }: Pick<NodeState, 'report'>, hearing: Hearing): boolean {
  return report !== undefined && silentMs(report, hearing) <= REPORTING_MS;
}

export function renderTarget({ target, profile }: Pick<BootPlan, 'target' | 'profile'>): string {
  return target.kind === 'linux'
    ? `${target.image} generation ${target.generation} as ${profile.name}`
    : `${target.kind} as ${profile.name}`;
}

/** What the files want of a node, its templates tried: a plan that would be refused later is refused now. */
export function wantedOf(
  { site, images, states, nowMs }: PlanFacts,
  node: SiteNode,
  as: Profile | undefined,
): Resolution {
  const [mac] = node.macs;
  if (mac === undefined) return { kind: 'ignore', why: `node '${node.name}' has no MAC` };
  const address = node.address ?? states.get(node.name)?.boot?.address;
  const subnet = address === undefined ? undefined : subnetAt(site, address);
  const resolution = resolve(site, mac, { images, subnet, as });
  if (resolution.kind !== 'boot') return resolution;
  const { plan, templates } = resolution;
  const inputs = inputsFor(site, states, { name: node.name, profile: plan.profile.name, labels: node.labels, address });
  const facts = { address: address ?? '', bootId: '0'.repeat(16), startedAtMs: nowMs };
  const rendered = renderTemplates(templates, valuesOf(plan, facts, inputs));
  if (rendered.ok) return resolution;
  const match = { node: plan.node, profile: node.profile, effective: resolution.effective, why: resolution.why };
  return { kind: 'refuse', why: renderTemplateProblems(rendered.problems), match };
}

/** Whether a power cut would make the node something else than it runs. */
function differs(state: NodeState | undefined, wanted: Resolution): boolean {
  const running = state?.boot;
  if (running === undefined) return false;
  return wanted.kind !== 'boot' || planKey(running.plan) !== planKey(wanted.plan);
}

/** What is in the way of one node, whatever others do. */
type Obstacle = {
  readonly kind: 'changing' | 'silent' | 'kexec';
  readonly why: string;
  readonly todo: string | undefined;
};

export type Refusal = Obstacle | { readonly kind: 'loss'; readonly why: string; readonly todo: string };

type Request =
  | { readonly kind: 'drain'; readonly isForced: boolean }
  /** `plan`: what it is to become. */
  | { readonly kind: 'boot'; readonly plan: BootPlan; readonly isCold: boolean; readonly isForced: boolean };

type FleetFacts = Omit<PlanFacts, 'images'>;

/** Why a node is not drained or made something else now, before anything is touched; force overrules losses alone. */
export function refusalsOf(facts: FleetFacts, node: string, request: Request): Refusal[] {
  const obstacle =
    request.kind === 'boot' ? obstacleOf(facts, facts.states.get(node), request.plan, request.isCold) : undefined;
  const { site, states } = facts;
  const losses = request.isForced
    ? []
    : [...shortfalls(poolsOf(site, states), new Set([node])), ...lostVips(movesOf(facts, vipsOf(site, states), node))];
  return [
    ...(obstacle === undefined ? [] : [obstacle]),
    ...(losses.length === 0
      ? []
      : [{ kind: 'loss', why: losses.join('; '), todo: 'to do it all the same: --force' } as const]),
  ];
}

function obstacleOf(
  hearing: Hearing,
  state: NodeState | undefined,
  plan: BootPlan,
  isCold: boolean,
): Obstacle | undefined {
  if (state?.change?.outcome.kind === 'running') {
    const why = `it is being changed already (${renderSteps(state.change, hearing.nowMs)})`;
    return { kind: 'changing', why, todo: undefined };
  }
  if (state?.boot === undefined || state.report === undefined || !isReporting(state, hearing)) {
    const todo = `it boots ${renderTarget(plan)} at its next power-up`;
    return { kind: 'silent', why: 'it does not report, so it takes no orders', todo };
  }
  if (isCold) return undefined;
  if (plan.target.kind !== 'linux')
    return { kind: 'kexec', why: `${renderTarget(plan)} cannot be started by kexec`, todo: 'use --cold' };
  const neededKb = kexecMemoryKb(plan, 0);
  const freeKb = state.report.report.memoryFreeKb;
  if (freeKb >= neededKb) return undefined;
  const why = `a kexec needs ${megabytes(neededKb)} MB free and it has ${megabytes(freeKb)} MB`;
  return { kind: 'kexec', why, todo: 'use --cold' };
}

/** Where the VIPs that a node holds would go without it. */
function movesOf(facts: FleetFacts, held: readonly VipView[], node: string): PlanRow['vips'] {
  const profile = facts.states.get(node)?.boot?.plan.profile.name ?? '';
  return held
    .filter(({ holders }) => holders.some((one) => one.node === node))
    .map(({ vip }) => ({ vip, to: nextHolder(facts, profile, node) }));
}

function lostVips(vips: PlanRow['vips']): string[] {
  return vips.flatMap(({ vip, to }) => (to === undefined ? [`no other node could take ${vip}`] : []));
}

const HOW = {
  changing: 'kexec',
  silent: 'power-up',
  kexec: 'cold',
} as const satisfies Record<Obstacle['kind'], PlanRow['how']>;

/** @param names nodes of the site; those that change nothing are shown too. */
export function planOf(facts: PlanFacts, names: readonly string[]): PlanView {
  const { site, states } = facts;
  const held = vipsOf(site, states);
  const nodes = names.flatMap((name): PlanRow[] => {
    const node = site.nodes.get(name);
    if (node === undefined) return [];
    const state = states.get(name);
    const once = state?.once === undefined ? undefined : site.profiles.get(state.once);
    const wanted = wantedOf(facts, node, once);
    const isChanging = state?.boot === undefined || differs(state, wanted);
    const obstacle = wanted.kind === 'boot' ? obstacleOf(facts, state, wanted.plan, false) : undefined;
    const could = wanted.kind !== 'boot' ? 'refused' : obstacle === undefined ? 'kexec' : HOW[obstacle.kind];
    const how = isChanging ? could : 'nothing';
    const vips = isChanging ? movesOf(facts, held, name) : [];
    const runs = state?.boot === undefined ? undefined : renderTarget(state.boot.plan);
    const should = wanted.kind === 'boot' ? renderTarget(wanted.plan) : 'nothing';
    const inTheWay = how === 'cold' && obstacle !== undefined ? `${obstacle.why}; ${obstacle.todo}` : undefined;
    return [{ node: name, runs, should, how, vips, refused: wanted.kind === 'boot' ? inTheWay : wanted.why }];
  });
  const changing = new Set(nodes.filter(({ how }) => how !== 'nothing').map(({ node }) => node));
  const pools = poolsOf(site, states);
  const problems = [
    ...nodes.flatMap(({ node, refused }) => (refused === undefined ? [] : [`${node}: ${refused}`])),
    ...shortfalls(pools, changing),
    ...nodes.flatMap(({ node, vips }) => lostVips(vips).map((loss) => `${node}: ${loss}`)),
  ];
  return {
    nodes,
    pools: pools.map(({ name, minimum, members }) => ({
      name,
      minimum,
      now: inService(members),
      meanwhile: inService(members.filter((member) => !changing.has(member.name))),
    })),
    problems,
  };
}

/** Who would take a VIP over: the first by name of those that run the profile, are ready and not drained. */
export function nextHolder(
  facts: Omit<PlanFacts, 'site' | 'images'>,
  profile: string,
  from: string,
): string | undefined {
  return [...facts.states.values()]
    .filter((state) => state.node !== from && state.boot?.isReady === true && state.draining === 'no')
    .filter((state) => state.boot?.plan.profile.name === profile && isReporting(state, facts))
    .map(({ node }) => node)
    .sort()[0];
}

function megabytes(kilobytes: number): number {
  return Math.round(kilobytes / 1024);
}
