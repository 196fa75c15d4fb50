// netboot/fleet/inputs.ts - what templates are rendered from beside a node's own plan: pools, peers, its subnet, direct VIPs.
//
// Owns: these values for one node, from the site and what nodes are known to run. Does not own the rendering
// (../boots/templates.ts), when it is done again (fleet.io.ts).
//
// To give templates another value, add it to TemplateInputs here; strict templates then may name it. Pure.

import { type Ipv4Address, netmaskOf, renderNetwork } from '../../formats/ipv4.ts';
import { matches, type Member, poolsOf, type PoolView, type States } from './pools.ts';
import type { Site } from '../site/site.ts';
import { subnetAt } from '../world.ts';

type Peer = {
  readonly name: string;
  readonly address: Ipv4Address;
  /** Place among those of the same profile, sorted by name; from 0. */
  readonly index: number;
  /** For VRRP: 200, and 10 less for each that comes before; at least 1. */
  readonly priority: number;
};

export type TemplateInputs = {
  readonly pools: Readonly<Record<string, readonly Member[]>>;
  /** The nodes of the same profile, this one included. */
  readonly peers: readonly Peer[];
  /** This node's place among its peers. */
  readonly index: number;
  /** Every value null where the node's address lies in no subnet. */
  readonly subnet: {
    readonly name: string | null;
    readonly network: string | null;
    readonly prefixLength: number | null;
    readonly netmask: string | null;
    readonly router: string | null;
  };
  /** VIPs of direct services whose pool this node's profile and labels belong to, sorted. */
  readonly directVips: readonly string[];
};

export type InputNode = {
  readonly name: string;
  /** The profile that it runs or is about to. */
  readonly profile: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What it boots with; undefined where that is not known. */
  readonly address: Ipv4Address | undefined;
};

/** @param pools poolsOf(site, states), where the caller has them already. */
export function inputsFor(
  site: Site,
  states: States,
  node: InputNode,
  pools: readonly PoolView[] = poolsOf(site, states),
): TemplateInputs {
  const peers = peersOf(site, states, node);
  return {
    pools: Object.fromEntries(pools.map(({ name, members }) => [name, members])),
    peers,
    index: Math.max(
      0,
      peers.findIndex(({ name }) => name === node.name),
    ),
    subnet: subnetOf(site, node.address),
    directVips: directVipsOf(site, node),
  };
}

/**
 * Who the file says is one, and who still runs as one: a balancer whose file was edited holds its VIP until it is
 * switched, and its peers must go on hearing it until then.
 */
function peersOf(site: Site, states: States, node: InputNode): Peer[] {
  const addresses = new Map<string, Ipv4Address>();
  for (const { name, profile, address } of site.nodes.values()) {
    const boot = states.get(name)?.boot;
    if (profile.name !== node.profile && boot?.plan.profile.name !== node.profile) continue;
    const known = address ?? boot?.address;
    if (known !== undefined) addresses.set(name, known);
  }
  if (node.address !== undefined) addresses.set(node.name, node.address);
  return [...addresses]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, address], index) => ({ name, address, index, priority: Math.max(1, 200 - 10 * index) }));
}

function subnetOf(site: Site, address: Ipv4Address | undefined): TemplateInputs['subnet'] {
  const subnet = address === undefined ? undefined : subnetAt(site, address);
  if (subnet === undefined) return { name: null, network: null, prefixLength: null, netmask: null, router: null };
  const { name, network, router } = subnet;
  return {
    name,
    network: renderNetwork(network),
    prefixLength: network.prefixLength,
    netmask: netmaskOf(network),
    router: router ?? null,
  };
}

function directVipsOf(site: Site, { profile, labels }: InputNode): string[] {
  const vips = new Set<string>();
  for (const { services } of site.balancers.values()) {
    for (const { vip, pool, isDirect } of services) {
      const match = site.rouse.pools[pool]?.match;
      if (isDirect && match !== undefined && matches(match, profile, labels)) vips.add(vip);
    }
  }
  return [...vips].sort();
}
