// supervise/host.io.ts - what a supervisor provides to the units it supervises: clocks, starts, deaths, its log.
//
// Owns: the clocks' readings, and that log, spawner and units are put together in one way. Does not own: a unit (unit.io.ts).

import { wallTimeFromMs } from '../formats/tai64n.ts';
import type { Launched, LaunchPlan, OnDeath } from './launch.io.ts';
import { readBootId } from './procfs.io.ts';
import type { Moment, Service } from './service.ts';
import type { Spawner } from './spawner.io.ts';

/** What the supervisor provides to every unit. */
export type UnitHost = {
  readonly bootId: string;
  readonly now: () => Moment;
  readonly log: (line: string) => void;
  /** Runs it soon; one start per turn of the event loop, so that a thousand starts do not stop everything else. */
  readonly enqueueStart: (start: () => void) => void;
  /** Starts a process that waits at its gate; the descriptors of the plan must stay open until the answer. */
  readonly launch: (plan: LaunchPlan, onAnswer: (launched: Launched) => void) => void;
  /** Calls back once when the process, which is not our child, has died. */
  readonly watchDeath: (pid: number, startTime: string, onDeath: OnDeath) => void;
  readonly onChange: () => void;
  /** Who has which living process: none may have two masters. */
  readonly pids: Map<number, Holder>;
};

/** Descriptors for one start, which stay open after it: 0 to 2, or a FIFO. */
export type StandardStreams = { readonly stdin: number | 'ignore'; readonly stdout: number };

export type UnitPlan = {
  readonly name: string;
  /** Path of the directory (of its open descriptor). */
  readonly base: string;
  readonly lockFd: number;
  readonly controlFd: number;
  /** Descriptors that go when the unit closes (the log directory's own). */
  readonly ownFds: readonly number[];
  readonly streams: () => StandardStreams;
  /** Whether what starts now writes to a log of its own. */
  readonly isLogged?: (() => boolean) | undefined;
  /** Done before each start: what the supervisor has to know by then. */
  readonly beforeStart?: (() => Promise<void>) | undefined;
  /** What to start instead of ./run: programs of rouse itself, which are no files of the directory. */
  readonly command?: readonly string[] | undefined;
};

/** A unit, as far as others look at it. */
type Holder = { readonly name: string; readonly isOpen: boolean; readonly service: Service };

export function now(): Moment {
  return {
    monotonicMs: Number(process.hrtime.bigint() / 1000n) / 1000,
    wall: wallTimeFromMs(Date.now()),
    random: Math.random(),
  };
}

export function unitHost(spawner: Spawner, rest: Pick<UnitHost, 'log' | 'enqueueStart' | 'onChange'>): UnitHost {
  return {
    ...rest,
    bootId: readBootId(),
    now,
    launch: (plan, onAnswer) => spawner.launch(plan, onAnswer),
    watchDeath: (pid, startTime, onDeath) => spawner.watch(pid, startTime, onDeath),
    pids: new Map(),
  };
}
