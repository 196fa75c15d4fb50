// supervise/unit.io.ts - one service directory being supervised: carries out what machine.ts decides.
//
// Owns: the directory's lock, control and ok, its process and its one timer.
// Does not own: decisions (machine.ts, record.ts), what is left on disk (memory.io.ts), what a start reads (start.io.ts),
// signals (sweep.io.ts), opening the directory (open.io.ts), which directories (slots.io.ts).

import { closeSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { reasonOf } from '../formats/errors.ts';
import { eventsOfControl } from './control.ts';
import { exists, readEdition, readSettings } from './directory.io.ts';
import { readFifo } from './fifo.io.ts';
import { entryOf } from './history.ts';
import type { HistoryEntry } from './history.ts';
import type { UnitHost, UnitPlan } from './host.io.ts';
import type { OnDeath } from './launch.io.ts';
import { nextDeadlineMs, transition } from './machine.ts';
import { Memory } from './memory.io.ts';
import { probe } from './probe.io.ts';
import { gatekeeperOf, isLiving, livingStartTime } from './procfs.io.ts';
import { recover, strangerOf } from './record.ts';
import { DEFAULT_SETTINGS } from './service.ts';
import type { Death, Effect, Event, Moment, Service, Settings } from './service.ts';
import {
  finishStart,
  launchStart,
  Notification,
  prepareStart,
  refusalToStart,
  runCheck,
  signalNumberOf,
} from './start.io.ts';
import type { Start } from './start.io.ts';
import { sendSignal, sweep } from './sweep.io.ts';
import { mainOf } from './trace.ts';
import type { Member } from './trace.ts';
import { findMembers } from './trace.io.ts';

/** Where even the reserve of descriptors did not do to look at processes. */
const LOOK_AGAIN_MS = 1000;

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
  #pending: (readonly [Event, Moment | undefined])[] = [];
  #isFeeding = false;
  readonly #memory: Memory;
  readonly #notification = new Notification();

  /** Takes over a directory whose lock is held; writes the status file, but starts nothing before `begin`. */
  constructor(plan: UnitPlan, host: UnitHost) {
    this.#plan = plan;
    this.#host = host;
    this.name = plan.name;
    const { dev, ino } = statSync(plan.base, { bigint: true });
    const directoryId = `${dev}:${ino}`;
    this.#memory = new Memory(this.statePath, host.bootId, directoryId, (line) => host.log(`${this.name}: ${line}`));
    const { service, events } = this.#recover(directoryId);
    this.service = service;
    this.#first = events;
    this.#memory.writeStatus(service);
    this.#control = readFifo(plan.controlFd, (octets) => {
      for (const event of eventsOfControl(octets)) this.feed(event);
    });
  }

  /** What is wrong with it: with the service itself, else with its files in supervise/. */
  get why(): string | undefined {
    return this.service.trouble ?? this.#memory.trouble;
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
      // One that was stopped before it read `go`: it lets go of all that it holds, and leaves as its orders have ended.
      const gatekeeper = gatekeeperOf(pid);
      if (gatekeeper !== undefined) sendSignal(gatekeeper, 'SIGCONT');
      this.#host.watchDeath(pid, this.#startTime, (exitCode, signal) => this.#died(pid, exitCode, signal));
    }
  }

  /**
   * One event in; all its effects, and the events that answer them at once, are done on return.
   *
   * @param moment that it belongs to, where that is not the one in which it is looked at.
   */
  feed(event: Event, moment?: Moment): void {
    if (!this.isOpen) return;
    this.#pending.push([event, moment]);
    if (this.#isFeeding) return;
    this.#isFeeding = true;
    try {
      for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
        const [happened, at] = next;
        const [service, effects] = transition(this.service, happened, at ?? this.#host.now());
        if (service.trouble !== undefined && service.trouble !== this.service.trouble) {
          this.#host.log(`${this.name}: ${service.trouble}`);
        }
        const entry = entryOf(this.service, happened, service, Date.now());
        if (entry !== undefined) this.#memory.remember(entry);
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

  /** Why it would not start with the files that are there now. */
  get refusal(): string | undefined {
    return refusalToStart(this.#plan.base, this.#plan.command);
  }

  /** What a restart of the service would change about its log. */
  get pending(): string | undefined {
    const { phase, logged } = this.service;
    const willBe = this.#plan.isLogged?.() ?? false;
    if (phase !== 'up' || logged === undefined || logged === willBe) return undefined;
    return willBe
      ? `log/ is new: written to from its next start on (rouse apply ${this.name})`
      : `log/ is gone: written to until its next start (rouse apply ${this.name})`;
  }

  /** Before a start nothing else is read: what it waits for may be another by now. */
  readDependsAgain(): void {
    const read = readSettings(this.#plan.base);
    if (read.ok) this.depends = read.settings.depends;
  }

  /** What is remembered, oldest first; at most the given number of the newest. */
  history(limit: number): HistoryEntry[] {
    return this.#memory.history(limit);
  }

  /** Lets go of everything without touching the service: the supervisor exits, the next one adopts. */
  abandon(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    clearTimeout(this.#timer);
    this.#control.destroy();
    this.#notification.close();
    for (const fd of [this.#okFd, this.#plan.lockFd, ...this.#plan.ownFds]) if (fd !== undefined) closeSync(fd);
    this.#okFd = undefined;
  }

  /** Throws where the record cannot be read, or its process not looked at: better no service than two of it. */
  #recover(directoryId: string): { service: Service; events: readonly Event[] } {
    const found = this.#memory.record();
    const startTimeNow = livingStartTime(found?.kept.pid ?? 0);
    const isAlive = startTimeNow !== undefined && startTimeNow === found?.startTime;
    const stranger = strangerOf(found, directoryId, isAlive ? this.#holderOf(found?.kept.pid ?? 0) : undefined);
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
        runCheck(this.#plan.base, (ok) => this.feed({ kind: 'checked', pid: effect.pid, ok }));
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
        this.#memory.forget();
        this.abandon();
        return;
    }
  }

  async #start(): Promise<void> {
    if (!this.isOpen) return;
    // Where the last one could not be written, no process is made only to be sent away.
    if (this.#memory.isRecordBehind && !this.#isRecorded(this.service)) return;
    const { base, command } = this.#plan;
    const onReady = (): void => this.feed({ kind: 'notified', pid: this.service.pid });
    try {
      await this.#plan.beforeStart?.();
      const start = await prepareStart(base, command, () => this.#notification.open(this.statePath, onReady));
      this.depends = start.settings.depends;
      this.#launch(start);
    } catch (thrown) {
      this.feed({ kind: 'failed', why: reasonOf(thrown) });
    }
  }

  #startFinish(death: Death, groupId: number): void {
    try {
      this.#launch(finishStart(this.#plan.base, this.name, death, groupId, this.service.settings));
    } catch (thrown) {
      this.feed({ kind: 'failed', why: reasonOf(thrown) });
    }
  }

  /** The record is on disk before the process runs: beside one that it does not name, the next supervisor starts another. */
  #launch(start: Start): void {
    let pid = 0;
    const logged = this.#plan.isLogged?.() ?? false;
    const onExit: OnDeath = (exitCode, signal) => this.#died(pid, exitCode, signal);
    launchStart(this.#host, this.#plan, start, onExit, (launched) => {
      if (!launched.ok) {
        this.feed({ kind: 'failed', why: launched.why });
        return;
      }
      if (!this.isOpen) {
        launched.refuse();
        return;
      }
      ({ pid } = launched);
      const moment = this.#host.now();
      const started: Event = { kind: 'started', pid, settings: start.settings, logged };
      const [running] = transition(this.service, started, moment);
      if (!this.#isRecorded(running, launched.startTime)) {
        launched.refuse();
        return;
      }
      this.#startTime = launched.startTime;
      this.#host.pids.set(pid, this);
      this.feed(started, moment);
      launched.openGate();
    });
  }

  /** Else the start has failed. */
  #isRecorded(service: Service, startTime?: string): boolean {
    const why = this.#memory.writeRecord(service, startTime);
    if (why !== undefined) this.feed({ kind: 'failed', why: `not started: ${why}` });
    return why === undefined;
  }

  #died(pid: number, exitCode: number | undefined, signal: string | undefined): void {
    if (this.#host.pids.get(pid) === this) this.#host.pids.delete(pid);
    const { phase, settings } = this.service;
    if (phase === 'up' && pid === this.service.pid) {
      const death = { at: this.#host.now().wall, exitCode, signalNumber: signalNumberOf(signal) };
      this.#memory.tally(death, settings.maxDeathTally);
    }
    this.feed({ kind: 'died', pid, death: { exitCode, signal, atMs: Date.now() } });
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.service;
    // It is the spawner's child or nobody's that we know: its pid may be another's by now.
    if (pid === 0 || !isLiving(pid, this.#startTime ?? '')) return;
    sendSignal(pid, signal);
  }

  /** Says who is the service now, and waits for its death, of which the kernel tells only its parent. */
  #trace(): void {
    let main: Member | undefined;
    try {
      main = mainOf(findMembers(this.statePath));
    } catch (thrown) {
      this.#host.log(`${this.name}: cannot look for what it left in the background: ${reasonOf(thrown)}`);
      setTimeout(() => {
        if (this.isOpen) this.#trace();
      }, LOOK_AGAIN_MS);
      return;
    }
    if (main === undefined) {
      this.feed({ kind: 'traced', pid: 0 });
      return;
    }
    // It is not looked at again: one that has handed over since has a death, after which the next one is looked for.
    const { pid, startTime } = main;
    this.#startTime = startTime;
    this.#host.pids.set(pid, this);
    this.feed({ kind: 'traced', pid });
    this.#host.watchDeath(pid, startTime, (exitCode, signal) => this.#died(pid, exitCode, signal));
  }

  #sweep(groupId: number, signal: NodeJS.Signals | undefined): boolean {
    const { fghack, cgroup } = this.service.settings;
    const markedAt = fghack || cgroup !== undefined ? this.statePath : undefined;
    try {
      return sweep({ groupId, startTime: this.#startTime, markedAt }, signal);
    } catch (thrown) {
      this.#host.log(`${this.name}: cannot look for what it left: ${reasonOf(thrown)}`);
      return true;
    }
  }

  /** The record first: a clear status with a stale record would have the next supervisor adopt what is not there. */
  #announce(): void {
    const { pid, phase } = this.service;
    this.#memory.writeRecord(this.service, pid === 0 && phase !== 'clearing' ? undefined : this.#startTime);
    this.#memory.writeStatus(this.service);
  }
}
