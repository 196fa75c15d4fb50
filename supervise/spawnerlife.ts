// supervise/spawnerlife.ts - the spawner's life: when one is started, asked, killed, replaced and given up, in one table.
//
// Owns: those rules, who starts a process meanwhile, and the row that tells of it.
// Does not own: the words between us and it (spawner.ts), processes and clocks (spawner.io.ts).
//
// The rules that shape the table:
// - One that was ready and is gone or silent is replaced at once; one that died young, after a second.
// - One that never was ready is tried again after pauses that grow; after TRIES_MAX of them in a row none is started any more.
// - No perl at all (a small image has none) ends it at once, and is no fault. That the kernel gives us no process is not counted.
// - From the first failure until one is ready Node starts the processes: no service waits for a perl that may never come.
//
// To change what an event does in a phase, edit that one cell. Pure.

const MIN_LIFE_MS = 1000;
const PAUSE_MS = 1000;
const PAUSE_MAX_MS = 60_000;
/** With the pauses between them: 4 minutes for those that end at once, 9 for those that hang. */
export const TRIES_MAX = 10;
/** How often it is asked whether it is there. */
export const ASK_EVERY_MS = 2500;
/** How often in vain before it counts as hanging: after 5 s; before it was ready 30 s, perl is slow where all is short. */
const ASKS_MAX = { beginning: 12, ready: 2 } as const;
/** A process that is not at its gate by then hangs in the kernel. */
export const START_WITHIN_MS = 20_000;

export type Phase = 'none' | 'beginning' | 'ready' | 'pausing' | 'givenUp';

export type Life = {
  readonly phase: Phase;
  /** Monotonic: when the process was started, and when it was ready. */
  readonly startedMs: number;
  readonly readyMs: number;
  /** Questions asked since it last said anything. */
  readonly unanswered: number;
  readonly starts: number;
  /** Tries in a row that never were ready. */
  readonly failures: number;
  /** How the last of them ended. */
  readonly why: string | undefined;
  /** How many were killed because they did not answer. */
  readonly killed: number;
  /** Wall clock of the last change worth telling, milliseconds since 1970. */
  readonly changedAtMs: number;
};

export type Moment = { readonly monotonicMs: number; readonly unixMs: number };

export type Event =
  /** Something is to be started or watched. */
  | { readonly kind: 'needed' }
  | { readonly kind: 'ready' }
  /** It said something, whatever it was. */
  | { readonly kind: 'said' }
  /** Time to ask whether it is there. */
  | { readonly kind: 'ask'; readonly pid: number }
  /** The process ended: "exited 2", "killed by SIGKILL". */
  | { readonly kind: 'gone'; readonly how: string }
  /** There is no perl. */
  | { readonly kind: 'missing' }
  /** The kernel gave us no process: out of memory, of descriptors, of processes. */
  | { readonly kind: 'refused'; readonly why: string }
  /** The pause is over. */
  | { readonly kind: 'retry' };

export type Effect =
  | { readonly kind: 'run' | 'ping' | 'kill' }
  /** Forget the process: what it was asked for and has not answered is to be started anew. */
  | { readonly kind: 'letGo' }
  | { readonly kind: 'pause'; readonly forMs: number }
  /** Look for deaths in /proc, or no longer. */
  | { readonly kind: 'look' | 'lookNoMore' }
  | { readonly kind: 'tell'; readonly line: string };

export type Outcome = readonly [Life, readonly Effect[]];
type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;
type Cell<K extends Event['kind']> = (life: Life, event: EventOf<K>, moment: Moment) => Outcome;
type Row = { readonly [K in Event['kind']]: Cell<K> };

/** @param isKnown whether the spawner runs on this machine (programWords of spawner.ts). */
export function newLife(isKnown: boolean): Life {
  return {
    phase: isKnown ? 'none' : 'givenUp',
    startedMs: 0,
    readyMs: 0,
    unanswered: 0,
    starts: 0,
    failures: 0,
    why: undefined,
    killed: 0,
    changedAtMs: 0,
  };
}

/** What an event makes of it; the same object and no effects where it means nothing in the phase. */
export function transition(life: Life, event: Event, moment: Moment): Outcome {
  const cell = TABLE[life.phase][event.kind] as Cell<Event['kind']>;
  return cell(life, event, moment);
}

/** Whether Node starts processes itself, and looks for the deaths of those that it did not start. */
export function isByNode({ phase, failures }: Life): boolean {
  return phase === 'pausing' || phase === 'givenUp' || (phase === 'beginning' && failures > 0);
}

/** Whether a start has hung for too long: counted from when the spawner could begin with it. @param askedMs monotonic. */
export function isLate({ phase, readyMs }: Life, askedMs: number, monotonicMs: number): boolean {
  return phase === 'ready' && monotonicMs - Math.max(askedMs, readyMs) > START_WITHIN_MS;
}

export type SpawnerRow = {
  readonly phase: 'up' | 'waiting' | 'blocked';
  readonly ready: boolean;
  readonly starts: number;
  readonly why: string;
  readonly changedAtMs: number;
};

