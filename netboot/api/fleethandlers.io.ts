// netboot/api/fleethandlers.io.ts - netboot.sock: plans, pools, VIPs, and what is ordered of nodes.
//
// Owns: the answers of these routes. Does not own their form (routes.ts), what they ask (planview.ts, pools.ts, vips.ts) or do
// (changes.io.ts).

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { askWire } from '../arp.io.ts';
import { type Change, renderSteps } from '../fleet/change.ts';
import type { Changes } from '../fleet/changes.io.ts';
import type { Fleet } from '../fleet/fleet.io.ts';
import { type LiveDiff, liveDiff } from '../fleet/livediff.ts';
import { serviceArgument } from '../fleet/orders.ts';
import { isReporting, planOf } from '../fleet/planview.ts';
import type { LiveSite } from '../site/load.io.ts';
import { withAnswers } from '../fleet/vips.ts';
import { missing } from '../site/missing.ts';
import { expandNoderange } from '../site/noderange.ts';
import type { Site } from '../site/site.ts';
import { type HostAddress, subnetAt } from '../world.ts';
import { type Handlers, Refusal } from './dispatch.io.ts';

export type FleetFacts = {
  readonly live: LiveSite;
  readonly fleet: Fleet;
  readonly changes: Changes;
  readonly interfaces: () => readonly HostAddress[];
  readonly log: (line: string) => void;
};

/** A change as `rouse node boot --wait` watches it. */
export type ChangeView = {
  readonly node: string;
  readonly draining: string;
  readonly once: string | undefined;
  readonly change: Change | undefined;
  readonly steps: string;
};

export type DiffView = LiveDiff & { readonly node: string };

type FleetRoutes =
  | 'plan'
  | 'change'
  | 'bootNode'
  | 'drain'
  | 'undrain'
  | 'orderService'
  | 'orders'
  | 'diff'
  | 'pools'
  | 'pool'
  | 'vips';

export function fleetHandlers({ live, fleet, changes, interfaces, log }: FleetFacts): Pick<Handlers, FleetRoutes> {
  const viewOf = (node: string): ChangeView => {
    const { draining, once, change } = fleet.state(node);
    return { node, draining, once, change, steps: change === undefined ? '' : renderSteps(change, Date.now()) };
  };
  const mustKnow = (name: string): void => {
    const { site } = live.state();
    if (site?.nodes.has(name) !== true) throw missing('node', name, site?.nodes.keys() ?? []);
  };
  /** Who answers ARP for the VIPs of the site, each asked on the served interface of its subnet. */
  const heardOf = async (site: Site): Promise<Map<Ipv4Address, readonly MacAddress[]>> => {
    const byInterface = new Map<HostAddress, Ipv4Address[]>();
    for (const { vip } of fleet.vips()) {
      const subnet = subnetAt(site, vip);
      const own = interfaces().find(({ name }) => name === subnet?.interface);
      if (own !== undefined) byInterface.set(own, [...(byInterface.get(own) ?? []), vip]);
    }
    const all = new Map<Ipv4Address, readonly MacAddress[]>();
    for (const [own, vips] of byInterface) {
      const heard = await askWire(own, vips);
      if (heard.kind === 'not-asked') log(`cannot ask by ARP on ${own.name}: ${heard.why}`);
      else for (const [vip, macs] of heard.macs) all.set(vip, macs);
    }
    return all;
  };
  return {
    plan: async ({ query: { nodes: range } }) => {
      const { site } = live.state();
      if (site === undefined) throw new Refusal(503, 'no configuration is in force');
      const names = range === undefined ? undefined : expandNoderange(range);
      if (names?.ok === false) throw new Refusal(400, names.why);
      const asked = names === undefined ? [...site.nodes.keys()].sort() : names.names;
      for (const name of asked) mustKnow(name);
      return planOf({ site, images: await live.images(), ...fleet.hearing() }, asked);
    },
    change: ({ params: { name } }) => {
      mustKnow(name);
      return viewOf(name);
    },
    bootNode: async ({ params: { name }, query, who }) => {
      const { now: isNow, cold: isCold, force: isForced, once, drainTimeoutS } = query;
      await changes.boot(name, { who, isNow, isCold, isForced, once, drainTimeoutS });
      return viewOf(name);
    },
    drain: async ({ params: { name }, query }) => {
      await changes.drain(name, query.force);
      return viewOf(name);
    },
    undrain: async ({ params: { name } }) => {
      await changes.undrain(name);
      return viewOf(name);
    },
    orderService: async ({ params: { name }, query: { service, verb } }) => {
      mustKnow(name);
      const { report } = fleet.state(name);
      if (report === undefined || !isReporting({ report }, fleet.hearing())) {
        throw new Refusal(400, `${name} does not report, so it takes no orders`);
      }
      const known = report.report.services.map((one) => one.name);
      const asked = serviceArgument(known, service, verb);
      if (!asked.ok) throw new Refusal(400, `${name}: ${asked.why}`);
      return { node: name, number: (await fleet.order(name, 'service', asked.argument)) ?? 0 };
    },
    orders: ({ params: { name } }) => {
      mustKnow(name);
      const bootId = fleet.state(name).boot?.id;
      return { node: name, bootId, orders: bootId === undefined ? [] : fleet.orders.of(bootId) };
    },
    diff: ({ params: { name } }): DiffView => {
      mustKnow(name);
      const refused = fleet.state(name).report?.report.refused ?? [];
      return { node: name, ...liveDiff(fleet.live(name), refused) };
    },
    pools: () => ({ pools: fleet.pools() }),
    pool: ({ params }) => {
      const pools = fleet.pools();
      const pool = pools.find(({ name }) => name === params.name);
      if (pool !== undefined) return pool;
      throw missing(
        'pool',
        params.name,
        pools.map(({ name }) => name),
      );
    },
    vips: async () => {
      const { site } = live.state();
      return { vips: site === undefined ? [] : withAnswers(fleet.vips(), await heardOf(site), site) };
    },
  };
}
