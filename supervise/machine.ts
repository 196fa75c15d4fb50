// supervise/machine.ts - one service's life: what each event does in each phase, in one table.
//
// Owns: every rule of starting, stopping, restarting, pacing and readiness.
// Does not own: the vocabulary (service.ts), processes and clocks (unit.io.ts), which directories exist (scan.ts).
//
// The rules that shape the table:
// - A start is asked for only in phases without a process; `starting` is left only by the start's own answer.
//   So there are never two living processes of one service, whatever the order of events.
// - Starts are at least MIN_START_GAP_MS apart on the monotonic clock (supervise 0.76 sleeps; here nothing blocks).
// - `down` and `restart` send the down signal, then CONT (a stopped process cannot act on TERM).
// - After a death: the rest of its process group is ended, then ./finish runs, then `settle` decides what is next.
//
// To change what an event does in a phase, edit that one cell. Sources: daemontools 0.76 supervise.c, runit runsv(8),
// s6 servicedir (finish, timeout-kill, 125), ours: the whole group is ended before a restart (0.76 leaves it). Pure.

import { DEFAULT_SETTINGS } from './service.ts';
import type { Backoff, Death, Effect, Event, EventOf, Moment, Phase, Service, Want } from './service.ts';

export const MIN_START_GAP_MS = 1000;
/** A service without notification-fd and check counts as ready after having run this long. */
const READY_AFTER_MS = 1000;
const CHECK_EVERY_MS = 1000;
/** Without timeout-kill; one that hangs may hang in its handler of TERM, too. */
const UNHEALTHY_KILL_AFTER_MS = 10_000;
/** The record, of one page, keeps it; a reason may hold a URL or a host name out of a file. */
const TROUBLE_CHARACTERS_MAX = 300;
/** How often the rest of a process group is looked at while it is being ended. */
const SWEEP_EVERY_MS = 50;
/** From the death: TERM at once, KILL after this, and no longer waited for after the second figure. */
const SWEEP_KILL_AFTER_MS = 1000;
const SWEEP_GIVE_UP_AFTER_MS = 5000;
/** s6: ./finish that exits with this means "do not restart". */
const FINISH_PERMANENT_FAILURE = 125;

export type Outcome = readonly [Service, readonly Effect[]];
type Cell<K extends Event['kind']> = (service: Service, event: EventOf<K>, moment: Moment) => Outcome;
type Row = { readonly [K in Event['kind']]: Cell<K> };

/** A service that nobody has looked at yet; feed it `begin` or `adopt` next. */
export function newService(want: Want, moment: Moment): Service {
  return {
    phase: 'down',
    want,
    exiting: false,
    pid: 0,
    groupId: 0,
    paused: false,
    gotTerm: false,
    ready: false,
    adopted: false,
    traced: false,
    logged: undefined,
    edition: '',
    failures: 0,
    changedAt: moment.wall,
    startedMs: undefined,
    notBeforeMs: 0,
    shortRuns: 0,
    starts: 0,
    lastDeath: undefined,
    trouble: undefined,
    missing: [],
    deadlines: {},
    settings: DEFAULT_SETTINGS,
  };
}

/**
 * What an event makes of a service.
 *
 * @returns the service as it is now, and what has to be done, in order. An event without meaning in the phase returns
 *   the same object and no effects, so that `result === service` says "nothing happened".
 */
export function transition(service: Service, event: Event, moment: Moment): Outcome {
  const cell = TABLE[service.phase][event.kind] as Cell<Event['kind']>;
  return cell(service, event, moment);
}

/** The earliest moment at which the service wants a tick; undefined for none. */
export function nextDeadlineMs({ deadlines }: Service): number | undefined {
  const all = Object.values(deadlines);
  return all.length === 0 ? undefined : Math.min(...all);
}

const ANNOUNCE: Effect = { kind: 'announce' };

const ignore = (service: Service): Outcome => [service, []];

/** Starts if that is allowed now, else waits for the clock or for dependencies. */
function startOrWait(service: Service, moment: Moment): Outcome {
  if (service.missing.length > 0) {
    const trouble = `waits for ${service.missing.join(', ')}`;
    return [{ ...service, phase: 'waiting', deadlines: {}, trouble }, [ANNOUNCE]];
  }
  if (moment.monotonicMs < service.notBeforeMs) {
    return [{ ...service, phase: 'waiting', deadlines: { startMs: service.notBeforeMs } }, [ANNOUNCE]];
  }
  return [{ ...service, phase: 'starting', deadlines: {} }, [{ kind: 'start' }]];
}

