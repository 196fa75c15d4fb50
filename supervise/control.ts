// supervise/control.ts - every order that a service takes: control letter, verb of the socket and the command line, event.
//
// Owns: one table. The control FIFO, supervise.sock and `rouse up|down|…` all read it.
// Does not own: what an order does (machine.ts).
//
// To add an order, add a row. Letters are daemontools' and runit's, which do not conflict; encore's and s6's further
// letters do (l, L, +, =) and are not taken. Sources: daemontools 0.76 supervise.c and svc.c, runit runsv(8). Pure.

import type { Event, Service, SignalName } from './service.ts';

type OrderRow = {
  /** Byte on the control FIFO; svc's option is the same letter (q, 1, 2, w are runit's and encore's). */
  readonly letter: string | undefined;
  readonly event: Event;
  /** For --help: what it does, without a full stop. */
  readonly help: string;
};

const signal = (name: SignalName): Event => ({ kind: 'signal', signal: name });

export const ORDERS = {
  up: { letter: 'u', event: { kind: 'up' }, help: 'start it, and again whenever it ends' },
  down: { letter: 'd', event: { kind: 'down' }, help: 'stop it with TERM and CONT, and leave it stopped' },
  once: { letter: 'o', event: { kind: 'once' }, help: 'start it, and leave it stopped when it ends' },
  exit: { letter: 'x', event: { kind: 'exit' }, help: 'let go of the directory as soon as it is down' },
  restart: { letter: undefined, event: { kind: 'restart' }, help: 'stop it with TERM and CONT, then start it again' },
  reload: {
    letter: undefined,
    event: { kind: 'reload' },
    help: 'send the reload signal: HUP, or what reload-signal says',
  },
  pause: { letter: 'p', event: { kind: 'pause' }, help: 'send STOP' },
  cont: { letter: 'c', event: { kind: 'continue' }, help: 'send CONT' },
  term: { letter: 't', event: signal('SIGTERM'), help: 'send TERM' },
  hup: { letter: 'h', event: signal('SIGHUP'), help: 'send HUP' },
  alrm: { letter: 'a', event: signal('SIGALRM'), help: 'send ALRM' },
  int: { letter: 'i', event: signal('SIGINT'), help: 'send INT' },
  kill: { letter: 'k', event: signal('SIGKILL'), help: 'send KILL' },
  quit: { letter: 'q', event: signal('SIGQUIT'), help: 'send QUIT' },
  usr1: { letter: '1', event: signal('SIGUSR1'), help: 'send USR1' },
  usr2: { letter: '2', event: signal('SIGUSR2'), help: 'send USR2' },
  winch: { letter: 'w', event: signal('SIGWINCH'), help: 'send WINCH' },
} as const satisfies Record<string, OrderRow>;

export type Order = keyof typeof ORDERS;

export const ORDER_NAMES = Object.keys(ORDERS) as readonly Order[];

const BY_BYTE: ReadonlyMap<number, Event> = new Map(
  Object.values(ORDERS).flatMap(({ letter, event }) =>
    letter === undefined ? [] : [[letter.charCodeAt(0), event] as const],
  ),
);

/**
 * The events of what was read from a control FIFO at once, in order; bytes that are no order are skipped, as 0.76 does.
 *
 * Each letter counts once, where it stands last: a service ends as it would after all of them, as the last of u, d, o, the
 * last of p, c decide, and the kernel delivers a signal that is sent again before it was taken once. So a flood of any
 * length is no more work than there are letters.
 */
export function eventsOfControl(octets: Uint8Array): Event[] {
  const last = new Map<number, number>();
  for (const [at, octet] of octets.entries()) if (BY_BYTE.has(octet)) last.set(octet, at);
  return [...last].sort(([, one], [, other]) => one - other).flatMap(([octet]) => BY_BYTE.get(octet) ?? []);
}

export function isOrder(word: string): word is Order {
  return Object.hasOwn(ORDERS, word);
}

/** Order that sends a signal: "HUP", "SIGHUP", "hup"; STOP and CONT are pause and cont. */
export function orderOfSignal(word: string): Order | undefined {
  const name = word.toLowerCase().replace(/^sig/, '');
  if (name === 'stop') return 'pause';
  if (name === 'cont') return 'cont';
  return isOrder(name) && ORDERS[name].event.kind === 'signal' ? name : undefined;
}

/** What --wait waits for after an order. */
export type WaitFacts = Pick<Service, 'phase' | 'pid' | 'ready'>;

/**
 * Whether what the order asked for is so.
 *
 * @param pidBefore pid before the order was given: a restart is over when another process is ready.
 */
export function isReached(order: Order, now: WaitFacts, pidBefore: number): boolean {
  switch (order) {
    case 'up':
      return now.phase === 'up' && now.ready;
    case 'once':
      return now.phase === 'up' || now.phase === 'down';
    case 'restart':
      return now.phase === 'up' && now.ready && now.pid !== pidBefore;
    case 'down':
    case 'exit':
      return now.phase === 'down' || now.phase === 'closed';
    case 'kill':
    case 'term':
      return now.pid !== pidBefore;
    case 'reload':
    case 'pause':
    case 'cont':
    case 'hup':
    case 'alrm':
    case 'int':
    case 'quit':
    case 'usr1':
    case 'usr2':
    case 'winch':
      return true;
  }
}
