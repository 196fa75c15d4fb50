// netboot/api/newapi.io.ts - netboot.sock: machines without a node file, making nodes of them, replacing a node's machine.
//
// Owns: these routes and reading their requests. Does not own what they ask (machines.ts) or write (site/write.io.ts).

import type { Hono } from 'hono';
import { z } from 'zod';
import { Fault } from '../../formats/errors.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import type { Journal } from '../journal/attempts.ts';
import type { Sightings } from '../journal/sightings.ts';
import type { MachineRecord } from '../site/inventory.ts';
import type { LiveSite } from '../site/load.io.ts';
import { NewNodeSchema } from '../site/newnodes.ts';
import type { FileChange } from '../site/write.io.ts';
import type { Lease, LeaseBook } from '../store/leases.ts';
import type { StoreRecord } from '../store/records.ts';
import { machineRows } from './machines.ts';

export type NewApiFacts = {
  readonly live: LiveSite;
  readonly leases: LeaseBook;
  readonly journal: Journal;
  readonly sightings: Sightings;
  readonly machines: ReadonlyMap<MacAddress, MachineRecord>;
  readonly commit: (records: readonly StoreRecord[]) => Promise<void>;
  readonly nowS: () => number;
  readonly log: (line: string) => void;
};

const MOST_NEW_NODES = 20_000;
const CreateSchema = z.strictObject({
  what: z.enum(['node adopt', 'node import']),
  nodes: z.array(NewNodeSchema).max(MOST_NEW_NODES),
  comments: z.record(z.string(), z.string()).default({}),
});

export function newMachineRoutes(api: Hono, facts: NewApiFacts): void {
  const { live, leases, journal, sightings, machines, log } = facts;
  const say = (error: string): { error: string } => ({ error });

  api.get('/v1/machines', (c) => {
    const { site } = live.state();
    if (site === undefined) return c.json(say('no configuration is in force'), 503);
    const rows = machineRows({ site, sightings: sightings.all(), machines, leases, journal, nowMs: Date.now() });
    return c.json({ machines: rows });
  });
  api.post('/v1/nodes', async (c) => {
    const who = (c.req.query('who') ?? 'unknown').replace(/[^ -~]/g, '?').slice(0, 64);
    const isDryRun = c.req.query('dry') === '1';
    const body = CreateSchema.safeParse(await c.req.json().catch(() => undefined));
    if (!body.success) {
      const [issue] = body.error.issues;
      return c.json(say(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'expected JSON'}`), 400);
    }
    const { what, nodes, comments } = body.data;
    const changes = await live.create({ nodes, comments, who, what, isDryRun });
    if (!isDryRun) log(`${who}: ${what}: ${changes.map(({ file }) => file).join(' ')}`);
    return c.json({ changes });
  });
  api.post('/v1/nodes/:name/replace', async (c) => {
    const name = c.req.param('name');
    const who = (c.req.query('who') ?? 'unknown').replace(/[^ -~]/g, '?').slice(0, 64);
    const isDryRun = c.req.query('dry') === '1';
    const mac = parseMac(c.req.query('with') ?? '');
    if (mac === undefined) return c.json(say('with: expected a MAC address such as 52:54:00:77:00:01'), 400);
    const before = live.state().site?.nodes.get(name)?.macs ?? [];
    const macs = [...new Set([mac, ...(machines.get(mac)?.inventory.nics ?? []).map((nic) => nic.mac)])];
    const assignments = [{ path: ['macs'] as const, value: macs }];
    const changes = await live.edit({ names: [name], assignments, who, what: 'node replace', isDryRun });
    if (isDryRun) return c.json({ changes, released: [] });
    const gone = before.filter((old) => !macs.includes(old));
    // The old machine is not there to give its address back, and the new one is to have it.
    const released: Lease[] = gone
      .flatMap((old) => [...leases.byMac(old)])
      .filter(({ state }) => state === 'bound')
      .map((lease) => ({ ...lease, state: 'released', expiresAtS: Math.min(lease.expiresAtS, facts.nowS()) }));
    await facts.commit(released.map((lease) => ({ kind: 'lease', lease })));
    for (const lease of released) leases.put(lease);
    log(`${who}: node replace ${name}: ${gone.join(' ')} gave way to ${macs.join(' ')}`);
    return c.json({ changes, released: released.map(({ address }) => address) } satisfies Replaced);
  });
}

export type Replaced = { readonly changes: readonly FileChange[]; readonly released: readonly string[] };

/** What a Fault is on the socket. */
export function statusOf(fault: Fault): 400 | 404 | 503 {
  if (fault.code === 'E_NOT_FOUND') return 404;
  return fault.code === 'E_STORE' ? 503 : 400;
}
