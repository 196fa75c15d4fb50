// supervise/service.ts - the words in which one supervised service directory is described.
//
// Owns: the state of a service, the events that change it, and the effects that a change asks for.
// Does not own: which event leads where (machine.ts), or carrying effects out (unit.io.ts).
//
// A "service" here is one directory with a run file. A logged service is two of them, "web" and "web/log".
// To add an event or an effect, add it to its union: the compiler then names every place that must answer it.
// Sources: daemontools 0.76 supervise.c, runit runsv(8), s6 servicedir. Pure.

import type { Limit } from '../formats/servicefiles.ts';
import type { CgroupLimits } from './cgroup.ts';
import type { Health } from './health.ts';
import type { WallTime } from '../formats/tai64n.ts';

/** What the operator wants: kept running, kept stopped, or run until it ends and then left alone (svc -o). */
export type Want = 'up' | 'down' | 'once';

/**
 * Where a service is.
 * - down: no process, none wanted (or one that ended after `once`).
 * - waiting: a start is wanted and not yet due: the pause between starts, a failed start, or a missing dependency.
 * - starting: the start effect has been handed out and not yet answered.
 * - up: the process lives.
 * - tracing: run ended by putting itself into the background (fghack); who it left is being looked for.
 * - clearing: the process died; what is left of its process group is being ended.
 * - finishing: ./finish runs (pid 0 until it was started).
 * - closed: released after `exit`; the only phase that nothing leaves.
 */
export type Phase = 'down' | 'waiting' | 'starting' | 'up' | 'tracing' | 'clearing' | 'finishing' | 'closed';

export type SignalName =
  | 'SIGTERM'
  | 'SIGHUP'
  | 'SIGALRM'
  | 'SIGINT'
  | 'SIGKILL'
  | 'SIGQUIT'
  | 'SIGUSR1'
  | 'SIGUSR2'
  | 'SIGWINCH'
  | 'SIGSTOP'
  | 'SIGCONT';

/** How a process ended; both undefined when an adopted process died and the kernel did not tell. */
export type Death = {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** Wall clock, milliseconds since 1970. */
  readonly atMs: number;
  /** Why we ended it, where that was not on an order: "health check failed 3 times: …". */
  readonly why?: string | undefined;
};

/** Restart delays that grow: file `backoff`. */
export type Backoff = {
  readonly initialMs: number;
  readonly capMs: number;
  /** 0 to 1: the share of the delay that is random. */
  readonly jitter: number;
  /** A run that lasted this long starts the row of delays anew. */
  readonly resetMs: number;
};

/** What the files of a service directory say, read anew before each start. */
export type Settings = {
  readonly hasFinish: boolean;
  readonly hasCheck: boolean;
  /** Descriptor on which the service writes a newline once ready. */
  readonly notificationFd: number | undefined;
  /** How long `down` and `restart` leave a process before SIGKILL; 0 = for ever. */
  readonly timeoutKillMs: number;
  /** How long ./finish may run before SIGKILL; 0 = for ever. */
  readonly timeoutFinishMs: number;
  readonly downSignal: SignalName;
  readonly reloadSignal: SignalName;
  readonly backoff: Backoff | undefined;
  /** Services that must be ready before this one starts. */
  readonly depends: readonly string[];
  /** Account that run is started as; undefined = the supervisor's. */
  readonly user: string | undefined;
  readonly limits: readonly Limit[];
  /** run puts itself into the background: the service is what it leaves there. */
  readonly fghack: boolean;
  readonly health: Health | undefined;
  /** A cgroup v2 of its own; undefined = the supervisor's. */
  readonly cgroup: CgroupLimits | undefined;
  /** How many deaths supervise/death_tally holds; 0 = it is not written. */
  readonly maxDeathTally: number;
  /** Which edition of the files this is: changes with every edit of a file that a start reads. */
  readonly edition: string;
};

/** A soft resource limit: softlimit's letter and a number in its unit (bytes, seconds or a count). */

export const DEFAULT_SETTINGS: Settings = {
  hasFinish: false,
  hasCheck: false,
  notificationFd: undefined,
  timeoutKillMs: 0,
  timeoutFinishMs: 5000,
  downSignal: 'SIGTERM',
  reloadSignal: 'SIGHUP',
  backoff: undefined,
  depends: [],
  user: undefined,
  limits: [],
  fghack: false,
  health: undefined,
  cgroup: undefined,
  maxDeathTally: 0,
  edition: '',
};

