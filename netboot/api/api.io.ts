// netboot/api/api.io.ts - netboot.sock: the management socket, HTTP with JSON.
//
// Owns: routes to answers, the socket's file and mode. Does not own the answers' shapes (view.ts, explain.ts, journal.ts).
// Whoever may open the socket may do everything, so it is for its owner and group alone. An error is {"error": "sentence"}.
// To add a route, add it here, in ARCHITECTURE.md, and its shape to view.ts.

import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { randomBytes } from 'node:crypto';
import { chmod, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { parseIpv4 } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import type { BootShelf } from '../boots/bootshelf.ts';
import { imagesInUse } from '../fleet/inuse.ts';
import { ARCH_NAMES, explain } from './explain.ts';
import { type Journal, rungOf } from '../journal/attempts.ts';
import type { Attempt, BootEvent } from '../journal/journal.ts';
import { type Lease, type LeaseBook } from '../store/leases.ts';
import type { StoreRecord } from '../store/records.ts';
import { fleetRoutes } from './fleetapi.io.ts';
import { newMachineRoutes, statusOf } from './newapi.io.ts';
import type { Sightings } from '../journal/sightings.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { Changes } from '../fleet/changes.io.ts';
import type { Fleet } from '../fleet/fleet.io.ts';
import { readNodeEdit } from '../site/edit.ts';
import type { LiveSite } from '../site/load.io.ts';
import type { Site } from '../site/site.ts';
import type { Listening } from '../listen.io.ts';
import type { HostAddress } from '../world.ts';
import { configView, nodeRow, nodeView, profileView, segmentView, type ViewFacts } from './view.ts';

export type ApiFacts = {
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
  readonly fleet: Fleet;
  /** What machines may still load. */
  readonly boots: BootShelf;
  readonly changes: Changes;
  /** Holds the audit log. */
  readonly libDir: string;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  /** Why what is written now would not last. */
  readonly storeTrouble: () => Promise<string | undefined>;
  /** Copies the store to a new file. */
  readonly copyStore: (file: string) => Promise<void>;
  /** Told of each event while an event stream is open. */
  readonly watchers: Set<(event: BootEvent) => void>;
  readonly nowS: () => number;
  readonly log: (line: string) => void;
};

const MOST_BOOTS = 1000;
const COMMENT_EVERY_MS = 15_000;

/** @throws Fault E_LOCKED where another boot server answers on the socket. */
export async function serveApi(socketPath: string, facts: ApiFacts): Promise<{ close: () => Promise<void> }> {
  await takeSocket(socketPath);
  const server = createAdaptorServer({ fetch: routes(facts).fetch });
  // A stream of events is not a slow request.
  if ('requestTimeout' in server) server.requestTimeout = 0;
  const oldMask = process.umask(0o117);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
  } catch (error) {
    throw new Fault('E_COMMAND', { what: `cannot listen on ${socketPath}`, why: reasonOf(error) }, { cause: error });
  } finally {
    process.umask(oldMask);
  }
  await chmod(socketPath, 0o660);
  return {
    close: () =>
      new Promise((resolve) => {
        if ('closeAllConnections' in server) server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** Removes a socket that a killed boot server left; one that answers is another boot server's. */
async function takeSocket(socketPath: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answers) {
    throw new Fault('E_LOCKED', {
      what: `another rouse netboot answers on ${socketPath}`,
      todo: 'use that one, or stop it first',
    });
  }
  await unlink(socketPath).catch(() => undefined);
}

function routes(facts: ApiFacts): Hono {
  const { live, leases, journal } = facts;
  const api = new Hono();
  const say = (error: string): { error: string } => ({ error });
  const siteInForce = (): Site | undefined => live.state().site;
  const viewFacts = async (site: Site): Promise<ViewFacts> => ({
    site,
    images: await live.images(),
    leases,
    journal,
    states: facts.fleet.states,
    nowMs: Date.now(),
  });

  api.get('/v1/health', async (c) => {
    const { isGood } = live.state();
    return c.json({
      pid: process.pid,
      serving: facts.interfaces().map(({ name, address }) => ({ name, address, ...segmentView(facts.segment(name)) })),
      waiting: facts.waiting(),
      config: isGood ? 'good' : 'last-good',
      store: (await facts.storeTrouble()) ?? 'good',
    });
  });
  api.get('/v1/config', (c) => c.json(configView(siteInForce(), live.state())));
  api.post('/v1/config/reload', async (c) => c.json(configView(siteInForce(), await live.reload())));
  api.get('/v1/images/inuse', (c) =>
    c.json({ inUse: imagesInUse(facts.boots.byId.values(), facts.fleet.states.values()) }),
  );
  api.get('/v1/nodes', async (c) => {
    const site = siteInForce();
    if (site === undefined) return c.json({ nodes: [] });
    const view = await viewFacts(site);
    return c.json({ nodes: Array.from(site.nodes.values(), (node) => nodeRow(view, node)) });
  });
  api.get('/v1/nodes/:name', async (c) => {
    const site = siteInForce();
    const name = c.req.param('name');
    const node = site?.nodes.get(name);
    if (site === undefined || node === undefined) return c.json(say(`there is no node '${name}'`), 404);
    return c.json(nodeView(await viewFacts(site), node));
  });
  api.post('/v1/nodes/:range/set', async (c) => {
    const request = readNodeEdit(c.req.param('range'), c.req.queries('set') ?? []);
    if (!request.ok) return c.json(say(request.why), 400);
    const who = (c.req.query('who') ?? 'unknown').replace(/[^ -~]/g, '?').slice(0, 64);
    const isDryRun = c.req.query('dry') === '1';
    try {
      const changes = await live.edit({
        names: request.names,
        assignments: request.assignments,
        who,
        what: 'node set',
        isDryRun,
      });
      if (!isDryRun) for (const { file, diff } of changes) facts.log(`${who} changed ${file}: ${diff.join(' ')}`);
      return c.json({ changes });
    } catch (error) {
      if (error instanceof Fault) return c.json(say(error.message), error.code === 'E_NOT_FOUND' ? 404 : 400);
      throw error;
    }
  });
  api.post('/v1/store/copy', async (c) => {
    // Whoever asks takes it away; it lies beside the store, whose folder only the boot server and root may enter.
    const file = join(facts.libDir, `backup-${randomBytes(6).toString('hex')}.sqlite`);
    await facts.copyStore(file);
    return c.json({ file });
  });
  fleetRoutes(api, facts);
  newMachineRoutes(api, facts);
  api.get('/v1/profiles', (c) => {
    const site = siteInForce();
    return c.json({
      profiles: site === undefined ? [] : Array.from(site.profiles.values(), (one) => profileView(site, one)),
    });
  });
  api.get('/v1/profiles/:name', (c) => {
    const site = siteInForce();
    const name = c.req.param('name');
    const profile = site?.profiles.get(name);
    if (site === undefined || profile === undefined) return c.json(say(`there is no profile '${name}'`), 404);
    return c.json(profileView(site, profile));
  });
  api.get('/v1/explain', async (c) => {
    const site = siteInForce();
    const mac = parseMac(c.req.query('mac') ?? '');
    const arch = ARCH_NAMES.find((name) => name === (c.req.query('arch') ?? 'bios'));
    if (mac === undefined) return c.json(say('mac: expected a MAC address such as 52:54:00:77:00:01'), 400);
    if (arch === undefined) return c.json(say(`arch: expected ${ARCH_NAMES.join(', ')}`), 400);
    if (site === undefined) return c.json(say('no configuration is in force'), 503);
    const images = await live.images();
    const loaders = new Set(facts.loaders().keys());
    const interfaces = facts.interfaces();
    return c.json(
      explain(
        {
          site,
          images,
          leases,
          interfaces,
          loaders,
          rung: (one) => rungOf(journal.ofMac(one)),
          states: facts.fleet.states,
          held: (name) => facts.segment(name)?.held,
          nowMs: Date.now(),
        },
        mac,
        arch,
      ),
    );
  });
  api.get('/v1/boots', (c) => {
    const limit = Math.min(MOST_BOOTS, Math.max(1, Number(c.req.query('limit') ?? 50) || 50));
    const name = c.req.query('node');
    return c.json({ boots: namedBoots(siteInForce(), journal, name).slice(0, limit) });
  });
  api.get('/v1/boots/:id', (c) => {
    const boot = journal.byBootId(c.req.param('id'));
    return boot === undefined ? c.json(say(`there is no boot '${c.req.param('id')}'`), 404) : c.json(boot);
  });
  api.get('/v1/leases', (c) => c.json({ leases: leases.all().map((lease) => leaseView(lease, siteInForce())) }));
  api.post('/v1/leases/:address/release', async (c) => {
    const address = parseIpv4(c.req.param('address'));
    const lease = address === undefined ? undefined : leases.byAddress(address);
    if (lease === undefined || lease.state === 'offered') {
      return c.json(say(`there is no lease of ${c.req.param('address')}`), 404);
    }
    const released: Lease = { ...lease, state: 'released', expiresAtS: Math.min(lease.expiresAtS, facts.nowS()) };
    await facts.commit([{ kind: 'lease', lease: released }]);
    leases.put(released);
    facts.log(`lease of ${lease.address} (${lease.mac}) released by an operator`);
    return c.json(leaseView(released, siteInForce()));
  });
  api.get('/v1/events', (c) =>
    streamSSE(c, async (stream) => {
      const queue: BootEvent[] = [];
      let wake: () => void = () => undefined;
      const watcher = (event: BootEvent): void => {
        // A reader that does not read must not fill memory: it is cut off and asks again.
        if (queue.push(event) > 10_000) stream.abort();
        wake();
      };
      facts.watchers.add(watcher);
      stream.onAbort(() => {
        facts.watchers.delete(watcher);
        wake();
      });
      while (!stream.aborted && !stream.closed) {
        const event = queue.shift();
        if (event !== undefined) {
          await stream.writeSSE({ event: event.kind, data: JSON.stringify(event) });
          continue;
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, COMMENT_EVERY_MS);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        // Proxies and dead peers are found out by a line that says nothing.
        if (queue.length === 0) await stream.write(': still here\n\n');
      }
      facts.watchers.delete(watcher);
    }),
  );
  api.notFound((c) => c.json(say(`there is no ${c.req.path} here`), 404));
  api.onError((error, c) => {
    if (error instanceof Fault) return c.json(say(error.message), statusOf(error));
    facts.log(`netboot.sock: ${c.req.method} ${c.req.path}: ${reasonOf(error)}`);
    return c.json(say(reasonOf(error)), 500);
  });
  return api;
}

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