/** What there is to tell of it in a listing; undefined where all is well, or there is no perl. */
export function rowOf({ phase, starts, failures, killed, why = '', changedAtMs }: Life): SpawnerRow | undefined {
  if (failures === 0 && (killed === 0 || phase === 'givenUp')) return undefined;
  const shown = { ready: phase === 'ready', starts, changedAtMs };
  if (phase === 'givenUp') {
    return { ...shown, phase: 'blocked', why: `given up after ${failures} tries: ${why}; ${SLOWER}. ${REMEDY}` };
  }
  return {
    ...shown,
    phase: phase === 'pausing' || phase === 'none' ? 'waiting' : 'up',
    why: failures > 0 ? `${why}; ${SLOWER} until one is ready` : 'the one before did not answer and was killed',
  };
}

const SLOWER = 'starts take longer, and deaths of adopted services are seen after up to a second';
const REMEDY = 'Run perl -e 1 to see what is wrong with it, then restart the supervisor';

const ignore = (life: Life): Outcome => [life, []];

function begin(life: Life, _event: unknown, { monotonicMs }: Moment): Outcome {
  const begun: Life = { ...life, phase: 'beginning', startedMs: monotonicMs, unanswered: 0, starts: life.starts + 1 };
  return [begun, [{ kind: 'run' }]];
}

function pause(life: Life, forMs: number, line: string): Outcome {
  return [
    { ...life, phase: 'pausing' },
    [{ kind: 'letGo' }, { kind: 'tell', line }, { kind: 'look' }, { kind: 'pause', forMs }],
  ];
}

function giveUp(life: Life, line: string): Outcome {
  return [{ ...life, phase: 'givenUp' }, [{ kind: 'letGo' }, { kind: 'tell', line }, { kind: 'look' }]];
}

/** It was never ready. */
function failed(life: Life, why: string, { unixMs }: Moment): Outcome {
  const after: Life = { ...life, failures: life.failures + 1, why, changedAtMs: unixMs };
  if (after.failures >= TRIES_MAX) {
    return giveUp(after, `the spawner is given up after ${after.failures} tries: ${why}; ${SLOWER}. ${REMEDY}`);
  }
  const forMs = Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** (after.failures - 1));
  return pause(after, forMs, `no spawner: ${why}; tried again in ${forMs / 1000} s, until then ${SLOWER}`);
}

/** It was ready. */
function lost(life: Life, moment: Moment): Outcome {
  const line = 'the spawner is gone; another takes its place';
  if (moment.monotonicMs - life.startedMs < MIN_LIFE_MS) return pause(life, PAUSE_MS, line);
  const [begun, effects] = begin(life, undefined, moment);
  return [begun, [{ kind: 'letGo' }, { kind: 'tell', line }, ...effects]];
}

function ask(life: Life, { pid }: EventOf<'ask'>, moment: Moment): Outcome {
  const asksMax = life.phase === 'ready' ? ASKS_MAX.ready : ASKS_MAX.beginning;
  if (life.unanswered < asksMax) return [{ ...life, unanswered: life.unanswered + 1 }, [{ kind: 'ping' }]];
  const killed: Life = { ...life, killed: life.killed + 1, changedAtMs: moment.unixMs };
  const [after, effects] =
    life.phase === 'ready'
      ? lost(killed, moment)
      : failed(killed, `perl was not ready after ${(asksMax * ASK_EVERY_MS) / 1000} s`, moment);
  const line = `the spawner does not answer (pid ${pid}): it is killed`;
  return [after, [{ kind: 'tell', line }, { kind: 'kill' }, ...effects]];
}

const said = (life: Life): Outcome => (life.unanswered === 0 ? ignore(life) : [{ ...life, unanswered: 0 }, []]);

const WITHOUT_PROCESS = {
  needed: ignore,
  ready: ignore,
  said: ignore,
  ask: ignore,
  gone: ignore,
  missing: ignore,
  refused: ignore,
  retry: ignore,
} as const;

/** Phase by event; total, so that a new phase or event does not compile until every cell is decided. */
export const TABLE: { readonly [P in Phase]: Row } = {
  none: { ...WITHOUT_PROCESS, needed: begin },

  beginning: {
    needed: ignore,
    ready: (life, _event, { monotonicMs }) => [
      { ...life, phase: 'ready', readyMs: monotonicMs, unanswered: 0, failures: 0, why: undefined },
      [{ kind: 'lookNoMore' }],
    ],
    said,
    ask,
    gone: (life, { how }, moment) => failed(life, `perl ended before it was ready (${how})`, moment),
    missing: (life) => giveUp({ ...life, failures: 0 }, `perl is missing: ${SLOWER}`),
    refused: (life, { why }) => pause(life, PAUSE_MS, `no spawner: ${why}; tried again each second`),
    retry: ignore,
  },

  ready: {
    needed: ignore,
    ready: ignore,
    said,
    ask,
    gone: (life, _event, moment) => lost(life, moment),
    missing: ignore,
    refused: ignore,
    retry: ignore,
  },

  pausing: { ...WITHOUT_PROCESS, retry: begin },

  givenUp: WITHOUT_PROCESS,
};
