// supervise/api.ts - supervise.sock: which request means what.
//
//   GET  /v1/services              all, sorted by name; with ?usage also CPU time and memory
//   GET  /v1/events                server-sent events: a service as it is after each change
//   GET  /metrics                  for Prometheus
//   GET  /v1/services/NAME         one; NAME is percent-encoded ("web%2Flog")
//   GET  /v1/services/NAME/history what is remembered of it, oldest first
//   POST /v1/services/NAME/apply   restart it if its files were edited since its start; `applied` says whether;
//                                  409 where it would not start: it is left running
//   POST /v1/services/NAME/ORDER   an order of control.ts; answered with the service as it is right after
//
// Owns: routes and answers' shapes. Does not own: the listener (server.io.ts), the services. Errors are
// `{"error": "sentence"}` with 404, 405, 409 or 400. Pure.

import { isOrder, ORDER_NAMES } from './control.ts';
import type { Order } from './control.ts';

/** What `apply` found edited since the start: what a start reads, whether there is a log/, the log's script alone, or nothing. */
export type Applied = 'restarted' | 'logged' | 'log' | 'unchanged';

export type ApplyAnswer =
  | { readonly kind: 'applied'; readonly applied: Applied }
  /** What a start would read is wrong: nothing was done. */
  | { readonly kind: 'refused'; readonly why: string };

export type ApiRequest =
  | { readonly kind: 'list'; readonly usage: boolean }
  | { readonly kind: 'metrics' }
  | { readonly kind: 'events' }
  | { readonly kind: 'show' | 'history' | 'apply'; readonly name: string }
  | { readonly kind: 'order'; readonly name: string; readonly order: Order }
  | { readonly kind: 'refuse'; readonly status: 400 | 404 | 405; readonly error: string };

/** What a request line asks for. Never throws. */
export function route(method: string, url: string): ApiRequest {
  const [, version, collection, rawName, verb, ...rest] = (url.split('?')[0] ?? '').split('/');
  const path = url.split('?')[0];
  if (path === '/metrics' || path === '/v1/events') {
    if (method !== 'GET') return { kind: 'refuse', status: 405, error: `GET reads ${path}` };
    return { kind: path === '/metrics' ? 'metrics' : 'events' };
  }
  if (version !== 'v1' || collection !== 'services' || rest.length > 0) {
    return { kind: 'refuse', status: 404, error: `no such path; there is /v1/services` };
  }
  if (rawName === undefined || rawName === '') {
    return method === 'GET'
      ? { kind: 'list', usage: /[?&]usage(=|&|$)/.test(url) }
      : { kind: 'refuse', status: 405, error: 'GET lists the services' };
  }
  const name = decode(rawName);
  if (name === undefined) return { kind: 'refuse', status: 400, error: 'the name is not percent-encoded UTF-8' };
  if (verb === undefined) {
    return method === 'GET' ? { kind: 'show', name } : { kind: 'refuse', status: 405, error: 'GET shows a service' };
  }
  if (verb === 'history') {
    return method === 'GET'
      ? { kind: 'history', name }
      : { kind: 'refuse', status: 405, error: 'GET shows the history' };
  }
  if (method !== 'POST') return { kind: 'refuse', status: 405, error: 'orders are given with POST' };
  if (verb === 'apply') return { kind: 'apply', name };
  if (!isOrder(verb)) {
    return { kind: 'refuse', status: 404, error: `unknown order '${verb}'; there are ${ORDER_NAMES.join(', ')}` };
  }
  return { kind: 'order', name, order: verb };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** The path of a request, for the client. */
export function pathOf(name?: string, order?: Order | 'history' | 'apply'): string {
  const base = name === undefined ? '/v1/services' : `/v1/services/${encodeURIComponent(name)}`;
  return order === undefined ? base : `${base}/${order}`;
}