/** All that is known of one service. Times in ms are of the monotonic clock unless they say otherwise. */
export type Service = {
  readonly phase: Phase;
  readonly want: Want;
  /** `svc -x` was received: closed as soon as nothing runs. */
  readonly exiting: boolean;
  /** Of the living process (of ./finish while finishing), 0 = none. */
  readonly pid: number;
  /** Process group of the last run, for ending what it left; 0 = none yet. */
  readonly groupId: number;
  readonly paused: boolean;
  readonly gotTerm: boolean;
  readonly ready: boolean;
  /** The living process was started by an earlier supervisor and is not our child. */
  readonly adopted: boolean;
  /** fghack: the process was found in the background. */
  readonly traced: boolean;
  /** The living process was started with its output going to its log; undefined: not known. */
  readonly logged: boolean | undefined;
  /** Of the files that the living process was started with; kept over the supervisor's death, unlike settings. */
  readonly edition: string;
  /** Health checks that failed in a row. */
  readonly failures: number;
  /** Wall clock of the last change of pid: the stamp of the status file. */
  readonly changedAt: WallTime;
  /** Of the last start; undefined before the first. */
  readonly startedMs: number | undefined;
  /** No start before this. */
  readonly notBeforeMs: number;
  /** Runs in a row that did not last backoff.resetMs. */
  readonly shortRuns: number;
  /** How often it was started since this boot. */
  readonly starts: number;
  readonly lastDeath: Death | undefined;
  /** Why it is not running although it should be; one sentence without a full stop. */
  readonly trouble: string | undefined;
  /** Dependencies that are not ready. */
  readonly missing: readonly string[];
  /** When the machine wants a `tick`. */
  readonly deadlines: Deadlines;
  readonly settings: Settings;
};

type Deadlines = {
  readonly startMs?: number;
  readonly readyMs?: number;
  readonly killMs?: number;
  readonly sweepMs?: number;
  readonly healthMs?: number;
};

/** The clocks' readings and one random number in [0, 1), taken when an event is fed in. */
export type Moment = { readonly monotonicMs: number; readonly wall: WallTime; readonly random: number };

export type Event =
  /** First event of a service without a living process. */
  | { readonly kind: 'begin' }
  /** Instead of begin: a process of an earlier supervisor was found alive and is it (pid, start time and boot agree). */
  | { readonly kind: 'adopt'; readonly phase: 'up' | 'finishing'; readonly settings: Settings }
  | { readonly kind: 'up' }
  | { readonly kind: 'down' }
  | { readonly kind: 'once' }
  | { readonly kind: 'exit' }
  | { readonly kind: 'restart' }
  | { readonly kind: 'reload' }
  | { readonly kind: 'signal'; readonly signal: SignalName }
  | { readonly kind: 'pause' }
  | { readonly kind: 'continue' }
  /** Answers to the effects start and finish. */
  | { readonly kind: 'started'; readonly pid: number; readonly settings: Settings; readonly logged?: boolean }
  | { readonly kind: 'failed'; readonly why: string }
  /** The process with this pid ended. */
  | { readonly kind: 'died'; readonly pid: number; readonly death: Death }
  /** Answer to sweep: whether living processes of the group are left. */
  | { readonly kind: 'swept'; readonly left: boolean }
  /** Answer to trace: the process that is the service now, 0 = there is none. */
  | { readonly kind: 'traced'; readonly pid: number }
  /** The service wrote a newline to its notification descriptor. */
  | { readonly kind: 'notified'; readonly pid: number }
  /** Answer to check. */
  | { readonly kind: 'checked'; readonly pid: number; readonly ok: boolean }
  /** Answer to probe: why the service is of no use; undefined = it is. */
  | { readonly kind: 'probed'; readonly pid: number; readonly why: string | undefined }
  /** A deadline has come (or not quite: the machine compares). */
  | { readonly kind: 'tick' }
  /** The dependencies that are not ready have changed. */
  | { readonly kind: 'dependencies'; readonly missing: readonly string[] };

export type Effect =
  /** Read the settings, look at run, start it; answered by started or failed. */
  | { readonly kind: 'start' }
  | { readonly kind: 'signal'; readonly signal: SignalName }
  /** Send the signal (undefined: none) to what is left of the process group; answered by swept. */
  | { readonly kind: 'sweep'; readonly groupId: number; readonly signal: 'SIGTERM' | 'SIGKILL' | undefined }
  /** Look who is left of a run that ended (fghack); answered by traced. */
  | { readonly kind: 'trace' }
  /** Start ./finish; answered by started or failed. */
  | { readonly kind: 'finish'; readonly death: Death; readonly groupId: number }
  /** Run ./check once; answered by checked. */
  | { readonly kind: 'check'; readonly pid: number }
  /** Do one health check; answered by probed. */
  | { readonly kind: 'probe'; readonly pid: number; readonly health: Health }
  /** Put the state on disk: the record first, then the status file. */
  | { readonly kind: 'announce' }
  /** Release lock and FIFOs. */
  | { readonly kind: 'close' };

export type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;
