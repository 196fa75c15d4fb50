// netboot/api/routes.ts - the routes of netboot.sock: one table of method, path, what is asked and what is answered.
//
// Owns: every route with its text, its parameters and the shape of its answer. Requests are checked by it (dispatch.io.ts), the
// compiler demands a handler for each row (handlers.io.ts), GET /v1/openapi.json is written from it (openapi.ts).
// Does not own: what a route does.
//
// To add a route: a row here, a handler of that name in handlers.io.ts or fleethandlers.io.ts. Pure.

import { z } from 'zod';
import { parseIpv4 } from '../../formats/ipv4.ts';
import { parseMac } from '../../formats/mac.ts';
import { SERVICE_VERBS } from '../fleet/orders.ts';
import { NewNodeSchema } from '../site/newnodes.ts';
import { ARCH_NAMES } from './explaindhcp.ts';

export type Route = {
  readonly method: 'GET' | 'POST';
  /** Parameters in braces: /v1/nodes/{name}. */
  readonly path: string;
  /** One sentence. */
  readonly text: string;
  /** Whether it changes something: then who asks is found out, and what was done is audited. */
  readonly changes: boolean;
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodType | undefined;
  /** What is answered with 200; `events` is a stream of server-sent events. */
  readonly answer: z.ZodType | 'events';
};

const name = z.string().min(1).max(200);
const mac = z.string().transform((text, context) => {
  const parsed = parseMac(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: 'expected a MAC address such as 52:54:00:77:00:01' });
  return z.NEVER;
});
const address = z.string().transform((text, context) => {
  const parsed = parseIpv4(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: 'expected an IPv4 address such as 10.77.0.11' });
  return z.NEVER;
});
/** 1 and 0, as a query can say them. */
const flag = z
  .enum(['0', '1'], { error: 'expected 1 or 0' })
  .default('0')
  .transform((word) => word === '1');
const number = (least: number, most: number, standard: number) =>
  z
    .string()
    .default(String(standard))
    .transform((text, context) => {
      const value = Number(text);
      if (/^\d{1,9}$/.test(text) && value >= least && value <= most) return value;
      context.addIssue({ code: 'custom', message: `expected a whole number, ${least} to ${most}` });
      return z.NEVER;
    });

const NONE = z.strictObject({});
const BY_NAME = z.strictObject({ name });
/** Who says he asks: what the kernel says of him is beside it in the audit log. */
const SAYS = { who: z.string().max(64).optional() };
const DRY = { ...SAYS, dry: flag };

const text = z.string();
const Values = z.array(z.object({ name: text, value: text, source: text }));
const Attempt = z.looseObject({
  mac: text,
  startedAtMs: z.number(),
  stages: z.record(text, z.unknown()),
  outcome: z.looseObject({ kind: text }),
});
const NodeRow = z.looseObject({
  name: text,
  macs: z.array(text),
  profile: text,
  address: text.optional(),
  labels: z.record(text, text),
  note: text,
  should: text,
  boot: text.optional(),
  runs: text.optional(),
  readiness: text.optional(),
  isChanging: z.boolean(),
  draining: text,
});
const Profile = z.object({ name: text, chain: z.array(text), nodes: z.array(text), values: Values });
const Config = z.object({
  state: z.enum(['good', 'last-good']),
  since: text,
  nodes: z.number(),
  profiles: z.number(),
  problems: z.array(text),
  warnings: z.array(text),
});
const Lease = z.looseObject({
  address: text,
  mac: text,
  subnet: text,
  state: text,
  expiresAt: text,
  node: text.optional(),
});
const Changes = z.object({ changes: z.array(z.object({ file: text, diff: z.array(text) })) });
const Change = z.looseObject({ node: text, draining: text, steps: text });
const Pool = z.looseObject({
  name: text,
  minimum: z.number(),
  members: z.array(z.looseObject({ name: text, weight: z.number() })),
});

