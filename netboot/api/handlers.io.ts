// netboot/api/handlers.io.ts - netboot.sock: nodes, profiles, machines, boots, leases, the configuration.
//
// Owns: the answers of these routes. Does not own their form (routes.ts), the answers' shapes (view.ts, nodeview.ts, explain.ts, machines.ts),
// nor those of nodes in service (fleethandlers.io.ts).

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { MacAddress } from '../../formats/mac.ts';
import { Fault } from '../../formats/errors.ts';
import { renderProblem } from '../../formats/yaml/document.ts';
import type { BootShelf } from '../boots/bootshelf.ts';
import type { Changes } from '../fleet/changes.io.ts';
import type { Fleet } from '../fleet/fleet.io.ts';
import { imagesInUse } from '../fleet/inuse.ts';
import { type Journal, rungOf } from '../journal/attempts.ts';
import type { Attempt } from '../journal/journal.ts';
import type { Sightings } from '../journal/sightings.ts';
import type { Listening } from '../listen.io.ts';
import { planReplacement } from '../site/adopt.ts';
import { type FileChange, readNodeEdit } from '../site/edit.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { LiveSite } from '../site/load.io.ts';
import { missing } from '../site/missing.ts';
import type { Site } from '../site/site.ts';
import { type Lease, type LeaseBook, releasedAt } from '../store/leases.ts';
import type { StoreRecord } from '../store/records.ts';
import type { HostAddress } from '../world.ts';
import { type Handlers, Refusal } from './dispatch.io.ts';
import { explain } from './explain.ts';
import { fleetHandlers } from './fleethandlers.io.ts';
import { machineRows } from './machines.ts';
import { openApi } from './openapi.ts';
import { nodeRow, nodeView, type ViewFacts } from './nodeview.ts';
import { configView, profileView, segmentView } from './view.ts';

export type HandlerFacts = {
  /** Of rouse. */
  readonly version: string;
  readonly live: LiveSite;
  readonly leases: LeaseBook;
  readonly journal: Journal;
  readonly sightings: Sightings;
  /** What machines report of themselves. */
  readonly machines: ReadonlyMap<MacAddress, MachineRecord>;
  readonly interfaces: () => readonly HostAddress[];
  readonly waiting: () => readonly string[];
  readonly segment: Listening['segment'];
  readonly loaders: () => ReadonlyMap<string, number>;
  /** What machines may still load. */
  readonly boots: BootShelf;
  readonly fleet: Fleet;
  readonly changes: Changes;
  /** Holds the audit log. */
  readonly libDir: string;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  /** Why what is written now would not last. */
  readonly storeTrouble: () => Promise<string | undefined>;
  /** Copies the store to a new file. */
  readonly copyStore: (file: string) => Promise<void>;
  readonly nowS: () => number;
  readonly log: (line: string) => void;
};

/** Problems of the configuration that health tells: enough to see what is wrong. */
const HEALTH_PROBLEMS = 5;

export function handlersOf(facts: HandlerFacts): Handlers {
  return { ...fleetHandlers(facts), ...siteHandlers(facts), ...machineHandlers(facts), ...bootHandlers(facts) };
}

function siteInForce({ live }: Pick<HandlerFacts, 'live'>): Site {
  const { site } = live.state();
  if (site === undefined) throw new Refusal(503, 'no configuration is in force');
  return site;
}

async function viewFacts(facts: HandlerFacts, site: Site): Promise<ViewFacts> {
  const { live, leases, journal, fleet, sightings } = facts;
  const ordersOf = (bootId: string) => fleet.orders.of(bootId);
  return {
    site,
    images: await live.images(),
    leases,
    journal,
    sightings: sightings.all(),
    ordersOf,
    ...fleet.hearing(),
  };
}

type SiteRoutes =
  | 'openapi'
  | 'health'
  | 'config'
  | 'reload'
  | 'nodes'
  | 'node'
  | 'createNodes'
  | 'setNodes'
  | 'profiles'
  | 'profile'
  | 'imagesInUse';

/** The boot server itself, and what its files say. */
function siteHandlers(facts: HandlerFacts): Pick<Handlers, SiteRoutes> {
  const { live, log } = facts;
  return {
    openapi: () => openApi(facts.version),
    health: async () => {
      const { isGood, problems, site } = live.state();
      const subnetsOn = (name: string) => (site?.subnets ?? []).filter((subnet) => subnet.interface === name);
      return {
        pid: process.pid,
        serving: facts
          .interfaces()
          .map(({ name, address }) => ({ name, address, ...segmentView(facts.segment(name), subnetsOn(name)) })),
        waiting: facts.waiting(),
        config: isGood ? 'good' : 'last-good',
        problems: problems.slice(0, HEALTH_PROBLEMS).map(renderProblem),
        store: (await facts.storeTrouble()) ?? 'good',
      };
    },
    imagesInUse: () => ({ inUse: imagesInUse(facts.boots.byId.values(), facts.fleet.states.values()) }),
    config: () => configView(live.state().site, live.state()),
    reload: async () => {
      const state = await live.reload();
      return configView(state.site, state);
    },
    nodes: async () => {
      const { site } = live.state();
      if (site === undefined) return { nodes: [] };
      const view = await viewFacts(facts, site);
      return { nodes: Array.from(site.nodes.values(), (node) => nodeRow(view, node)) };
    },
    node: async ({ params: { name } }) => {
      const site = siteInForce(facts);
      const node = site.nodes.get(name);
      if (node === undefined) throw missing('node', name, site.nodes.keys());
      return nodeView(await viewFacts(facts, site), node);
    },
    createNodes: async ({ body: { what, nodes, comments }, query: { dry: isDryRun }, who }) => {
      const changes = await live.create({ nodes, comments, who, what, isDryRun });
      if (!isDryRun) log(`${who}: ${what}: ${changes.map(({ file }) => file).join(' ')}`);
      return { changes };
    },
    setNodes: async ({ params: { range }, query: { set, dry: isDryRun }, who }) => {
      const request = readNodeEdit(range, set);
      if (!request.ok) throw new Refusal(400, request.why);
      const { names, assignments } = request;
      const changes = await live.edit({ names, assignments, who, what: 'node set', isDryRun });
      if (!isDryRun) for (const { file, diff } of changes) log(`${who} changed ${file}: ${diff.join(' ')}`);
      return { changes };
    },
    profiles: () => {
      const { site } = live.state();
      return {
        profiles: site === undefined ? [] : Array.from(site.profiles.values(), (one) => profileView(site, one)),
      };
    },
    profile: ({ params: { name } }) => {
      const site = siteInForce(facts);
      const profile = site.profiles.get(name);
      if (profile === undefined) throw missing('profile', name, site.profiles.keys());
      return profileView(site, profile);
    },
  };
}