/** Nothing runs any more: closed, started again or left down. */
function settle(service: Service, moment: Moment): Outcome {
  if (service.exiting) return close(service);
  if (service.want === 'up') return startOrWait(service, moment);
  return [{ ...service, phase: 'down', deadlines: {} }, [ANNOUNCE]];
}

function close(service: Service): Outcome {
  return [{ ...service, phase: 'closed', exiting: true, deadlines: {} }, [ANNOUNCE, { kind: 'close' }]];
}

const wanting =
  (want: Want) =>
  (service: Service): Outcome => [{ ...service, want, trouble: undefined }, [ANNOUNCE]];

const wantingStart =
  (want: Want) =>
  (service: Service, _event: Event, moment: Moment): Outcome =>
    startOrWait({ ...service, want, trouble: undefined }, moment);

/** The down signal and CONT, and from then on the kill timer. */
function stop(service: Service, want: Want, moment: Moment): Outcome {
  const { downSignal, timeoutKillMs } = service.settings;
  const killMs = service.deadlines.killMs ?? moment.monotonicMs + timeoutKillMs;
  const deadlines = timeoutKillMs === 0 ? service.deadlines : { ...service.deadlines, killMs };
  return [
    { ...service, want, paused: false, gotTerm: true, ready: false, deadlines },
    [{ kind: 'signal', signal: downSignal }, { kind: 'signal', signal: 'SIGCONT' }, ANNOUNCE],
  ];
}

/** How long after a death the next start has to wait beyond the gap between starts; and the new count of short runs. */
function pace(service: Service, moment: Moment): { notBeforeMs: number; shortRuns: number } {
  const startedMs = service.startedMs ?? moment.monotonicMs;
  const gapEndMs = startedMs + MIN_START_GAP_MS;
  const { backoff } = service.settings;
  if (backoff === undefined) return { notBeforeMs: gapEndMs, shortRuns: 0 };
  const shortRuns = moment.monotonicMs - startedMs >= backoff.resetMs ? 1 : service.shortRuns + 1;
  const delayMs = backoffDelayMs(backoff, shortRuns, moment.random);
  return { notBeforeMs: Math.max(gapEndMs, moment.monotonicMs + delayMs), shortRuns };
}

/** @param shortRuns 1 for the first. @param random in [0, 1). */
export function backoffDelayMs(backoff: Backoff, shortRuns: number, random: number): number {
  const fullMs = Math.min(backoff.capMs, backoff.initialMs * 2 ** Math.min(shortRuns - 1, 40));
  return fullMs * (1 - backoff.jitter * random);
}

/** When readiness is looked at for the first time: at once for a check, after a second without one. */
function firstReadyLook(service: Service, moment: Moment): { readyMs?: number } {
  const { notificationFd, hasCheck } = service.settings;
  if (notificationFd !== undefined) return {};
  return { readyMs: moment.monotonicMs + (hasCheck ? 0 : READY_AFTER_MS) };
}

function becomeReady(service: Service, moment: Moment): Outcome {
  const { readyMs: _, ...deadlines } = service.deadlines;
  return [
    { ...service, ready: true, failures: 0, deadlines: { ...deadlines, ...nextProbe(service, moment) } },
    [ANNOUNCE],
  ];
}

function nextProbe({ settings: { health } }: Service, moment: Moment): { healthMs?: number } {
  return health === undefined ? {} : { healthMs: moment.monotonicMs + health.intervalMs };
}

/** A failure too many restarts the service; one that does not listen to TERM then is killed in any case. */
function probed(service: Service, { pid, why }: EventOf<'probed'>, moment: Moment): Outcome {
  const { health } = service.settings;
  if (pid !== service.pid || !service.ready || health === undefined) return ignore(service);
  const failures = why === undefined ? 0 : service.failures + 1;
  const after: Service = { ...service, failures, deadlines: { ...service.deadlines, ...nextProbe(service, moment) } };
  if (why === undefined || failures < health.threshold) return [after, []];
  const [stopped, effects] = stop({ ...after, deadlines: service.deadlines }, service.want, moment);
  const killMs = stopped.deadlines.killMs ?? moment.monotonicMs + UNHEALTHY_KILL_AFTER_MS;
  const trouble = `health check failed ${failures} times: ${why}`.slice(0, TROUBLE_CHARACTERS_MAX);
  return [{ ...stopped, trouble, deadlines: { ...stopped.deadlines, killMs } }, effects];
}

