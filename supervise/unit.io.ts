// supervise/unit.io.ts - one service directory being supervised: carries out what machine.ts decides.
//
// Owns: the directory's control and ok FIFOs, its lock, record and status file, its processes and its one timer.
// Does not own: decisions (machine.ts, record.ts), opening the directory (open.io.ts), which directories (supervisor.io.ts).

import { spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  constants,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import { reasonOf } from '../formats/errors.ts';
import { makeFifos } from './commands.io.ts';
import { eventsOfControl } from './control.ts';
import type { OnDeath } from './deaths.io.ts';
import { exists, readAccount, readEdition, readEnv, readSettings, readSmallFile, scriptFacts } from './directory.io.ts';
import { decodeEntries, encodeEntry, entryOf, HISTORY_BYTES_MAX } from './history.ts';
import type { HistoryEntry } from './history.ts';
import { launch } from './launch.io.ts';
import { runCommand } from './launch.ts';
import { nextDeadlineMs, transition } from './machine.ts';
import { probe } from './probe.io.ts';
import { groupHasLiving, livingStartTime } from './procfs.io.ts';
import { decodeRecord, encodeRecord, isOurGroup, recover } from './record.ts';
import { DEFAULT_SETTINGS } from './service.ts';
import type { Death, Effect, Event, Moment, Service, Settings } from './service.ts';
import { refusalOf } from './servicedir.ts';
import { mainOf } from './trace.ts';
import { dropMarks, findMembers, LIFELINE_FD, makeMarks } from './trace.io.ts';
import { ACTIVITIES, packStatus } from './status.ts';

/** What the supervisor provides to every unit. */
export type UnitHost = {
  readonly bootId: string;
  readonly now: () => Moment;
  readonly log: (line: string) => void;
  /** Runs it soon; one start per turn of the event loop, so that a thousand starts do not stop everything else. */
  readonly enqueueStart: (start: () => void) => void;
  /** Calls back once when the process, which is not our child, has died. */
  readonly watchDeath: (pid: number, startTime: string, onDeath: OnDeath) => void;
  readonly onChange: () => void;
};

/** Descriptors for one start; `release` closes what was opened for it. */
export type StandardStreams = {
  readonly stdin: number | 'ignore';
  readonly stdout: number;
  readonly release: () => void;
};

export type UnitPlan = {
  readonly name: string;
  /** Path of the directory (of its open descriptor). */
  readonly base: string;
  readonly lockFd: number;
  readonly controlFd: number;
  /** Descriptors that go when the unit closes (the log directory's own). */
  readonly ownFds: readonly number[];
  readonly streams: () => StandardStreams;
  /** What to start instead of ./run: programs of rouse itself, which are no files of the directory. */
  readonly command?: readonly string[] | undefined;
};

const RECORD_BYTES_MAX = 16_384;
const CHECK_TIMEOUT_MS = 10_000;
/** All control FIFOs share it: what is read is used up before the next read. */
const controlBuffer = Buffer.alloc(4096);

export class Unit {
  name: string;
  service: Service;
  depends: readonly string[] = [];
  /** False once released: after `exit`, or because the supervisor goes. */
  isOpen = true;
  readonly #plan: UnitPlan;
  readonly #host: UnitHost;
  readonly #control: Socket;
  readonly #first: readonly Event[];
  #okFd: number | undefined;
  #startTime: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pending: Event[] = [];
  #isFeeding = false;
  #written = { record: '', status: '' };
  #notify: { readonly socket: Socket; readonly fd: number } | undefined;
  #hasWarned = false;

  /** Takes over a directory whose lock is held; writes the status file, but starts nothing before `begin`. */
  constructor(plan: UnitPlan, host: UnitHost) {
    this.#plan = plan;
    this.#host = host;
    this.name = plan.name;
    const { service, events } = this.#recover();
    this.service = service;
    this.#first = events;
    this.#write('status');
    this.#control = readFifo(plan.controlFd, (octets) => {
      for (const event of eventsOfControl(octets)) this.feed(event);
    });
  }

  get statePath(): string {
    return `${this.#plan.base}/supervise`;
  }

  /** The directory is ready for clients (`ok` is open): adopts, starts or leaves down. */
  begin(okFd: number, missing: readonly string[]): void {
    this.#okFd = okFd;
    if (missing.length > 0) this.feed({ kind: 'dependencies', missing });
    for (const event of this.#first) this.feed(event);
    const { pid } = this.service;
    if (pid !== 0 && this.service.adopted && this.#startTime !== undefined) {
      this.#host.log(`${this.name}: adopted, pid ${pid}`);
      this.#host.watchDeath(pid, this.#startTime, (exitCode, signal) => this.#died(pid, exitCode, signal));
    }
  }

  /** One event in; all its effects, and the events that answer them at once, are done on return. */
  feed(event: Event): void {
    if (!this.isOpen) return;
    this.#pending.push(event);
    if (this.#isFeeding) return;
    this.#isFeeding = true;
    try {
      for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
        const [service, effects] = transition(this.service, next, this.#host.now());
        if (service.trouble !== undefined && service.trouble !== this.service.trouble) {
          this.#host.log(`${this.name}: ${service.trouble}`);
        }
        this.#remember(entryOf(this.service, next, service, Date.now()));
        this.service = service;
        for (const effect of effects) this.#perform(effect);
      }
    } finally {
      this.#isFeeding = false;
    }
    if (this.isOpen) this.#armTimer();
    this.#host.onChange();
  }

  /** Whether a living process was started with other files than those that are there now. */
  get isOutdated(): boolean {
    const { phase, edition } = this.service;
    return phase === 'up' && edition !== '' && edition !== readEdition(this.#plan.base);
  }

  /** What is remembered, oldest first; at most the given number of the newest. */
  history(limit: number): HistoryEntry[] {
    const entries = ['history.old', 'history'].flatMap((name) => {
      const file = readSmallFile(`${this.statePath}/${name}`, 2 * HISTORY_BYTES_MAX);
      return file.kind === 'text' ? decodeEntries(file.text) : [];
    });
    return entries.slice(-limit);
  }

  /** Lets go of everything without touching the service: the supervisor exits, the next one adopts. */
  abandon(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    clearTimeout(this.#timer);
    this.#control.destroy();
    this.#notify?.socket.destroy();
    for (const fd of [this.#okFd, this.#plan.lockFd, ...this.#plan.ownFds]) if (fd !== undefined) closeSync(fd);
    this.#okFd = undefined;
  }

  #recover(): { service: Service; events: readonly Event[] } {
    const file = readSmallFile(`${this.statePath}/adopt.json`, RECORD_BYTES_MAX);
    const record = file.kind === 'text' ? decodeRecord(file.text) : undefined;
    const read = readSettings(this.#plan.base);
    const settings: Settings = read.ok ? read.settings : DEFAULT_SETTINGS;
    this.depends = settings.depends;
    this.#startTime = record?.startTime;
    return recover(
      record,
      {
        bootId: this.#host.bootId,
        startTimeNow: livingStartTime(record?.kept.pid ?? 0),
        hasDownFile: exists(`${this.#plan.base}/down`),
        settings,
      },
      this.#host.now(),
    );
  }

  #remember(entry: HistoryEntry | undefined): void {
    if (entry === undefined) return;
    const path = `${this.statePath}/history`;
    try {
      if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > HISTORY_BYTES_MAX) renameSync(path, `${path}.old`);
      appendFileSync(path, encodeEntry(entry), { mode: 0o600 });
    } catch {
      // A disk that is full or read-only is said by #write; a service does not depend on being remembered.
    }
  }

  #armTimer(): void {
    clearTimeout(this.#timer);
    const deadlineMs = nextDeadlineMs(this.service);
    if (deadlineMs === undefined) return;
    const delayMs = Math.max(0, Math.ceil(deadlineMs - this.#host.now().monotonicMs));
    this.#timer = setTimeout(() => this.feed({ kind: 'tick' }), delayMs);
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case 'start':
        this.#host.enqueueStart(() => void this.#start());
        return;
      case 'finish':
        this.#startFinish(effect.death, effect.groupId);
        return;
      case 'probe': {
        const { pid, health } = effect;
        probe(health, this.#plan.base, (why) => this.feed({ kind: 'probed', pid, why }));
        return;
      }
      case 'trace':
        this.#trace();
        return;
      case 'check':
        this.#check(effect.pid);
        return;
      case 'signal':
        this.#signal(effect.signal);
        return;
      case 'sweep':
        this.feed({ kind: 'swept', left: this.#sweep(effect.groupId, effect.signal) });
        return;
      case 'announce':
        this.#announce();
        return;
      case 'close':
        this.#forget();
        this.abandon();
        return;
    }
  }

  async #start(): Promise<void> {
    if (!this.isOpen) return;
    const { base, command } = this.#plan;
    const read = readSettings(base);
    const refusal = command === undefined ? refusalOf('run', scriptFacts(base, 'run')) : undefined;
    const why = read.ok ? refusal : read.why;
    if (!read.ok || why !== undefined) {
      this.feed({ kind: 'failed', why: why ?? 'its settings cannot be read' });
      return;
    }
    const { settings } = read;
    this.depends = settings.depends;
    try {
      const argv = command ?? runCommand(settings, readAccount(settings.user));
      const env = readEnv(base);
      const { notificationFd } = settings;
      const extras: { asFd: number; fd: number }[] = [];
      if (notificationFd !== undefined) extras.push({ asFd: notificationFd, fd: await this.#openNotify() });
      const marks = settings.fghack ? await makeMarks(this.statePath) : undefined;
      if (marks !== undefined) extras.push({ asFd: LIFELINE_FD, fd: marks.lifelineFd });
      if (this.isOpen) this.#launch(argv, settings, env, extras, marks?.cgroup);
      else for (const { fd } of extras) closeSync(fd);
    } catch (thrown) {
      this.feed({ kind: 'failed', why: reasonOf(thrown) });
    }
  }

  #startFinish(death: Death, groupId: number): void {
    const why = refusalOf('finish', scriptFacts(this.#plan.base, 'finish'));
    if (why !== undefined) {
      this.feed({ kind: 'failed', why });
      return;
    }
    // s6: exit code or 256, signal number, name, process group.
    const signalNumber = osConstants.signals[(death.signal ?? '') as NodeJS.Signals] ?? 0;
    const code = death.signal === undefined ? (death.exitCode ?? 256) : 256;
    this.#launch(
      ['./finish', String(code), String(signalNumber), this.name, String(groupId)],
      this.service.settings,
      {},
    );
  }

  #launch(
    argv: readonly string[],
    settings: Settings,
    env: Readonly<Record<string, string | undefined>>,
    extras: readonly { readonly asFd: number; readonly fd: number }[] = [],
    cgroup?: string,
  ): void {
    const streams = this.#plan.streams();
    let pid = 0;
    const launched = launch({
      base: this.#plan.base,
      argv,
      env,
      stdin: streams.stdin,
      stdout: streams.stdout,
      stderr: 2,
      extras,
      cgroup,
      onExit: (exitCode, signal) => this.#died(pid, exitCode, signal),
    });
    streams.release();
    for (const { fd } of extras) closeSync(fd);
    if (!launched.ok) {
      this.feed({ kind: 'failed', why: launched.why });
      return;
    }
    pid = launched.pid;
    this.#startTime = livingStartTime(pid);
    this.feed({ kind: 'started', pid, settings });
    launched.openGate();
  }

  #died(pid: number, exitCode: number | undefined, signal: string | undefined): void {
    this.feed({ kind: 'died', pid, death: { exitCode, signal, atMs: Date.now() } });
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid, adopted } = this.service;
    // Our own child keeps its pid until we have seen its death; anybody else's may be reused.
    if (pid === 0 || (adopted && livingStartTime(pid) !== this.#startTime)) return;
    sendSignal(pid, signal);
  }

  /** Says who is the service now, and waits for its death, of which the kernel tells only its parent. */
  #trace(): void {
    const pid = mainOf(findMembers(this.statePath));
    const startTime = livingStartTime(pid);
    if (startTime === undefined) {
      this.feed({ kind: 'traced', pid: 0 });
      return;
    }
    this.#startTime = startTime;
    this.feed({ kind: 'traced', pid });
    this.#host.watchDeath(pid, startTime, (exitCode, signal) => this.#died(pid, exitCode, signal));
  }

  #sweep(groupId: number, signal: NodeJS.Signals | undefined): boolean {
    const isGroupLeft = this.#sweepGroup(groupId, signal);
    return this.service.settings.fghack ? this.#sweepMembers(signal) || isGroupLeft : isGroupLeft;
  }

  #sweepMembers(signal: NodeJS.Signals | undefined): boolean {
    const members = findMembers(this.statePath);
    for (const { pid } of members) {
      if (signal !== undefined) sendSignal(pid, signal);
      if (signal === 'SIGTERM') sendSignal(pid, 'SIGCONT');
    }
    if (members.length === 0) dropMarks(this.statePath);
    return members.length > 0;
  }

  #sweepGroup(groupId: number, signal: NodeJS.Signals | undefined): boolean {
    if (groupId === 0 || !isOurGroup(livingStartTime(groupId), this.#startTime)) return false;
    if (!sendSignal(-groupId, signal ?? 0)) return false;
    // A stopped process acts on TERM only once it is continued.
    if (signal === 'SIGTERM') sendSignal(-groupId, 'SIGCONT');
    return groupHasLiving(groupId);
  }

  #check(pid: number): void {
    const done = (ok: boolean): void => this.feed({ kind: 'checked', pid, ok });
    const child = spawn('./check', [], {
      cwd: this.#plan.base,
      stdio: 'ignore',
      timeout: CHECK_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    child.once('error', () => done(false));
    child.once('exit', (code) => done(code === 0));
    child.unref();
  }

  /** Descriptor for the service to write its newline to; what an earlier run left in the FIFO is thrown away. */
  async #openNotify(): Promise<number> {
    const path = `${this.statePath}/notify.fifo`;
    if (!exists(path)) {
      const why = await makeFifos([path]);
      if (why !== undefined) throw new Error(why);
    }
    this.#notify?.socket.destroy();
    // Read and write on both sides: neither the supervisor's death nor the service's ends the FIFO for the other.
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    drain(fd);
    const socket = readFifo(fd, (octets) => {
      if (octets.includes(0x0a)) this.feed({ kind: 'notified', pid: this.service.pid });
    });
    this.#notify = { socket, fd };
    return openSync(path, constants.O_RDWR);
  }

  #announce(): void {
    this.#write('record');
    this.#write('status');
  }

  #write(what: 'record' | 'status'): void {
    const { service } = this;
    const startTime = service.pid === 0 && service.phase !== 'clearing' ? undefined : this.#startTime;
    const content =
      what === 'record'
        ? encodeRecord(service, startTime, this.#host.bootId)
        : Buffer.from(packStatus({ ...service, activity: ACTIVITIES[service.phase] })).toString('latin1');
    if (content === this.#written[what]) return;
    try {
      if (what === 'record') replaceFile(`${this.statePath}/adopt.json`, content, 0o600);
      else replaceFile(`${this.statePath}/status`, content, 0o644);
      this.#written[what] = content;
      this.#hasWarned = false;
    } catch (thrown) {
      // As 0.76: a state that cannot be written is said, and the service goes on.
      if (!this.#hasWarned) this.#host.log(`${this.name}: cannot write supervise/${what}: ${reasonOf(thrown)}`);
      this.#hasWarned = true;
    }
  }

  #forget(): void {
    try {
      unlinkSync(`${this.statePath}/adopt.json`);
    } catch {
      // Never written, or the directory is gone: either way there is nothing left to adopt.
    }
  }
}

/** Writes beside, then renames: a reader never sees half a file. */
function replaceFile(path: string, content: string, mode: number): void {
  writeFileSync(`${path}.new`, content, { encoding: 'latin1', mode });
  renameSync(`${path}.new`, path);
}

/** @returns false where nobody was there to get it. */
function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Calls back with what arrives on a FIFO opened for reading and writing. The octets are good only during the call. */
function readFifo(fd: number, onOctets: (octets: Uint8Array) => void): Socket {
  return new Socket({
    fd,
    readable: true,
    writable: false,
    onread: {
      buffer: controlBuffer,
      callback: (length, buffer) => {
        onOctets(Uint8Array.from(buffer.subarray(0, length)));
        return true;
      },
    },
  });
}

function drain(fd: number): void {
  const sink = Buffer.alloc(4096);
  try {
    while (readSync(fd, sink) > 0);
  } catch {
    // EAGAIN: it is empty.
  }
}
