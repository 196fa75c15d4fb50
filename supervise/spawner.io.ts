// supervise/spawner.io.ts - starting processes and seeing them die, by a small process that may itself die.
//
// Owns: running the spawner, which start or death each of its reports means, and what is done without it.
// Does not own: its program and its words (spawner.ts), the start by Node itself (launch.io.ts).
//
// When the spawner is gone, or does not answer (then it is ended), another takes its place: starts that it has not answered are asked for again (what stood at a gate
// of the first has left: only the answer to its number opens a gate), and all living processes are watched by the second. Where none can be had (no perl, no
// descriptor) Node starts processes itself and is told of their deaths; those of adopted ones are looked for in /proc.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { pathOfFd } from './directory.io.ts';
import { launch } from './launch.io.ts';
import type { Launched, LaunchPlan, OnDeath } from './launch.io.ts';
import { isLiving } from './procfs.io.ts';
import {
  decodeReport,
  encodeGate,
  encodePing,
  encodeStart,
  encodeWatch,
  programWords,
  readWaitStatus,
} from './spawner.ts';
import type { FdWord } from './spawner.ts';

/** Read once: an upgrade replaces the file, and the spawner has to be of our own version. */
const PROGRAM = readFileSync(new URL('./spawner.pl', import.meta.url), 'utf8');
/** Without pidfds deaths are looked for, less often the more there are to look at: 0.3 % of a processor at most. */
const POLL_MS_EACH = 10;
const POLL_MS_MIN = 100;
const POLL_MS_MAX = 1000;
/** A spawner that did not live this long is not replaced at once. */
const PAUSE_MS = 1000;
/** How often it is asked whether it is there, and how often in vain before it counts as hanging: after 5 s. */
const ASK_EVERY_MS = 2500;
const ASKS_MAX = 2;
/** The same for one that has yet to begin: perl is slow on a machine that is short of everything. */
const ASKS_BEFORE_READY_MAX = 12;
/** A process that is not at its gate by then hangs in the kernel. */
const START_WITHIN_MS = 20_000;
/** Starts asked for and not yet answered: each is a process of half a megabyte that stands and waits. */
const STARTS_AT_ONCE = 16;
/** 0 to 2 are ours, for services to inherit. */
const ORDERS_FD = 3;
const REPORTS_FD = 4;

type Start = { readonly kind: 'start'; readonly plan: LaunchPlan; readonly onAnswer: (launched: Launched) => void };
type Watch = {
  readonly kind: 'watch';
  readonly pid: number;
  readonly startTime: string;
  readonly onDeath: OnDeath;
};

type Running = {
  readonly child: ChildProcess;
  readonly orders: Writable;
  readonly sinceMs: number;
  isReady: boolean;
  /** Questions asked since it last said anything. */
  unanswered: number;
};

/** What there is to tell of the spawner: that one was put away. */
export type Replaced = {
  readonly pid: number;
  readonly isReady: boolean;
  readonly atMs: number;
  readonly times: number;
};

export class Spawner {
  readonly #log: (line: string) => void;
  /** By number of the order: what is not yet answered, and what has not yet died. */
  readonly #tasks = new Map<number, Start | Watch>();
  readonly #queue: number[] = [];
  /** Numbers of the starts that it has been asked for, and since when. */
  readonly #asked = new Map<number, number>();
  #lastNumber = 0;
  #running: Running | undefined;
  #isUsable = programWords(process.arch, false) !== undefined;
  #isClosed = false;
  #pause: NodeJS.Timeout | undefined;
  #poll: NodeJS.Timeout | undefined;
  #asking: NodeJS.Timeout | undefined;
  #putAway = { times: 0, atMs: 0 };

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Has the spawner there by the time it is needed. */
  begin(): void {
    this.#serve();
  }

  /** undefined where none has had to be put away. */
  get replaced(): Replaced | undefined {
    const { child, isReady = false } = this.#running ?? {};
    return this.#putAway.times === 0 ? undefined : { pid: child?.pid ?? 0, isReady, ...this.#putAway };
  }

  /**
   * Starts a process, which waits at its gate.
   *
   * @param onAnswer called once, perhaps before this returns; the descriptors of the plan must stay open until then.
   */
  launch(plan: LaunchPlan, onAnswer: (launched: Launched) => void): void {
    this.#queue.push(this.#add({ kind: 'start', plan, onAnswer }));
    this.#serve();
  }