function died(service: Service, event: EventOf<'died'>, moment: Moment): Outcome {
  if (event.pid !== service.pid) return ignore(service);
  if (isHandOver(service, event.death)) {
    return [{ ...service, phase: 'tracing', lastDeath: event.death, deadlines: {} }, [{ kind: 'trace' }]];
  }
  // While it lives nothing but its health is held against it. A death that is taken up again (record.ts) knows it already.
  return bury(service, { ...event.death, why: service.trouble ?? event.death.why }, moment);
}

/**
 * fghack: a process that ends by itself before it is the service hands over to the one it has started. So does one that
 * seemed to be the service and exits 0 (a daemon slow to fork for the second time, nginx upgraded in place); where nobody is
 * left it has died. An exit code that the kernel did not tell counts as another.
 */
function isHandOver(service: Service, { signal, exitCode }: Death): boolean {
  const isItself = service.traced && service.ready && exitCode !== 0;
  return service.settings.fghack && !service.gotTerm && signal === undefined && !isItself;
}

function traced(service: Service, { pid }: EventOf<'traced'>, moment: Moment): Outcome {
  if (pid !== 0) {
    const up: Service = {
      ...service,
      phase: 'up',
      pid,
      traced: true,
      adopted: true,
      ready: false,
      changedAt: moment.wall,
    };
    return [{ ...up, deadlines: firstReadyLook(up, moment) }, [ANNOUNCE]];
  }
  const death = service.lastDeath ?? { exitCode: undefined, signal: undefined, atMs: moment.wall.unixS * 1000 };
  // It went well, as far as it says, and nobody is to be found: starting it again and again would make as many daemons.
  const isUntraceable = !service.traced && death.exitCode === 0 && service.want === 'up';
  return bury(isUntraceable ? { ...service, want: 'down', trouble: UNTRACEABLE } : service, death, moment);
}

const UNTRACEABLE =
  'run exited 0 and nothing of it can be found: a daemon that closes all descriptors cannot be traced without cgroup v2; let it stay in the foreground';

function bury(service: Service, death: Death, moment: Moment): Outcome {
  const after: Service = {
    ...service,
    ...pace(service, moment),
    phase: 'clearing',
    pid: 0,
    paused: false,
    ready: false,
    adopted: false,
    traced: false,
    changedAt: moment.wall,
    lastDeath: death,
    deadlines: { killMs: moment.monotonicMs + SWEEP_KILL_AFTER_MS },
  };
  return [after, [{ kind: 'sweep', groupId: service.groupId, signal: 'SIGTERM' }]];
}

function cleared(service: Service, moment: Moment): Outcome {
  const { settings, lastDeath, groupId } = service;
  if (!settings.hasFinish || lastDeath === undefined) return settle(service, moment);
  return [{ ...service, phase: 'finishing', deadlines: {} }, [{ kind: 'finish', death: lastDeath, groupId }]];
}

function finished(service: Service, event: EventOf<'died'>, moment: Moment): Outcome {
  if (event.pid !== service.pid) return ignore(service);
  const after: Service = {
    ...service,
    pid: 0,
    adopted: false,
    changedAt: moment.wall,
    deadlines: {},
  };
  if (event.death.exitCode !== FINISH_PERMANENT_FAILURE || service.exiting) return settle(after, moment);
  return settle({ ...after, want: 'down', trouble: 'finish exited 125: not started again until told to' }, moment);
}

/** A run that ends is followed by another only in so far as `want` says; commands meanwhile only change `want`. */
const WHILE_ENDING = {
  up: wanting('up'),
  down: wanting('down'),
  once: wanting('once'),
  restart: wanting('up'),
  exit: (service: Service): Outcome => [{ ...service, exiting: true }, [ANNOUNCE]],
  signal: ignore,
  reload: ignore,
  pause: ignore,
  continue: ignore,
  begin: ignore,
  adopt: ignore,
  notified: ignore,
  checked: ignore,
  traced: ignore,
  probed: ignore,
  dependencies: (service: Service, { missing }: EventOf<'dependencies'>): Outcome => [{ ...service, missing }, []],
} as const;

const WITHOUT_PROCESS = {
  signal: ignore,
  reload: ignore,
  pause: ignore,
  continue: ignore,
  started: ignore,
  failed: ignore,
  died: ignore,
  swept: ignore,
  notified: ignore,
  checked: ignore,
  traced: ignore,
  probed: ignore,
  exit: close,
} as const;

