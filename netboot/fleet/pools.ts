// netboot/fleet/pools.ts - who is in a pool: a query over node files, answered by what the boot server knows for certain.
//
// Owns: membership and weight. Does not own: health (the load balancer's own, fast), node states (nodestate.ts), the
// pools' definition (site/schema.ts).
//
// Membership is slow and never shrinks on silence: no clock is asked here. A node is a member once its latest boot was
// ready; it leaves when another boot was loaded or speaks (asking for a script proves nothing), runs another profile, or is
// gone from the files.
// Source: ARCHITECTURE.md, "Pools". Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { NodeState } from './nodestate.ts';
import { labelsMatch, type Site } from '../site/site.ts';

type MemberState =
  | 'in'
  /** An operator or a change took it out: no new connections, old ones go on. */
  | 'draining'
  /** Its file names another profile already: it drains, and is gone with its next boot. */
  | 'leaving'
  /** As leaving, but without it the pool would fall below its minimum. */
  | 'kept';

export type Member = {
  readonly name: string;
  readonly address: Ipv4Address;
  /** 0: no new connections. */
  readonly weight: 0 | 1;
  readonly state: MemberState;
};

export type PoolView = {
  readonly name: string;
  readonly minimum: number;
  readonly members: readonly Member[];
};

export type States = ReadonlyMap<string, NodeState>;

/** How many members with weight a pool must keep when something would take one away. */
function floorOf(minimum: number): number {
  return Math.max(1, minimum);
}

export function inService(members: readonly Member[]): number {
  return members.filter(({ weight }) => weight === 1).length;
}

/** The members of every pool, sorted by name. */
export function poolsOf(site: Site, states: States): PoolView[] {
  return Object.entries(site.rouse.pools)
    .map(([name, { match, minimum }]) => ({ name, minimum, members: membersOf(site, states, match, minimum) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

type Match = Site['rouse']['pools'][string]['match'];

function membersOf(site: Site, states: States, match: Match, minimum: number): Member[] {
  const members: Member[] = [];
  for (const { node: name, boot: latest, before, draining } of states.values()) {
    const boot = latest?.isReady === true ? latest : before;
    const node = site.nodes.get(name);
    if (node === undefined || boot?.isReady !== true) continue;
    if (!matches(match, boot.plan.profile.name, node.labels)) continue;
    const isLeaving = !matches(match, node.profile.name, node.labels);
    const state: MemberState = draining !== 'no' ? 'draining' : isLeaving ? 'leaving' : 'in';
    members.push({ name, address: boot.address, weight: state === 'in' ? 1 : 0, state });
  }
  members.sort((a, b) => (a.name < b.name ? -1 : 1));
  // An edit of files alone, with nothing booted and nobody asked, must not take a service off the air.
  let missing = floorOf(minimum) - inService(members);
  return members.map((member) => {
    if (member.state !== 'leaving' || missing <= 0) return member;
    missing -= 1;
    return { ...member, weight: 1, state: 'kept' };
  });
}

/** Whether a node with this profile and these labels belongs to a pool. */
export function matches(match: Match, profile: string, labels: Readonly<Record<string, string>>): boolean {
  return (match.profile === undefined || match.profile === profile) && labelsMatch(match.labels, labels);
}

/**
 * The pools that would fall below their minimum if these nodes were drained, in words; empty where none would.
 *
 * A node that is in no pool, or drained already, takes nothing away.
 */
export function shortfalls(pools: readonly PoolView[], nodes: ReadonlySet<string>): string[] {
  return pools.flatMap(({ name, minimum, members }) => {
    const now = inService(members);
    const after = inService(members.filter((member) => !nodes.has(member.name)));
    if (after === now || after >= minimum) return [];
    return [`pool '${name}' would keep ${after} of ${now} in service, and its minimum is ${minimum}`];
  });
}

/** What changed in the members of pools, in words. */
export function poolNews(before: readonly PoolView[], now: readonly PoolView[]): string[] {
  const known = new Map(before.map(({ name, members }) => [name, members]));
  return now.flatMap(({ name, members }) => {
    const old = new Map((known.get(name) ?? []).map((member) => [member.name, member.state]));
    const news = members.flatMap(({ name: node, state }) => {
      const was = old.get(node);
      return was === state ? [] : [`pool ${name}: ${node} is ${state}${was === undefined ? '' : `, was ${was}`}`];
    });
    const gone = [...old.keys()].filter((node) => !members.some((member) => member.name === node));
    return [...news, ...gone.map((node) => `pool ${name}: ${node} has left`)];
  });
}
