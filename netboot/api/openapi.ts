// netboot/api/openapi.ts - the routes of netboot.sock as an OpenAPI 3.1 document, for whoever writes a client.
//
// Owns: the document's form. Does not own any route (routes.ts). Source: OpenAPI Specification 3.1.0. Pure.

import { z } from 'zod';
import { type Route, ROUTES } from './routes.ts';

type Json = Record<string, unknown>;

/** @param version of rouse. */
export function openApi(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const [operationId, route] of Object.entries(ROUTES) as [string, Route][]) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(operationId, route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'rouse netboot',
      version,
      description: 'The management socket netboot.sock. An error is {"error": "sentence"}; its status is 4xx or 5xx.',
    },
    paths,
    components: { schemas: { Error: schemaOf(z.object({ error: z.string() }), 'output') } },
  };
}

function operation(operationId: string, { text, params, query, body, answer }: Route): Json {
  const error = {
    description: 'refused, with the reason',
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  };
  const content =
    answer === 'events'
      ? { 'text/event-stream': { schema: { type: 'string' } } }
      : { 'application/json': { schema: schemaOf(answer, 'output') } };
  return {
    operationId,
    summary: text,
    parameters: [...parametersOf(params, 'path'), ...parametersOf(query, 'query')],
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body, 'input') } } } }),
    responses: { 200: { description: text, content }, '4XX': error, '5XX': error },
  };
}

function parametersOf(object: z.ZodObject, place: 'path' | 'query'): Json[] {
  const { properties = {}, required = [] } = schemaOf(object, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema,
  }));
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