/** Phase by event; total, so that a new phase or event does not compile until every cell is decided. */
export const TABLE: { readonly [P in Phase]: Row } = {
  down: {
    ...WITHOUT_PROCESS,
    begin: (service, _event, moment) => (service.want === 'up' ? startOrWait(service, moment) : [service, [ANNOUNCE]]),
    adopt: (service, { phase, settings }, moment) => {
      const adopted: Service = { ...service, phase, settings, adopted: true, trouble: undefined };
      const killMs = moment.monotonicMs + settings.timeoutFinishMs;
      if (phase === 'finishing') {
        return [{ ...adopted, deadlines: settings.timeoutFinishMs === 0 ? {} : { killMs } }, [ANNOUNCE]];
      }
      // Its notification, if it was to send one, may have gone to the dead supervisor: being alive has to do.
      const look = service.ready
        ? nextProbe(adopted, moment)
        : firstReadyLook({ ...adopted, settings: { ...settings, notificationFd: undefined } }, moment);
      const stopping = service.gotTerm && service.want !== 'up' && settings.timeoutKillMs > 0;
      return [
        {
          ...adopted,
          deadlines: stopping ? { ...look, killMs: moment.monotonicMs + settings.timeoutKillMs } : look,
        },
        [ANNOUNCE],
      ];
    },
    up: wantingStart('up'),
    once: wantingStart('once'),
    restart: wantingStart('up'),
    down: wanting('down'),
    tick: ignore,
    dependencies: (service, { missing }) => [{ ...service, missing }, []],
  },

  waiting: {
    ...WITHOUT_PROCESS,
    begin: ignore,
    adopt: ignore,
    up: wantingStart('up'),
    once: wantingStart('once'),
    restart: wantingStart('up'),
    down: (service) => [{ ...service, phase: 'down', want: 'down', trouble: undefined, deadlines: {} }, [ANNOUNCE]],
    tick: (service, _event, moment) =>
      (service.deadlines.startMs ?? Infinity) <= moment.monotonicMs ? startOrWait(service, moment) : ignore(service),
    dependencies: (service, { missing }, moment) => startOrWait({ ...service, missing, trouble: undefined }, moment),
  },

  starting: {
    ...WHILE_ENDING,
    started: (service, { pid, settings, logged }, moment) => {
      const up: Service = {
        ...service,
        phase: 'up',
        pid,
        groupId: pid,
        paused: false,
        gotTerm: false,
        ready: false,
        adopted: false,
        traced: false,
        changedAt: moment.wall,
        startedMs: moment.monotonicMs,
        notBeforeMs: moment.monotonicMs + MIN_START_GAP_MS,
        starts: service.starts + 1,
        trouble: undefined,
        logged,
        edition: settings.edition,
        settings,
      };
      const running = { ...up, deadlines: firstReadyLook(up, moment) };
      // `down` came while the start was on its way.
      if (service.want === 'down') {
        const [stopped, effects] = stop(running, 'down', moment);
        return [stopped, [ANNOUNCE, ...effects]];
      }
      return [running, [ANNOUNCE]];
    },
    failed: (service, { why }, moment) => {
      const after = { ...service, trouble: why, notBeforeMs: moment.monotonicMs + MIN_START_GAP_MS };
      if (service.exiting || service.want === 'down') return settle(after, moment);
      return startOrWait(after, moment);
    },
    died: ignore,
    swept: ignore,
    tick: ignore,
  },

  up: {
    begin: ignore,
    adopt: ignore,
    started: ignore,
    failed: ignore,
    swept: ignore,
    traced: ignore,
    probed,
    up: wanting('up'),
    once: wanting('once'),
    down: (service, _event, moment) => stop(service, 'down', moment),
    restart: (service, _event, moment) => stop(service, 'up', moment),
    exit: (service) => [{ ...service, exiting: true }, [ANNOUNCE]],
    signal: (service, { signal }) => [
      signal === 'SIGTERM' ? { ...service, gotTerm: true } : service,
      [{ kind: 'signal', signal }, ANNOUNCE],
    ],
    reload: (service) => [service, [{ kind: 'signal', signal: service.settings.reloadSignal }]],
    pause: (service) => [{ ...service, paused: true }, [{ kind: 'signal', signal: 'SIGSTOP' }, ANNOUNCE]],
    continue: (service) => [{ ...service, paused: false }, [{ kind: 'signal', signal: 'SIGCONT' }, ANNOUNCE]],
    died,
    notified: (service, { pid }, moment) =>
      pid === service.pid && !service.ready ? becomeReady(service, moment) : ignore(service),
    checked: (service, { pid, ok }, moment) => {
      if (pid !== service.pid || service.ready) return ignore(service);
      if (ok) return becomeReady(service, moment);
      return [{ ...service, deadlines: { ...service.deadlines, readyMs: moment.monotonicMs + CHECK_EVERY_MS } }, []];
    },
    tick: (service, _event, moment) => {
      const { killMs = Infinity, readyMs = Infinity, healthMs = Infinity } = service.deadlines;
      const { health } = service.settings;
      if (killMs <= moment.monotonicMs) {
        const { killMs: _, ...deadlines } = service.deadlines;
        return [{ ...service, deadlines }, [{ kind: 'signal', signal: 'SIGKILL' }]];
      }
      if (healthMs <= moment.monotonicMs && health !== undefined) {
        const { healthMs: _, ...deadlines } = service.deadlines;
        return [{ ...service, deadlines }, [{ kind: 'probe', pid: service.pid, health }]];
      }
      if (readyMs > moment.monotonicMs) return ignore(service);
      if (!service.settings.hasCheck) return becomeReady(service, moment);
      const { readyMs: _, ...deadlines } = service.deadlines;
      return [{ ...service, deadlines }, [{ kind: 'check', pid: service.pid }]];
    },
    dependencies: (service, { missing }) => [{ ...service, missing }, []],
  },

  tracing: {
    ...WHILE_ENDING,
    started: ignore,
    failed: ignore,
    died: ignore,
    swept: ignore,
    tick: ignore,
    traced,
  },

  clearing: {
    ...WHILE_ENDING,
    started: ignore,
    failed: ignore,
    died: ignore,
    swept: (service, { left }, moment) => {
      if (!left) return cleared(service, moment);
      return [
        { ...service, deadlines: { ...service.deadlines, sweepMs: moment.monotonicMs + SWEEP_EVERY_MS } },
        [ANNOUNCE],
      ];
    },
    tick: (service, _event, moment) => {
      const { killMs = Infinity, sweepMs = Infinity } = service.deadlines;
      if (sweepMs > moment.monotonicMs) return ignore(service);
      const kill = killMs <= moment.monotonicMs;
      // Only a process that the kernel cannot end (state D) gets here; the operator is told, the service not held up.
      if (killMs + SWEEP_GIVE_UP_AFTER_MS - SWEEP_KILL_AFTER_MS <= moment.monotonicMs) {
        const trouble = `processes of its group ${service.groupId} could not be ended`;
        return cleared({ ...service, trouble }, moment);
      }
      return [
        { ...service, deadlines: { killMs } },
        [{ kind: 'sweep', groupId: service.groupId, signal: kill ? 'SIGKILL' : undefined }],
      ];
    },
  },

  finishing: {
    ...WHILE_ENDING,
    started: (service, { pid }, moment) => {
      const { timeoutFinishMs } = service.settings;
      const deadlines = timeoutFinishMs === 0 ? {} : { killMs: moment.monotonicMs + timeoutFinishMs };
      return [{ ...service, pid, adopted: false, changedAt: moment.wall, deadlines }, [ANNOUNCE]];
    },
    failed: (service, { why }, moment) => settle({ ...service, trouble: why }, moment),
    died: finished,
    swept: ignore,
    tick: (service, _event, moment) =>
      (service.deadlines.killMs ?? Infinity) <= moment.monotonicMs
        ? [{ ...service, deadlines: {} }, [{ kind: 'signal', signal: 'SIGKILL' }]]
        : ignore(service),
  },

  closed: {
    ...WITHOUT_PROCESS,
    begin: ignore,
    adopt: ignore,
    up: ignore,
    once: ignore,
    restart: ignore,
    down: ignore,
    exit: ignore,
    tick: ignore,
    dependencies: ignore,
  },
};

/** "exited 0", "killed by SIGKILL", "died, the kernel did not say how". */
export function renderDeath({ exitCode, signal }: Pick<Death, 'exitCode' | 'signal'>): string {
  if (signal !== undefined) return `killed by ${signal}`;
  return exitCode === undefined ? 'died, the kernel did not say how' : `exited ${exitCode}`;
}
