// netboot/api/fleetapi.io.ts - netboot.sock: plans, pools, VIPs, and what is ordered of nodes.
//
// Owns: these routes, reading their queries, the audit line of each that changes something. Does not own what they ask
// (planview.ts, pools.ts, vips.ts) or do (changes.io.ts). Every answer is JSON; an error is {"error": "sentence"}.

import type { Context, Hono } from 'hono';
import { Fault } from '../../formats/errors.ts';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { askWire } from '../fleet/arp.io.ts';
import type { Changes } from '../fleet/changes.io.ts';
import { type Change, renderSteps } from '../fleet/change.ts';
import type { Fleet } from '../fleet/fleet.io.ts';
import { planOf } from '../fleet/planview.ts';
import { type LiveDiff, liveDiff } from '../fleet/livediff.ts';
import { withAnswers } from '../fleet/vips.ts';
import type { LiveSite } from '../site/load.io.ts';
import { expandNoderange } from '../site/noderange.ts';
import type { Site } from '../site/site.ts';
import { audit } from '../site/write.io.ts';
import { type HostAddress, subnetAt } from '../world.ts';

export type FleetApiFacts = {
  readonly live: LiveSite;
  readonly fleet: Fleet;
  readonly changes: Changes;
  readonly interfaces: () => readonly HostAddress[];
  readonly libDir: string;
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

const MOST_DRAIN_S = 86_400;

export function fleetRoutes(api: Hono, facts: FleetApiFacts): void {
  const { live, fleet, changes } = facts;
  const say = (error: string): { error: string } => ({ error });
  const whoOf = (c: Context): string => (c.req.query('who') ?? 'unknown').replace(/[^ -~]/g, '?').slice(0, 64);
  const flag = (c: Context, name: string): boolean => c.req.query(name) === '1';

  /** What changes something is audited when it was done; a refusal is its reason. */
  const act = async (c: Context, what: string, action: () => Promise<unknown>): Promise<Response> => {
    const node = c.req.param('name') ?? '';
    const who = whoOf(c);
    try {
      const answer = await action();
      facts.log(`${who}: ${what} ${node}`);
      await audit(facts.libDir, { who, what, node });
      return c.json(answer ?? {});
    } catch (error) {
      if (error instanceof Fault) return c.json(say(error.message), error.code === 'E_NOT_FOUND' ? 404 : 400);
      throw error;
    }
  };
  const viewOf = (node: string): ChangeView => {
    const { draining, once, change } = fleet.state(node);
    return { node, draining, once, change, steps: change === undefined ? '' : renderSteps(change, Date.now()) };
  };
  /** Who answers ARP for the VIPs of the site, each asked on the served interface of its subnet. */
  const heardOf = async (site: Site): Promise<Map<Ipv4Address, readonly MacAddress[]>> => {
    const byInterface = new Map<HostAddress, Ipv4Address[]>();
    for (const { vip } of fleet.vips()) {
      const subnet = subnetAt(site, vip);
      const own = facts.interfaces().find(({ name }) => name === subnet?.interface);
      if (own !== undefined) byInterface.set(own, [...(byInterface.get(own) ?? []), vip]);
    }
    const all = new Map<Ipv4Address, readonly MacAddress[]>();
    for (const [own, vips] of byInterface) {
      const heard = await askWire(own, vips);
      if (heard.kind === 'not-asked') facts.log(`cannot ask by ARP on ${own.name}: ${heard.why}`);
      else for (const [vip, macs] of heard.macs) all.set(vip, macs);
    }
    return all;
  };
  const isKnown = (name: string): boolean => live.state().site?.nodes.has(name) === true;

  api.get('/v1/plan', async (c) => {
    const { site } = live.state();
    if (site === undefined) return c.json(say('no configuration is in force'), 503);
    const range = c.req.query('nodes');
    const names = range === undefined ? undefined : expandNoderange(range);
    if (names?.ok === false) return c.json(say(names.why), 400);
    const asked = names === undefined ? [...site.nodes.keys()].sort() : names.names;
    const stranger = asked.find((name) => !site.nodes.has(name));
    if (stranger !== undefined) return c.json(say(`there is no node '${stranger}'`), 404);
    const images = await live.images();
    return c.json(planOf({ site, images, ...fleet.hearing() }, asked));
  });
  api.get('/v1/nodes/:name/boot', (c) => {
    const name = c.req.param('name');
    return isKnown(name) ? c.json(viewOf(name)) : c.json(say(`there is no node '${name}'`), 404);
  });
  api.post('/v1/nodes/:name/boot', async (c) => {
    const name = c.req.param('name');
    const drainTimeoutS = Number(c.req.query('drainTimeoutS') ?? 30);
    if (!(drainTimeoutS >= 0 && drainTimeoutS <= MOST_DRAIN_S)) {
      return c.json(say(`drainTimeoutS: expected seconds, 0 to ${MOST_DRAIN_S}`), 400);
    }
    const request = {
      who: whoOf(c),
      isNow: flag(c, 'now'),
      isCold: flag(c, 'cold'),
      isForced: flag(c, 'force'),
      once: c.req.query('once'),
      drainTimeoutS,
    };
    return act(c, `node boot${request.once === undefined ? '' : ` once as ${request.once}`}`, async () => {
      await changes.boot(name, request);
      return viewOf(name);
    });
  });
  api.post('/v1/nodes/:name/drain', (c) =>
    act(c, 'node drain', async () => {
      await changes.drain(c.req.param('name'), flag(c, 'force'));
      return viewOf(c.req.param('name'));
    }),
  );
  api.post('/v1/nodes/:name/undrain', (c) =>
    act(c, 'node undrain', async () => {
      await changes.undrain(c.req.param('name'));
      return viewOf(c.req.param('name'));
    }),
  );
  api.get('/v1/nodes/:name/orders', (c) => {
    const name = c.req.param('name');
    if (!isKnown(name)) return c.json(say(`there is no node '${name}'`), 404);
    const bootId = fleet.state(name).boot?.id;
    return c.json({ node: name, bootId, orders: bootId === undefined ? [] : fleet.orders.of(bootId) });
  });
  api.get('/v1/nodes/:name/diff', (c) => {
    const name = c.req.param('name');
    if (!isKnown(name)) return c.json(say(`there is no node '${name}'`), 404);
    const refused = fleet.state(name).report?.report.refused ?? [];
    return c.json({ node: name, ...liveDiff(fleet.live(name), refused) } satisfies DiffView);
  });
  api.get('/v1/pools', (c) => c.json({ pools: fleet.pools() }));
  api.get('/v1/pools/:name', (c) => {
    const pool = fleet.pools().find(({ name }) => name === c.req.param('name'));
    return pool === undefined ? c.json(say(`there is no pool '${c.req.param('name')}'`), 404) : c.json(pool);
  });
  api.get('/v1/vips', async (c) => {
    const { site } = live.state();
    return c.json({ vips: site === undefined ? [] : withAnswers(fleet.vips(), await heardOf(site), site) });
  });
}
