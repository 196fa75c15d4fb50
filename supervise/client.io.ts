// supervise/client.io.ts - asking a running `rouse supervise` over supervise.sock.
//
// Owns: the requests and what their failures mean to people. Does not own: routes (api.ts), the table (view.ts).

import { request } from 'node:http';
import { Fault, reasonOf } from '../formats/errors.ts';
import { pathOf } from './api.ts';
import type { Applied } from './api.ts';
import { isReached } from './control.ts';
import type { Order } from './control.ts';
import { errorCode } from './directory.io.ts';
import type { HistoryEntry } from './history.ts';
import type { ServiceList, ServiceView } from './view.ts';

const ANSWER_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

/** All services, sorted by name. @param usage with CPU time and memory. @throws Fault E_UNREACHABLE. */
export async function listServices(socketPath: string, usage = false): Promise<readonly ServiceView[]> {
  const { services } = (await ask(socketPath, 'GET', usage ? `${pathOf()}?usage` : pathOf())) as ServiceList;
  return services;
}

/** One service. @throws Fault E_UNREACHABLE, E_NOT_FOUND. */
async function showService(socketPath: string, name: string): Promise<ServiceView> {
  return (await ask(socketPath, 'GET', pathOf(name))) as ServiceView;
}

/** What is remembered of a service, oldest first. @throws Fault E_UNREACHABLE, E_NOT_FOUND. */
export async function serviceHistory(socketPath: string, name: string): Promise<readonly HistoryEntry[]> {
  const { entries } = (await ask(socketPath, 'GET', pathOf(name, 'history'))) as { entries: HistoryEntry[] };
  return entries;
}

/** Gives an order. @returns the service right after. @throws Fault E_UNREACHABLE, E_NOT_FOUND. */
export async function orderService(socketPath: string, name: string, order: Order): Promise<ServiceView> {
  return (await ask(socketPath, 'POST', pathOf(name, order))) as ServiceView;
}

/**
 * Restarts a service if its files were edited since its start. @returns whether. @throws Fault as orderService, and E_NO
 * where it would not start and is left running.
 */
export async function applyService(socketPath: string, name: string): Promise<Applied> {
  const { applied } = (await ask(socketPath, 'POST', pathOf(name, 'apply'))) as { applied: Applied };
  return applied;
}

/** Waits until what was ordered is so. @param pidBefore as it was before the order. @throws Fault E_TIMEOUT. */
export async function waitFor(
  socketPath: string,
  name: string,
  order: Order,
  pidBefore: number,
  timeoutMs: number,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const view = await showService(socketPath, name);
    if (view.phase !== 'blocked' && isReached(order, { ...view, phase: view.phase }, pidBefore)) return;
    if (performance.now() >= endMs) {
      throw new Fault('E_TIMEOUT', {
        what: `${name}: ${order} was not done after ${timeoutMs / 1000} s`,
        why: view.why ?? `it is ${view.phase}${view.phase === 'up' && !view.ready ? ' and not ready' : ''}`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function refusalOf(statusCode: number | undefined, error: string): Fault {
  return statusCode === 409
    ? new Fault('E_NO', { what: error, todo: 'it runs on as it was; mend that and apply again' })
    : new Fault('E_NOT_FOUND', { what: error });
}

function ask(socketPath: string, method: 'GET' | 'POST', path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const unreachable = (why: string): void => {
      reject(
        new Fault('E_UNREACHABLE', {
          what: `rouse supervise does not answer on ${socketPath}`,
          why,
          todo: 'start it with: rouse supervise',
        }),
      );
    };
    const asking = request({ socketPath, method, path, timeout: ANSWER_TIMEOUT_MS, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        let body: unknown;
        try {
          body = JSON.parse(Buffer.concat(chunks).toString());
        } catch (thrown) {
          unreachable(`it answers something that is not JSON (${reasonOf(thrown)})`);
          return;
        }
        if (response.statusCode === 200) resolve(body);
        else reject(refusalOf(response.statusCode, (body as { error: string }).error));
      });
    });
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)));
    asking.on('error', (error) => {
      const code = errorCode(error);
      if (code === 'ENOENT') unreachable('it is not running (no such socket)');
      else if (code === 'ECONNREFUSED') unreachable('it is not running (the socket is left over)');
      else if (code === 'EACCES') unreachable('this user may not use the socket; try as root');
      else unreachable(error.message);
    });
    asking.end();
  });
}