type MachineRoutes = 'replaceNode' | 'machines' | 'explain' | 'leases' | 'releaseLease';

/** Machines by their MACs: what they are, what they would boot, which addresses they have. */
function machineHandlers(facts: HandlerFacts): Pick<Handlers, MachineRoutes> {
  const { live, leases, journal, sightings, machines, log } = facts;
  const release = async (gone: readonly Lease[]): Promise<readonly Lease[]> => {
    const released = gone.map((lease) => releasedAt(lease, facts.nowS()));
    await facts.commit(released.map((lease) => ({ kind: 'lease', lease })));
    for (const lease of released) leases.put(lease);
    return released;
  };
  return {
    replaceNode: async ({ params: { name }, query: { with: mac, dry: isDryRun }, who }): Promise<Replaced> => {
      const before = live.state().site?.nodes.get(name)?.macs ?? [];
      const cards = (machines.get(mac)?.inventory.nics ?? []).map((nic) => nic.mac);
      const { macs, gone } = planReplacement(before, mac, cards);
      const assignments = [{ path: ['macs'] as const, value: macs }];
      const changes = await live.edit({ names: [name], assignments, who, what: 'node replace', isDryRun });
      if (isDryRun) return { changes, released: [] };
      // The old machine is not there to give its address back, and the new one is to have it.
      const bound = gone.flatMap((old) => [...leases.byMac(old)]).filter(({ state }) => state === 'bound');
      const released = await release(bound);
      log(`${who}: node replace ${name}: ${gone.join(' ')} gave way to ${macs.join(' ')}`);
      return { changes, released: released.map(({ address }) => address) };
    },
    machines: () => {
      const site = siteInForce(facts);
      return {
        machines: machineRows({ site, sightings: sightings.all(), machines, leases, journal, nowMs: Date.now() }),
      };
    },
    explain: async ({ query: { mac, arch } }) =>
      explain(
        {
          site: siteInForce(facts),
          images: await live.images(),
          leases,
          interfaces: facts.interfaces(),
          loaders: new Set(facts.loaders().keys()),
          rung: (one) => rungOf(journal.ofMac(one)),
          states: facts.fleet.states,
          held: (name) => facts.segment(name)?.held,
          heardOn: (one) => sightings.of(one)?.interfaceName,
          configProblem: live.state().problems.map(renderProblem)[0],
          nowMs: Date.now(),
        },
        mac,
        arch,
      ),
    leases: () => ({ leases: leases.all().map((lease) => leaseView(lease, live.state().site)) }),
    releaseLease: async ({ params: { address } }) => {
      const lease = leases.byAddress(address);
      if (lease === undefined || lease.state === 'offered') {
        throw new Fault('E_NOT_FOUND', {
          what: `there is no lease of ${address}`,
          todo: 'see all with: rouse lease ls',
        });
      }
      const [released = lease] = await release([lease]);
      return leaseView(released, live.state().site);
    },
  };
}

/** The journal, and the store that holds it. */
function bootHandlers(facts: HandlerFacts): Pick<Handlers, 'boots' | 'boot' | 'copyStore'> {
  const { live, journal } = facts;
  return {
    boots: ({ query: { node, limit } }) => ({ boots: namedBoots(live.state().site, journal, node).slice(0, limit) }),
    boot: ({ params: { id } }) => {
      const boot = journal.byBootId(id);
      if (boot === undefined) throw new Refusal(404, `there is no boot '${id}'`);
      return boot;
    },
    copyStore: async () => {
      // Whoever asks takes it away; it lies beside the store, whose folder only the boot server and root may enter.
      const file = join(facts.libDir, `backup-${randomBytes(6).toString('hex')}.sqlite`);
      await facts.copyStore(file);
      return { file };
    },
  };
}

export type Replaced = { readonly changes: readonly FileChange[]; readonly released: readonly string[] };

/** Attempts with the node's name filled in where no script was made yet, the latest first. */
function namedBoots(site: Site | undefined, journal: Journal, name: string | undefined): Attempt[] {
  const named = journal
    .all()
    .map((attempt) => ({ ...attempt, node: attempt.node ?? site?.byMac.get(attempt.mac)?.name }));
  return name === undefined ? named : named.filter(({ node }) => node === name);
}

function leaseView(lease: Lease, site: Site | undefined): Lease & { node: string | undefined; expiresAt: string } {
  return {
    ...lease,
    node: site?.byMac.get(lease.mac)?.name,
    expiresAt: new Date(lease.expiresAtS * 1000).toISOString(),
  };
}