  /**
   * Watches a process that was not started here until its death.
   *
   * @param startTime as /proc gives it; a process with the same pid and another start time counts as dead.
   * @param onDeath called once, never before this returns.
   */
  watch(pid: number, startTime: string, onDeath: OnDeath): void {
    const number = this.#add({ kind: 'watch', pid, startTime, onDeath });
    this.#serve();
    if (this.#running === undefined) this.#startPoll();
    else this.#running.orders.write(encodeWatch(number, pid, startTime));
  }

  /** Nothing is started, seen or reported from now on; the spawner goes by itself. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#poll);
    clearInterval(this.#asking);
    clearTimeout(this.#pause);
    this.#tasks.clear();
    const child = this.#running?.child;
    this.#running?.orders.end();
    const reports = child?.stdio[REPORTS_FD];
    if (reports !== undefined && reports !== null) reports.destroy();
    child?.unref();
  }

  #add(task: Start | Watch): number {
    this.#lastNumber += 1;
    this.#tasks.set(this.#lastNumber, task);
    return this.#lastNumber;
  }

  /** Gives the spawner as many starts as it may have at once. */
  #serve(): void {
    if (this.#isClosed || this.#pause !== undefined) return;
    if (this.#running === undefined && this.#isUsable) this.#run();
    while (this.#asked.size < STARTS_AT_ONCE) {
      const number = this.#queue.shift();
      if (number === undefined) return;
      const task = this.#tasks.get(number);
      if (task?.kind !== 'start') continue;
      if (this.#running === undefined) {
        this.#tasks.delete(number);
        task.onAnswer(launch(task.plan));
        continue;
      }
      this.#asked.set(number, performance.now());
      this.#running.orders.write(
        encodeStart(number, { ...task.plan, directory: task.plan.base, fds: fdsOf(task.plan) }),
      );
    }
  }

  #run(): void {
    // A locale that this machine does not have is no business of the operator's standard error.
    const isQuiet = process.env['PERL_BADLANG'] === undefined;
    const words = programWords(process.arch, isQuiet) ?? [];
    let child: ChildProcess;
    try {
      child = spawn('perl', ['-e', PROGRAM, ...words], {
        stdio: [0, 1, 2, 'pipe', 'pipe'],
        env: { ...process.env, ...(isQuiet ? { PERL_BADLANG: '0' } : {}) },
        // ctrl-C and a closed terminal are for us to act on.
        detached: true,
      });
    } catch {
      // Out of memory: Node starts what is to be started now, if it can; the next start tries again.
      return;
    }
    const orders = child.stdio[ORDERS_FD] as Writable | null | undefined;
    const reports = child.stdio[REPORTS_FD];
    const running: Running | undefined =
      orders === undefined || orders === null || child.pid === undefined
        ? undefined
        : { child, orders, sinceMs: performance.now(), isReady: false, unanswered: 0 };
    const gone = (): void => {
      if (running !== undefined && this.#running === running) this.#replace(running);
    };
    child.once('error', (error) => {
      if ('code' in error && error.code === 'ENOENT') this.#giveUp('perl is missing');
      gone();
    });
    child.once('exit', gone);
    if (running === undefined) return;
    child.unref();
    this.#running = running;
    clearInterval(this.#asking);
    // What has been said meanwhile is read first: we may have been stopped ourselves.
    this.#asking = setInterval(() => void setImmediate(() => this.#ask(running)), ASK_EVERY_MS);
    // A spawner that is gone ends its input: its end is reported by exit.
    running.orders.on('error', () => running.orders.destroy());
    let text = '';
    reports?.on('data', (chunk: Buffer) => {
      if (this.#running !== running) return;
      const lines = (text + chunk.toString('utf8')).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#report(line, running);
    });
    for (const [number, task] of this.#tasks) {
      if (task.kind === 'watch') running.orders.write(encodeWatch(number, task.pid, task.startTime));
    }
  }

  #ask(running: Running): void {
    if (this.#running !== running) return;
    if (running.unanswered >= (running.isReady ? ASKS_MAX : ASKS_BEFORE_READY_MAX)) {
      this.#putAway = { times: this.#putAway.times + 1, atMs: Date.now() };
      this.#log(`the spawner does not answer (pid ${running.child.pid}): it is killed`);
      running.child.kill('SIGKILL');
      this.#replace(running);
      return;
    }
    running.unanswered += 1;
    running.orders.write(encodePing());
    const lateMs = performance.now() - START_WITHIN_MS;
    for (const [number, askedMs] of this.#asked) {
      if (askedMs > lateMs) continue;
      running.orders.write(encodeGate(number, 'leave'));
      this.#failed(number, `it was not ready to run after ${START_WITHIN_MS / 1000} s`);
    }
    this.#serve();
  }

  #failed(number: number, why: string): void {
    const task = this.#tasks.get(number);
    this.#asked.delete(number);
    this.#tasks.delete(number);
    if (task?.kind === 'start') task.onAnswer({ ok: false, why: `cannot start a process: ${why}` });
  }

  #replace(gone: Running): void {
    this.#running = undefined;
    clearInterval(this.#asking);
    gone.orders.destroy();
    if (this.#isClosed) return;
    this.#queue.unshift(...this.#asked.keys());
    this.#asked.clear();
    if (gone.isReady) this.#log('the spawner is gone; another takes its place');
    else this.#giveUp('perl cannot run the spawner');
    if (performance.now() - gone.sinceMs < PAUSE_MS && this.#isUsable) {
      this.#pause = setTimeout(() => {
        this.#pause = undefined;
        this.#serve();
      }, PAUSE_MS);
    }
    this.#serve();
    if (this.#running === undefined) this.#startPoll();
  }

  #giveUp(why: string): void {
    if (this.#isUsable)
      this.#log(`${why}: starts take longer, and deaths of adopted services are seen after up to a second`);
    this.#isUsable = false;
  }

  #report(line: string, running: Running): void {
    const report = decodeReport(line);
    if (report === undefined) return;
    running.unanswered = 0;
    if (report.kind === 'pong') return;
    if (report.kind === 'ready') {
      running.isReady = true;
      clearTimeout(this.#poll);
      this.#poll = undefined;
      return;
    }
    const { number } = report;
    const task = this.#tasks.get(number);
    if (report.kind === 'died') {
      if (task !== undefined) this.#died(number, task, report.waitStatus);
    } else if (task?.kind === 'start') {
      if (report.kind === 'failed') this.#failed(number, report.why);
      else {
        const { pid, startTime } = report;
        this.#asked.delete(number);
        this.#tasks.set(number, { kind: 'watch', pid, startTime, onDeath: task.plan.onExit });
        const atGate = (verb: 'go' | 'leave') => () => void running.orders.write(encodeGate(number, verb));
        task.onAnswer({ ok: true, pid, startTime, openGate: atGate('go'), refuse: atGate('leave') });
      }
    }
    this.#serve();
  }

  #died(number: number, task: Start | Watch, waitStatus: number | undefined): void {
    if (task.kind === 'start') {
      this.#failed(number, 'it died before it could begin');
      return;
    }
    // The spawner may have run out of descriptors, for a thousand services it has a thousand: nobody is dead by its word alone.
    if (waitStatus === undefined && isLiving(task.pid, task.startTime)) {
      this.#startPoll();
      return;
    }
    this.#tasks.delete(number);
    if (waitStatus === undefined) task.onDeath(undefined, undefined);
    else task.onDeath(...readWaitStatus(waitStatus, constants.signals));
  }

  #startPoll(): void {
    if (this.#poll !== undefined || this.#isClosed) return;
    const watched = [...this.#tasks].filter(([, { kind }]) => kind === 'watch').length;
    if (watched === 0) return;
    const afterMs = Math.min(POLL_MS_MAX, Math.max(POLL_MS_MIN, POLL_MS_EACH * watched));
    this.#poll = setTimeout(() => {
      this.#poll = undefined;
      for (const [number, task] of this.#tasks) {
        if (task.kind === 'watch' && !isLiving(task.pid, task.startTime)) this.#died(number, task, undefined);
      }
      this.#startPoll();
    }, afterMs);
  }
}

/** Our own descriptors as the spawner reaches them: it has 0 to 2 as well, the others it opens anew. */
function fdsOf({ stdin, stdout, stderr, extras = [] }: LaunchPlan): FdWord[] {
  const word = (asFd: number, fd: number, access: 'read' | 'both'): FdWord =>
    fd <= 2 ? { kind: 'same', asFd, fd } : { kind: 'open', asFd, path: pathOfFd(fd), access };
  return [
    stdin === 'ignore' ? { kind: 'open', asFd: 0, path: '/dev/null', access: 'read' } : word(0, stdin, 'read'),
    word(1, stdout, 'both'),
    word(2, stderr, 'both'),
    ...extras.map(({ asFd, fd }) => word(asFd, fd, 'both')),
  ];
}