function read<P extends z.ZodObject, Q extends z.ZodObject, A extends z.ZodType | 'events'>(
  path: string,
  sentence: string,
  params: P,
  query: Q,
  answer: A,
) {
  return { method: 'GET', path, text: sentence, changes: false, params, query, body: undefined, answer } as const;
}

function change<P extends z.ZodObject, Q extends z.ZodObject, A extends z.ZodType, B extends z.ZodType | undefined>(
  path: string,
  sentence: string,
  params: P,
  query: Q,
  answer: A,
  body: B,
) {
  return { method: 'POST', path, text: sentence, changes: true, params, query, body, answer } as const;
}

const NewNodes = z.strictObject({
  what: z.enum(['node adopt', 'node import']),
  nodes: z.array(NewNodeSchema).max(20_000),
  comments: z.record(z.string(), z.string()).default({}),
});

export const ROUTES = {
  openapi: read('/v1/openapi.json', 'this document', NONE, NONE, z.looseObject({ openapi: text })),
  health: read(
    '/v1/health',
    'what is served, what is waited for, how configuration and store are',
    NONE,
    NONE,
    z.object({
      pid: z.number(),
      serving: z.array(
        z.object({ name: text, address: text, dhcp: text, isHeld: z.boolean(), otherServers: z.array(text) }),
      ),
      waiting: z.array(text),
      config: z.enum(['good', 'last-good']),
      problems: z.array(text),
      store: text,
    }),
  ),
  config: read('/v1/config', 'the configuration in force, and what is wrong with the files', NONE, NONE, Config),
  reload: change('/v1/config/reload', 'reads the files now', NONE, z.strictObject(SAYS), Config, undefined),
  nodes: read('/v1/nodes', 'every node', NONE, NONE, z.object({ nodes: z.array(NodeRow) })),
  createNodes: change(
    '/v1/nodes',
    'makes node files, all of them or none',
    NONE,
    z.strictObject(DRY),
    Changes,
    NewNodes,
  ),
  node: read(
    '/v1/nodes/{name}',
    'a node with its values and last boots',
    BY_NAME,
    NONE,
    NodeRow.extend({ file: text, values: Values, boots: z.array(Attempt) }),
  ),
  setNodes: change(
    '/v1/nodes/{range}/set',
    'sets values in the files of these nodes',
    z.strictObject({ range: name }),
    z.strictObject({ ...DRY, set: z.array(z.string().max(65_536)).min(1, 'expected at least one KEY=VALUE') }),
    Changes,
    undefined,
  ),
  replaceNode: change(
    '/v1/nodes/{name}/replace',
    'puts another machine in the place of a node',
    BY_NAME,
    z.strictObject({ ...DRY, with: mac }),
    Changes.extend({ released: z.array(text) }),
    undefined,
  ),
  change: read(
    '/v1/nodes/{name}/boot',
    'the change of a node that is under way, or the last one',
    BY_NAME,
    NONE,
    Change,
  ),
  bootNode: change(
    '/v1/nodes/{name}/boot',
    'makes a node what its file says, or boots it once as another profile',
    BY_NAME,
    z.strictObject({
      ...SAYS,
      now: flag,
      cold: flag,
      force: flag,
      once: z.string().max(64).optional(),
      drainTimeoutS: number(0, 86_400, 30),
    }),
    Change,
    undefined,
  ),
  drain: change(
    '/v1/nodes/{name}/drain',
    'takes a node out of service',
    BY_NAME,
    z.strictObject({ ...SAYS, force: flag }),
    Change,
    undefined,
  ),
  undrain: change(
    '/v1/nodes/{name}/undrain',
    'puts a node back into service',
    BY_NAME,
    z.strictObject(SAYS),
    Change,
    undefined,
  ),
  orderService: change(
    '/v1/nodes/{name}/service',
    `orders something of a service on a node: ${SERVICE_VERBS.join(', ')}`,
    BY_NAME,
    z.strictObject({ ...SAYS, service: z.string().max(64), verb: z.string().max(16) }),
    z.object({ node: text, number: z.number() }),
    undefined,
  ),
  orders: read(
    '/v1/nodes/{name}/orders',
    'what is ordered of a node',
    BY_NAME,
    NONE,
    z.looseObject({ node: text, orders: z.array(z.looseObject({ number: z.number() })) }),
  ),
  diff: read(
    '/v1/nodes/{name}/diff',
    'the live files that a node should have against those that it has',
    BY_NAME,
    NONE,
    z.looseObject({ node: text, isSame: z.boolean() }),
  ),
  machines: read(
    '/v1/machines',
    'machines that were heard or reported themselves',
    NONE,
    NONE,
    z.object({ machines: z.array(z.looseObject({ mac: text, macs: z.array(text), said: text })) }),
  ),
  imagesInUse: read(
    '/v1/images/inuse',
    'generations that nodes run, are loading or would go back to',
    NONE,
    NONE,
    z.object({ inUse: z.array(z.unknown()) }),
  ),
  plan: read(
    '/v1/plan',
    'what would change if these nodes booted now',
    NONE,
    z.strictObject({ nodes: z.string().max(1000).optional() }),
    z.looseObject({ nodes: z.array(z.looseObject({ node: text })), problems: z.array(text) }),
  ),
  profiles: read('/v1/profiles', 'every profile', NONE, NONE, z.object({ profiles: z.array(Profile) })),
  profile: read('/v1/profiles/{name}', 'a profile with where each value came from', BY_NAME, NONE, Profile),
  explain: read(
    '/v1/explain',
    'what a machine would boot, and why: a dry run of the functions that answer it',
    NONE,
    z.strictObject({ mac, arch: z.enum(ARCH_NAMES).default('bios') }),
    z.looseObject({
      mac: text,
      arch: text,
      boots: z.boolean(),
      why: text,
      steps: z.array(z.object({ title: text, answer: text, lines: z.array(text) })),
      values: Values,
    }),
  ),
  boots: read(
    '/v1/boots',
    'boots with their stages, the latest first',
    NONE,
    z.strictObject({ node: z.string().max(64).optional(), limit: number(1, 1000, 50) }),
    z.object({ boots: z.array(Attempt) }),
  ),
  boot: read('/v1/boots/{id}', 'one boot', z.strictObject({ id: name }), NONE, Attempt),
  leases: read('/v1/leases', 'every lease', NONE, NONE, z.object({ leases: z.array(Lease) })),
  releaseLease: change(
    '/v1/leases/{address}/release',
    'gives an address free',
    z.strictObject({ address }),
    z.strictObject(SAYS),
    Lease,
    undefined,
  ),
  pools: read('/v1/pools', 'every pool', NONE, NONE, z.object({ pools: z.array(Pool) })),
  pool: read('/v1/pools/{name}', 'a pool with its members', BY_NAME, NONE, Pool),
  vips: read(
    '/v1/vips',
    'every virtual address and who holds it; asks their wires by ARP, which takes a second',
    NONE,
    NONE,
    z.object({ vips: z.array(z.looseObject({ vip: text, holders: z.array(z.unknown()) })) }),
  ),
  copyStore: change(
    '/v1/store/copy',
    'copies the store to a file of its own, which whoever asks takes away',
    NONE,
    z.strictObject(SAYS),
    z.object({ file: text }),
    undefined,
  ),
  events: read('/v1/events', "the journal's events as they happen", NONE, NONE, 'events'),
} as const satisfies Record<string, Route>;

export type Routes = typeof ROUTES;
export type RouteName = keyof Routes;
/** What GET /v1/health answers. */
export type Health = z.output<Routes['health']['answer']>;

/** What a handler is given: checked, and as the table makes of it. */
export type Asked<Name extends RouteName> = {
  readonly params: z.output<Routes[Name]['params']>;
  readonly query: z.output<Routes[Name]['query']>;
  readonly body: Routes[Name]['body'] extends z.ZodType ? z.output<Routes[Name]['body']> : undefined;
  /** "root", "unknown (says: ann)": for the audit log; of routes that change something. */
  readonly who: string;
};
