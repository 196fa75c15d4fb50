// The table of routes: it says what OpenAPI and validation need, and the document is one that a client can be made from.

import { expect, test } from 'vitest';
import { openApi } from '../../../netboot/api/openapi.ts';
import { type Route, ROUTES } from '../../../netboot/api/routes.ts';

const rows = Object.entries(ROUTES) as [string, Route][];

test.each(rows)('%s: its path names its parameters, and no two routes are one', (name, route) => {
  const named = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
  expect(named).toEqual(Object.keys(route.params.shape));
  const same = rows.filter(([, other]) => other.method === route.method && other.path === route.path);
  expect(same.map(([other]) => other)).toEqual([name]);
  expect(route.changes).toBe(route.method === 'POST');
});

type Operation = {
  operationId: string;
  parameters: {
    name: string;
    in: string;
    required: boolean;
    schema: { type?: string; enum?: string[]; items?: object };
  }[];
  requestBody?: { content: { 'application/json': { schema: { required: string[] } } } };
  responses: Record<string, { content: Record<string, { schema: object }> }>;
};
const document = openApi('1.2.3') as {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
};

test('the OpenAPI document holds every route with its parameters, body and answer', () => {
  expect(document).toMatchObject({ openapi: '3.1.0', info: { version: '1.2.3' } });
  for (const [name, route] of rows) {
    const operation = document.paths[route.path]?.[route.method.toLowerCase()];
    expect(operation?.operationId).toBe(name);
    const parameters = [...Object.keys(route.params.shape), ...Object.keys(route.query.shape)];
    expect(operation?.parameters.map((one) => one.name)).toEqual(parameters);
    expect(operation?.requestBody === undefined).toBe(route.body === undefined);
    const [kind] = Object.keys(operation?.responses['200']?.content ?? {});
    expect(kind).toBe(route.answer === 'events' ? 'text/event-stream' : 'application/json');
  }
  expect(JSON.parse(JSON.stringify(document))).toEqual(document);
});

test('what a client must know of a parameter is in it', () => {
  const explain = document.paths['/v1/explain']?.['get']?.parameters;
  expect(explain?.find(({ name }) => name === 'mac')).toMatchObject({
    in: 'query',
    required: true,
    schema: { type: 'string' },
  });
  expect(explain?.find(({ name }) => name === 'arch')).toMatchObject({
    required: false,
    schema: { enum: expect.arrayContaining(['bios']) as string[] },
  });
  const set = document.paths['/v1/nodes/{range}/set']?.['post']?.parameters;
  expect(set?.find(({ name }) => name === 'set')).toMatchObject({ required: true, schema: { type: 'array' } });
  expect(set?.find(({ name }) => name === 'dry')).toMatchObject({ required: false, schema: { enum: ['0', '1'] } });
  const body = document.paths['/v1/nodes']?.['post']?.requestBody;
  expect(body?.content['application/json'].schema.required).toEqual(['what', 'nodes']);
});

test('only what can be refused for what is lost is asked with force', () => {
  const forced = rows.filter(([, { query }]) => 'force' in query.shape).map(([name]) => name);
  expect(forced).toEqual(['bootNode', 'drain']);
});
