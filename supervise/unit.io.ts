// supervise/unit.io.ts - one service directory being supervised: carries out what machine.ts decides.
//
// Owns: the directory's control and ok FIFOs, its lock, record and status file, its processes and its one timer.
// Does not own: decisions (machine.ts, record.ts), opening the directory (open.io.ts), which directories (supervisor.io.ts).

import { spawn } from 'node:child_process';
import { closeSync, constants, openSync, statSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import { reasonOf } from '../formats/errors.ts';
import { makeFifos } from './commands.io.ts';
import { eventsOfControl } from './control.ts';
import { tallied } from './deathtally.ts';
import {
  exists,
  instanceEnv,
  programOf,
  readAccount,
  readEdition,
  readEnv,
  readSettings,
  scriptFacts,
} from './directory.io.ts';
import { decodeEntries, encodeEntry, entryOf, HISTORY_BYTES_MAX } from './history.ts';
import type { HistoryEntry } from './history.ts';
import type { Launched, LaunchPlan, OnDeath } from './launch.io.ts';
import { runCommand } from './launch.ts';
import { nextDeadlineMs, transition } from './machine.ts';
import { probe } from './probe.io.ts';
import { groupHasLiving, isLiving, livingStartTime } from './procfs.io.ts';
import { decodeRecord, encodeRecord, isOurGroup, recover, strangerOf } from './record.ts';
import { DEFAULT_SETTINGS } from './service.ts';
import type { Death, Effect, Event, Moment, Service, Settings } from './service.ts';
import { refusalOf } from './servicedir.ts';
import { appendFile, drain, openFifo, readStateFile, replaceFile } from './statefile.io.ts';
import { mainOf } from './trace.ts';
import { dropMarks, findMembers, LIFELINE_FD, makeLimitedCgroup, makeMarks } from './trace.io.ts';
import { ACTIVITIES, packStatus } from './status.ts';

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
  readonly pids: Map<number, Unit>;
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
  /** What to start instead of ./run: programs of rouse itself, which are no files of the directory. */
  readonly command?: readonly string[] | undefined;
};

type StateFile = 'record' | 'status' | 'history' | 'death_tally';

