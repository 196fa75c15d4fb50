// supervise/spawner.io.ts - starting processes and seeing them die, by a small process that may itself die.
//
// Owns: running the spawner, which start or death each of its reports means, and starting without it.
// Does not own: its program and its words (spawner.ts), when it is asked, replaced or given up (spawnerlife.ts), the start by
// Node itself (launch.io.ts).
//
// What a spawner that is gone has not answered is asked for again: what stood at one of its gates has left, and only the answer
// to its number opens a gate. All living processes are watched by the next. While Node starts processes itself it is told of
// their deaths; those of adopted ones are looked for in /proc.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { reasonOf } from '../formats/errors.ts';
import { pathOfFd } from './directory.io.ts';
import { launch } from './launch.io.ts';
import type { Launched, LaunchPlan, OnDeath } from './launch.io.ts';
import { renderDeath } from './machine.ts';
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
import { ASK_EVERY_MS, isByNode, isLate, newLife, rowOf, START_WITHIN_MS, transition } from './spawnerlife.ts';
import type { Effect, Event, SpawnerRow } from './spawnerlife.ts';

/** Read once: an upgrade replaces the file, and the spawner has to be of our own version. */
const PROGRAM = readFileSync(new URL('./spawner.pl', import.meta.url), 'utf8');
/** Without pidfds deaths are looked for, less often the more there are to look at: 0.3 % of a processor at most. */
const POLL_MS_EACH = 10;
const POLL_MS_MIN = 100;
const POLL_MS_MAX = 1000;
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
  readonly asking: NodeJS.Timeout;
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
  #life = newLife(programWords(process.arch, false) !== undefined);
  #isClosed = false;
  #pause: NodeJS.Timeout | undefined;
  #poll: NodeJS.Timeout | undefined;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Has the spawner there by the time it is needed. */
  begin(): void {
    this.#feed({ kind: 'needed' });
  }

  /** What there is to tell of it; undefined where all is well. */
  get row(): (SpawnerRow & { readonly pid: number }) | undefined {
    const row = rowOf(this.#life);
    return row === undefined ? undefined : { ...row, pid: this.#running?.child.pid ?? 0 };
  }

  /**
   * Starts a process, which waits at its gate.
   *
   * @param onAnswer called once, perhaps before this returns; the descriptors of the plan must stay open until then.
   */
  launch(plan: LaunchPlan, onAnswer: (launched: Launched) => void): void {
    this.#queue.push(this.#add({ kind: 'start', plan, onAnswer }));
    this.#feed({ kind: 'needed' });
  }

  /**
   * Watches a process that was not started here until its death.
   *
   * @param startTime as /proc gives it; a process with the same pid and another start time counts as dead.
   * @param onDeath called once, never before this returns.
   */
  watch(pid: number, startTime: string, onDeath: OnDeath): void {
    this.#feed({ kind: 'needed' });
    const number = this.#add({ kind: 'watch', pid, startTime, onDeath });
    this.#running?.orders.write(encodeWatch(number, pid, startTime));
    if (isByNode(this.#life)) this.#startPoll();
  }

  /** Nothing is started, seen or reported from now on; the spawner goes by itself. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#poll);
    clearTimeout(this.#pause);
    clearInterval(this.#running?.asking);
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

  #feed(event: Event): void {
    if (this.#isClosed) return;
    const [life, effects] = transition(this.#life, event, {
      monotonicMs: performance.now(),
      unixMs: Date.now(),
    });
    this.#life = life;
    for (const effect of effects) this.#do(effect);
    this.#serve();
  }

  #do(effect: Effect): void {
    switch (effect.kind) {
      case 'run':
        this.#run();
        break;
      case 'ping':
        this.#running?.orders.write(encodePing());
        break;
      case 'kill':
        this.#running?.child.kill('SIGKILL');
        break;
      case 'letGo':
        clearInterval(this.#running?.asking);
        this.#running?.orders.destroy();
        this.#running = undefined;
        this.#queue.unshift(...this.#asked.keys());
        this.#asked.clear();
        break;
      case 'pause':
        this.#pause = setTimeout(() => this.#feed({ kind: 'retry' }), effect.forMs);
        break;
      case 'look':
        this.#startPoll();
        break;
      case 'lookNoMore':
        clearTimeout(this.#poll);
        this.#poll = undefined;
        break;
      case 'tell':
        this.#log(effect.line);
        break;
    }
  }

  /** Gives the spawner as many starts as it may have at once. */
  #serve(): void {
    while (this.#asked.size < STARTS_AT_ONCE) {
      const number = this.#queue.shift();
      if (number === undefined) return;
      const task = this.#tasks.get(number);
      if (task?.kind !== 'start') continue;
      if (isByNode(this.#life)) {
        this.#tasks.delete(number);
        task.onAnswer(launch(task.plan));
        continue;
      }
      this.#asked.set(number, performance.now());
      this.#running?.orders.write(
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
    } catch (thrown) {
      setImmediate(() => this.#feed({ kind: 'refused', why: reasonOf(thrown) }));
      return;
    }
    child.on('error', (error) => {
      // That a living one could not be signalled is no end of it: exit tells that.
      if (child.pid !== undefined) return;
      const isMissing = 'code' in error && error.code === 'ENOENT';
      this.#feed(isMissing ? { kind: 'missing' } : { kind: 'refused', why: error.message });
    });
    const orders = child.stdio[ORDERS_FD] as Writable | null | undefined;
    const reports = child.stdio[REPORTS_FD];
    const { pid } = child;
    if (orders === undefined || orders === null || pid === undefined) return;
    // What has been said meanwhile is read first: we may have been stopped ourselves.
    const asking = setInterval(() => void setImmediate(() => this.#ask(running, pid)), ASK_EVERY_MS);
    const running: Running = { child, orders, asking };
    child.once('exit', (exitCode, signal) => {
      if (this.#running !== running) return;
      this.#feed({ kind: 'gone', how: renderDeath({ exitCode: exitCode ?? undefined, signal: signal ?? undefined }) });
    });
    child.unref();
    this.#running = running;
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

  #ask(running: Running, pid: number): void {
    if (this.#running !== running) return;
    this.#feed({ kind: 'ask', pid });
    const nowMs = performance.now();
    for (const [number, askedMs] of this.#asked) {
      if (!isLate(this.#life, askedMs, nowMs)) continue;
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

  #report(line: string, running: Running): void {
    const report = decodeReport(line);
    if (report === undefined) return;
    this.#feed({ kind: report.kind === 'ready' ? 'ready' : 'said' });
    if (report.kind === 'ready' || report.kind === 'pong') return;
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
