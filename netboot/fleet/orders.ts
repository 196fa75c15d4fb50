// netboot/fleet/orders.ts - the orders of every boot: numbered, handed out until they are acknowledged.
//
// Owns: the table of verbs, numbering, which orders a node still has to carry out, what replaces what.
// Does not own: waiting for them (fleet.io.ts), their bodies on disk (store.worker.io.ts), why they are given.
//
// To add a verb: a row in VERBS, and a case in services/base/files/usr/lib/rouse/order. Source: ARCHITECTURE.md, "Node protocol". Pure.

import { unknownName } from '../../formats/nearest.ts';

/** Whether a newer order of the same verb makes an older one that was not acknowledged pointless. */
const VERBS = {
  files: { replaces: true },
  drain: { replaces: true },
  undrain: { replaces: true },
  service: { replaces: false },
  switch: { replaces: true },
  reboot: { replaces: true },
} as const satisfies Record<string, { readonly replaces: boolean }>;

export type Verb = keyof typeof VERBS;

export type OrderOutcome =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'done' | 'failed'; readonly atMs: number; readonly detail: string }
  /** A newer order says otherwise. */
  | { readonly kind: 'replaced' };

export type Order = {
  readonly bootId: string;
  /** From 1 on, by boot. */
  readonly number: number;
  readonly verb: Verb;
  readonly argument: string;
  readonly madeAtMs: number;
  readonly outcome: OrderOutcome;
};

/** What a node does with one of its services; services/base's `order` has a letter of svc(8) for each. */
export const SERVICE_VERBS = ['up', 'down', 'once', 'restart', 'reload', 'kill', 'pause', 'cont'] as const;

/** The argument of a `service` order; or why it is none. @param known the services that the node reports. */
export function serviceArgument(
  known: readonly string[],
  service: string,
  verb: string,
): { readonly ok: true; readonly argument: string } | { readonly ok: false; readonly why: string } {
  if (!known.includes(service)) return { ok: false, why: unknownName('service', service, known) };
  const isVerb = (SERVICE_VERBS as readonly string[]).includes(verb);
  return isVerb
    ? { ok: true, argument: `${service} ${verb}` }
    : { ok: false, why: unknownName('order', verb, SERVICE_VERBS) };
}

const KEPT_PER_BOOT = 200;

/** Orders in memory, filled from the store at start. */
export class OrderBook {
  readonly #byBoot = new Map<string, Order[]>();

  /** Puts an order in, or a new state of one that is in. */
  put(order: Order): void {
    const orders = this.#byBoot.get(order.bootId) ?? [];
    const next = [...orders.filter(({ number }) => number !== order.number), order];
    next.sort((a, b) => a.number - b.number);
    this.#byBoot.set(order.bootId, next.slice(-KEPT_PER_BOOT));
  }

  /** @returns the new order and those that it replaces; nothing is put in. Undrain answers drain, and the reverse. */
  made(bootId: string, verb: Verb, argument: string, madeAtMs: number): readonly Order[] {
    const orders = this.of(bootId);
    const number = (orders.at(-1)?.number ?? 0) + 1;
    const replaced: readonly Verb[] = verb === 'drain' || verb === 'undrain' ? ['drain', 'undrain'] : [verb];
    const old = orders
      .filter(
        ({ verb: other, outcome }) => outcome.kind === 'waiting' && VERBS[verb].replaces && replaced.includes(other),
      )
      .map((order): Order => ({ ...order, outcome: { kind: 'replaced' } }));
    return [...old, { bootId, number, verb, argument, madeAtMs, outcome: { kind: 'waiting' } }];
  }

  /** The order as acknowledged; undefined where there is none, or it was acknowledged before. */
  acknowledged(bootId: string, number: number, isDone: boolean, detail: string, atMs: number): Order | undefined {
    const order = this.of(bootId).find((one) => one.number === number);
    if (order === undefined || order.outcome.kind === 'done' || order.outcome.kind === 'failed') return undefined;
    return { ...order, outcome: { kind: isDone ? 'done' : 'failed', atMs, detail } };
  }

  of(bootId: string): readonly Order[] {
    return this.#byBoot.get(bootId) ?? [];
  }

  /** What a node that has carried out everything up to `after` has still to do. */
  waiting(bootId: string, after: number): readonly Order[] {
    return this.of(bootId).filter(({ number, outcome }) => number > after && outcome.kind === 'waiting');
  }

  /** Forgets the orders of all boots but these. */
  keepOnly(isKept: (bootId: string) => boolean): void {
    for (const bootId of this.#byBoot.keys()) if (!isKept(bootId)) this.#byBoot.delete(bootId);
  }
}

/** The body of GET …/orders. */
export function renderOrders(orders: readonly Order[]): string {
  return orders
    .map(({ number, verb, argument }) => `order ${number} ${verb}${argument === '' ? '' : ` ${argument}`}\n`)
    .join('');
}