const RECORD_BYTES_MAX = 16_384;
const TALLY_BYTES_MAX = 65_536;
const CHECK_TIMEOUT_MS = 10_000;
/** Orders taken from one FIFO in one turn of the event loop: each may cost a tenth of a millisecond. */
const CONTROL_BYTES = 64;
/** Where even the reserve of descriptors did not do to look at processes. */
const LOOK_AGAIN_MS = 1000;
/** All control FIFOs share it: what is read is used up before the next read. */
const controlBuffer = Buffer.alloc(CONTROL_BYTES);

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
  readonly #directoryId: string;
  /** What of supervise/ cannot be written, and why. */
  readonly #unwritable = new Map<StateFile, string>();

  /** Takes over a directory whose lock is held; writes the status file, but starts nothing before `begin`. */
  constructor(plan: UnitPlan, host: UnitHost) {
    this.#plan = plan;
    this.#host = host;
    this.name = plan.name;
    const { dev, ino } = statSync(plan.base, { bigint: true });
    this.#directoryId = `${dev}:${ino}`;
    const { service, events } = this.#recover();
    this.service = service;
    this.#first = events;
    this.#write('status');
    this.#control = readFifo(plan.controlFd, (octets) => {
      for (const event of eventsOfControl(octets)) this.feed(event);
    });
  }

  /** What is wrong with it: with the service itself, else with its files in supervise/. */
  get why(): string | undefined {
    const [unwritable] = this.#unwritable.values();
    return this.service.trouble ?? unwritable;
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

  /** Before a start nothing else is read: what it waits for may be another by now. */
  readDependsAgain(): void {
    const read = readSettings(this.#plan.base);
    if (read.ok) this.depends = read.settings.depends;
  }

  /** What is remembered, oldest first; at most the given number of the newest. */
  history(limit: number): HistoryEntry[] {
    const entries = ['history.old', 'history'].flatMap((name) => {
      try {
        return decodeEntries(readStateFile(`${this.statePath}/${name}`, 2 * HISTORY_BYTES_MAX) ?? '');
      } catch {
        // That it is no file of ours is said when it is written to.
        return [];
      }
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

  /** Throws where the record cannot be read, or its process not looked at: better no service than two of it. */
  #recover(): { service: Service; events: readonly Event[] } {
    const text = readStateFile(`${this.statePath}/adopt.json`, RECORD_BYTES_MAX);
    const found = text === undefined ? undefined : decodeRecord(text);
    const startTimeNow = livingStartTime(found?.kept.pid ?? 0);
    const isAlive = startTimeNow !== undefined && startTimeNow === found?.startTime;
    const stranger = strangerOf(found, this.#directoryId, isAlive ? this.#holderOf(found?.kept.pid ?? 0) : undefined);
    if (stranger !== undefined) this.#host.log(`${this.name}: supervise/adopt.json is ignored: ${stranger}`);
    const record = stranger === undefined ? found : undefined;
    const read = readSettings(this.#plan.base);
    const settings: Settings = read.ok ? read.settings : DEFAULT_SETTINGS;
    this.depends = settings.depends;
    this.#startTime = record?.startTime;
    if (record !== undefined && isAlive) this.#host.pids.set(record.kept.pid, this);
    return recover(
      record,
      {
        bootId: this.#host.bootId,
        startTimeNow,
        hasDownFile: exists(`${this.#plan.base}/down`),
        settings,
      },
      this.#host.now(),
    );
  }

  #holderOf(pid: number): string | undefined {
    const holder = this.#host.pids.get(pid);
    return holder?.isOpen === true && holder.service.pid === pid ? holder.name : undefined;
  }

  #remember(entry: HistoryEntry | undefined): void {
    if (entry === undefined) return;
    this.#writing('history', () => appendFile(`${this.statePath}/history`, encodeEntry(entry), HISTORY_BYTES_MAX));
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
    const extras: { asFd: number; fd: number }[] = [];
    try {
      const argv = command ?? runCommand(settings, readAccount(settings.user), programOf(base, 'run'));
      const env = readEnv(base);
      const { notificationFd } = settings;
      if (notificationFd !== undefined) extras.push({ asFd: notificationFd, fd: await this.#openNotify() });
      const marks = settings.fghack ? await makeMarks(this.statePath) : undefined;
      if (marks !== undefined) extras.push({ asFd: LIFELINE_FD, fd: marks.lifelineFd });
      const cgroup = settings.cgroup === undefined ? marks?.cgroup : makeLimitedCgroup(this.statePath, settings.cgroup);
      this.#launch(argv, settings, env, extras, cgroup);
    } catch (thrown) {
      for (const { fd } of extras) closeSync(fd);
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
    const signalNumber = signalNumberOf(death.signal);
    const code = death.signal === undefined ? (death.exitCode ?? 256) : 256;
    this.#launch(
      [programOf(this.#plan.base, 'finish'), String(code), String(signalNumber), this.name, String(groupId)],
      this.service.settings,
      instanceEnv(this.#plan.base),
    );
  }

  /** @param extras are closed once the process has them. */
  #launch(
    argv: readonly string[],
    settings: Settings,
    env: Readonly<Record<string, string | undefined>>,
    extras: readonly { readonly asFd: number; readonly fd: number }[] = [],
    cgroup?: string,
  ): void {
    let streams: StandardStreams;
    try {
      streams = this.#plan.streams();
    } catch (thrown) {
      for (const { fd } of extras) closeSync(fd);
      this.feed({ kind: 'failed', why: reasonOf(thrown) });
      return;
    }
    let pid = 0;
    const { base } = this.#plan;
    const onExit: OnDeath = (exitCode, signal) => this.#died(pid, exitCode, signal);
    this.#host.launch({ base, argv, env, ...streams, stderr: 2, extras, cgroup, onExit }, (launched) => {
      for (const { fd } of extras) closeSync(fd);
      if (!launched.ok) {
        this.feed({ kind: 'failed', why: launched.why });
        return;
      }
      if (!this.isOpen) {
        launched.refuse();
        return;
      }
      ({ pid } = launched);
      this.#startTime = launched.startTime;
      this.#host.pids.set(pid, this);
      this.feed({ kind: 'started', pid, settings });
      launched.openGate();
    });
  }

  #died(pid: number, exitCode: number | undefined, signal: string | undefined): void {
    if (this.#host.pids.get(pid) === this) this.#host.pids.delete(pid);
    if (this.service.phase === 'up' && pid === this.service.pid) this.#tally(exitCode, signal);
    this.feed({ kind: 'died', pid, death: { exitCode, signal, atMs: Date.now() } });
  }

  #tally(exitCode: number | undefined, signal: string | undefined): void {
    const { maxDeathTally } = this.service.settings;
    if (maxDeathTally === 0) return;
    const path = `${this.statePath}/death_tally`;
    const signalNumber = signalNumberOf(signal);
    this.#writing('death_tally', () => {
      const before = Buffer.from(readStateFile(path, TALLY_BYTES_MAX, 'latin1') ?? '', 'latin1');
      const { wall } = this.#host.now();
      replaceFile(path, Buffer.from(tallied(before, maxDeathTally, { at: wall, exitCode, signalNumber })), 0o644);
    });
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.service;
    // It is the spawner's child or nobody's that we know: its pid may be another's by now.
    if (pid === 0 || !isLiving(pid, this.#startTime ?? '')) return;
    sendSignal(pid, signal);
  }

  /** Says who is the service now, and waits for its death, of which the kernel tells only its parent. */
  #trace(): void {
    let pid: number;
    let startTime: string | undefined;
    try {
      pid = mainOf(findMembers(this.statePath));
      startTime = livingStartTime(pid);
    } catch (thrown) {
      this.#host.log(`${this.name}: cannot look for what it left in the background: ${reasonOf(thrown)}`);
      setTimeout(() => {
        if (this.isOpen) this.#trace();
      }, LOOK_AGAIN_MS);
      return;
    }
    if (startTime === undefined) {
      this.feed({ kind: 'traced', pid: 0 });
      return;
    }
    this.#startTime = startTime;
    this.#host.pids.set(pid, this);
    this.feed({ kind: 'traced', pid });
    this.#host.watchDeath(pid, startTime, (exitCode, signal) => this.#died(pid, exitCode, signal));
  }

  #sweep(groupId: number, signal: NodeJS.Signals | undefined): boolean {
    try {
      const isGroupLeft = this.#sweepGroup(groupId, signal);
      const { fghack, cgroup } = this.service.settings;
      return fghack || cgroup !== undefined ? this.#sweepMembers(signal) || isGroupLeft : isGroupLeft;
    } catch (thrown) {
      this.#host.log(`${this.name}: cannot look for what it left: ${reasonOf(thrown)}`);
      return true;
    }
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
    try {
      const { base } = this.#plan;
      const child = spawn(programOf(base, 'check'), [], {
        cwd: base,
        env: { ...process.env, ...instanceEnv(base) },
        stdio: 'ignore',
        timeout: CHECK_TIMEOUT_MS,
        killSignal: 'SIGKILL',
      });
      child.once('error', () => done(false));
      child.once('exit', (code) => done(code === 0));
      child.unref();
    } catch {
      // Out of memory: as a check that fails, it is tried again.
      done(false);
    }
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
    const fd = openFifo(path, constants.O_RDWR);
    drain(fd);
    const socket = readFifo(fd, (octets) => {
      if (octets.includes(0x0a)) this.feed({ kind: 'notified', pid: this.service.pid });
    });
    this.#notify = { socket, fd };
    // The same FIFO, whatever has taken its name since; without O_NONBLOCK.
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDWR);
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
        ? encodeRecord(service, startTime, this.#host.bootId, this.#directoryId)
        : Buffer.from(packStatus({ ...service, activity: ACTIVITIES[service.phase] })).toString('latin1');
    if (content === this.#written[what]) return;
    this.#writing(what, () => {
      const octets = Buffer.from(content, 'latin1');
      if (what === 'record') replaceFile(`${this.statePath}/adopt.json`, octets, 0o600);
      else replaceFile(`${this.statePath}/status`, octets, 0o644);
      this.#written[what] = content;
    });
  }

  /** As 0.76: a state that cannot be written is said, and the service goes on. */
  #writing(what: StateFile, write: () => void): void {
    try {
      write();
      this.#unwritable.delete(what);
    } catch (thrown) {
      const why = `cannot write supervise/${what}: ${reasonOf(thrown)}`;
      if (this.#unwritable.get(what) !== why) this.#host.log(`${this.name}: ${why}`);
      this.#unwritable.set(what, why);
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

function signalNumberOf(signal: string | undefined): number {
  return osConstants.signals[(signal ?? '') as NodeJS.Signals] ?? 0;
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

/**
 * Calls back with what arrives on a FIFO opened for reading and writing, a little in each turn of the event loop, so that
 * whoever writes without end holds up nobody else. The octets are good only during the call.
 */
function readFifo(fd: number, onOctets: (octets: Uint8Array) => void): Socket {
  const socket = new Socket({
    fd,
    readable: true,
    writable: false,
    onread: {
      buffer: controlBuffer,
      callback: (length, buffer) => {
        onOctets(Uint8Array.from(buffer.subarray(0, length)));
        setImmediate(() => {
          if (!socket.destroyed) socket.resume();
        });
        return false;
      },
    },
  });
  return socket;
}
