// netboot/api/dispatch.io.ts - from a request on netboot.sock to its handler: checked by the table, answered in JSON.
//
// Owns: reading path, query and body by the schemas of routes.ts, what a refusal looks like, the audit line of what was done.
// Does not own the handlers, who asks (identity.io.ts), the socket (api.io.ts).

import { type Context, Hono } from 'hono';
import type { z } from 'zod';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { audit } from '../site/write.io.ts';
import { type Asked, type Route, type RouteName, ROUTES, type Routes } from './routes.ts';

/** One for each route that answers JSON; what it returns is the body, what it throws a refusal. */
export type Handlers = {
  readonly [Name in Exclude<RouteName, 'events'>]: (asked: Asked<Name>) => object | Promise<object>;
};

/** A request that is understood and refused. */
export class Refusal extends Error {
  readonly status: 400 | 404 | 503;

  constructor(status: 400 | 404 | 503, why: string) {
    super(why);
    this.name = 'Refusal';
    this.status = status;
  }
}

export type DispatchFacts = {
  readonly handlers: Handlers;
  /** The stream of events. */
  readonly events: (c: Context) => Response | Promise<Response>;
  /** Who asks, by what the kernel says and by what he says himself. */
  readonly whoAsks: (proof: string | undefined, says: string | undefined) => Promise<string>;
  readonly libDir: string;
  readonly log: (line: string) => void;
};

type ChangingRoute = { [Name in RouteName]: Routes[Name]['changes'] extends true ? Name : never }[RouteName];

/** What was done, in the words of the audit log. */
type AuditEntry = { readonly what: string } & Readonly<Record<string, unknown>>;

/** What each route that changes something leaves in the audit log. */
const AUDITED: {
  readonly [Name in ChangingRoute]:
    | ((asked: Asked<Name>) => AuditEntry)
    /** The handler writes its own line, with the diff. */
    | 'own'
    /** Files that changed are audited when they come into force. */
    | 'nothing';
} = {
  reload: 'nothing',
  createNodes: 'own',
  setNodes: 'own',
  replaceNode: 'own',
  bootNode: ({ params, query: { once, now, cold } }) => ({
    what: `node boot${once === undefined ? '' : ` once as ${once}`}${now ? ' now' : ''}${cold ? ' cold' : ''}`,
    node: params.name,
  }),
  drain: ({ params }) => ({ what: 'node drain', node: params.name }),
  orderService: ({ params, query }) => ({ what: `node service ${query.service} ${query.verb}`, node: params.name }),
  undrain: ({ params }) => ({ what: 'node undrain', node: params.name }),
  releaseLease: ({ params }) => ({ what: 'lease release', address: params.address }),
  copyStore: () => ({ what: 'backup' }),
};

export function dispatch(facts: DispatchFacts): Hono {
  const api = new Hono();
  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
    const path = route.path.replace(/\{(\w+)\}/g, ':$1');
    api.on(route.method, path, (c) => (name === 'events' ? facts.events(c) : answer(facts, name, route, c)));
  }
  api.notFound((c) => c.json({ error: `there is no ${c.req.path} here` }, 404));
  api.onError((error, c) => {
    if (error instanceof Refusal) return c.json({ error: error.message }, error.status);
    if (error instanceof Fault) return c.json({ error: error.message }, statusOf(error));
    facts.log(`netboot.sock: ${c.req.method} ${c.req.path}: ${reasonOf(error)}`);
    return c.json({ error: reasonOf(error) }, 500);
  });
  return api;
}

async function answer(
  facts: DispatchFacts,
  name: Exclude<RouteName, 'events'>,
  route: Route,
  c: Context,
): Promise<Response> {
  const { params, query, body } = route;
  const asked: Asked<RouteName> = {
    params: checked(params, c.req.param(), '') as never,
    query: checked(query, queryOf(query, c), '') as never,
    body: (body === undefined ? undefined : checked(body, await c.req.json().catch(() => undefined), 'body')) as never,
    who: route.changes ? await facts.whoAsks(c.req.header('rouse-who'), c.req.query('who')) : '',
  };
  const handler: (one: never) => object | Promise<object> = facts.handlers[name];
  const result = await handler(asked as never);
  const audited = route.changes ? AUDITED[name as ChangingRoute] : 'nothing';
  if (typeof audited === 'function') {
    const entry = audited(asked as never);
    facts.log(`${asked.who}: ${Object.values(entry).join(' ')}`);
    await audit(facts.libDir, { who: asked.who, ...entry });
  }
  return c.json(result);
}

/** A key that the schema wants as a list may be given many times; of others the first counts. */
function queryOf(schema: Routes[RouteName]['query'] | z.ZodObject, c: Context): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [key, values] of Object.entries(c.req.queries())) {
    const shape = (schema.shape as Record<string, z.ZodType | undefined>)[key];
    found[key] = shape?.def.type === 'array' ? values : values[0];
  }
  return found;
}

/** @throws Refusal that names the key and what was expected. */
function checked(schema: z.ZodType, given: unknown, what: string): unknown {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [what, ...(issue?.path ?? []).map(String)].filter(Boolean).join('.');
  throw new Refusal(400, `${path === '' ? '' : `${path}: `}${issue?.message ?? 'expected something else'}`);
}

function statusOf(fault: Fault): 400 | 404 | 503 {
  if (fault.code === 'E_NOT_FOUND') return 404;
  return fault.code === 'E_STORE' ? 503 : 400;
}
