// supervise/supervisor.io.ts - all services of a folder: scanning, opening, signals, the end.
//
// Owns: the scan loop, the slots (a service and its log), the signals, the order of the end.
// Does not own: what a scan means (scan.ts), the order of stopping (shutdown.ts), one service (unit.io.ts, machine.ts).
//
// Signals as runsvdir's: TERM leaves, services live on and the next start adopts them; HUP stops all, then leaves;
// INT (a terminal's ctrl-C) as HUP, and a second one kills what has not ended.

import { closeSync, constants, openSync, statSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { reasonOf } from '../formats/errors.ts';
import { wallTimeFromMs } from '../formats/tai64n.ts';
import type { Applied } from './api.ts';
import { listServices, readSmallFile } from './directory.io.ts';
import type { HistoryEntry } from './history.ts';
import { LOG_WRITER_NAME, LogWriterHost } from './logs.io.ts';
import { openDirectories } from './open.io.ts';
import type { OpenRequest } from './open.io.ts';
import { printable } from '../formats/printable.ts';
import { readBootId } from './procfs.io.ts';
import { Repeats } from './repeats.ts';
import { scan } from './scan.ts';
import type { Part, ScanAction } from './scan.ts';
import type { Event, Moment } from './service.ts';
import { cycleOf, missingOf, stopSteps } from './shutdown.ts';
import { holdLog, nameOf, openRequest, orderedFacts, partsOf, shownNames, slotFacts } from './slot.io.ts';
import type { SlotState } from './slot.io.ts';
import { Spawner } from './spawner.io.ts';
import type { Unit, UnitHost } from './unit.io.ts';
import { blockedView, viewOf } from './view.ts';
import type { ServiceView } from './view.ts';

/** svscan's interval: the net under the watch. */
const SCAN_EVERY_MS = 5000;
/** After the first of several changes in the folder. */
const SETTLE_MS = 50;
/** Directories opened with one lock command. */
const OPEN_AT_ONCE = 128;
/** Entries in an answer of the socket. */
const HISTORY_SHOWN = 200;
/** How long a logger may go on reading after its service has ended, before it gets TERM. */
const LOG_DRAIN_MS = 5000;

function now(): Moment {
  return {
    monotonicMs: Number(process.hrtime.bigint() / 1000n) / 1000,
    wall: wallTimeFromMs(Date.now()),
    random: Math.random(),
  };
}

/** A blocked directory has no time of its own. */
function comparable(view: ServiceView): string {
  return JSON.stringify(view.phase === 'blocked' ? { ...view, changedAtMs: 0 } : view);
}

/** Supervises one folder from `run` until told to leave. */
export class Supervisor {
  readonly #directory: string;
  readonly #log: (line: string) => void;
  readonly #slots = new Map<string, SlotState>();
  readonly #spawner: Spawner;
  readonly #host: UnitHost;
  readonly #logWriter: LogWriterHost;
  readonly #starts: (() => void)[] = [];
  #unscannable: readonly { readonly name: string; readonly why: string }[] = [];
  #scanTimer: NodeJS.Timeout | undefined;
  #isScanning = false;
  #isScanAsked = false;
  #isStopping = false;
  #isLeaving = false;
  #isWriterEnding = false;
  #isReviewAsked = false;
  readonly #listeners = new Set<(view: ServiceView) => void>();
  readonly #told = new Map<string, string>();
  #watcher: FSWatcher | undefined;
  #watchedId = '';
  #resolve: (exitCode: number) => void = () => undefined;

  /** @param logFolder of the log writer; made when there is a log for it. */
  constructor(directory: string, log: (line: string) => void, logFolder = `${directory}/.rouse-logs`) {
    this.#directory = directory;
    const repeats = new Repeats();
    this.#log = (line) => {
      const news = repeats.newsOf(line, now().monotonicMs);
      if (news !== undefined) log(printable(news));
    };
    this.#spawner = new Spawner(this.#log);
    this.#host = {
      bootId: readBootId(),
      now,
      log: this.#log,
      enqueueStart: (start) => this.#enqueueStart(start),
      launch: (plan, onAnswer) => this.#spawner.launch(plan, onAnswer),
      watchDeath: (pid, startTime, onDeath) => this.#spawner.watch(pid, startTime, onDeath),
      onChange: () => this.#askReview(),
      pids: new Map(),
    };
    this.#logWriter = new LogWriterHost(logFolder, this.#host);
  }

  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.#resolve = resolve;
    });
    const onTerm = (): void => this.#leave();
    const onStop = (): void => this.#stopAll();
    process.on('SIGTERM', onTerm);
    process.on('SIGHUP', onStop);
    process.on('SIGINT', onStop);
    const interval = setInterval(() => void this.#scan(), SCAN_EVERY_MS);
    await this.#scan();
    const exitCode = await ended;
    clearInterval(interval);
    clearTimeout(this.#scanTimer);
    this.#watcher?.close();
    this.#spawner.close();
    for (const [signal, handler] of [
      ['SIGTERM', onTerm],
      ['SIGHUP', onStop],
      ['SIGINT', onStop],
    ] as const) {
      process.off(signal, handler);
    }
    return exitCode;
  }

  list(): ServiceView[] {
    const { unit: writerUnit, why: writerWhy } = this.#logWriter;
    const writtenLog = (slot: SlotState, shown: string): ServiceView[] => {
      if (slot.log !== 'writer') return [];
      const name = `${shown}/log`;
      if (writerUnit === undefined)
        return [blockedView(name, writerWhy ?? 'the log writer is being started', Date.now(), this.#pathOf(slot))];
      return [
        {
          ...viewOf(name, writerUnit.service, slot.isPresent, this.#pathOf(slot)),
          why: `written by ${LOG_WRITER_NAME}`,
        },
      ];
    };
    const views = [...this.#shown()].flatMap(([shown, slot]) => [
      ...writtenLog(slot, shown),
      ...partsOf(slot).flatMap((part): ServiceView[] => {
        const name = nameOf({ name: shown }, part);
        const unit = slot.units.get(part);
        if (unit !== undefined)
          return [{ ...viewOf(name, unit.service, slot.isPresent, this.#pathOf(slot)), why: unit.why }];
        return [blockedView(name, slot.problems.get(part) ?? 'it is being opened', Date.now(), this.#pathOf(slot))];
      }),
    ]);
    const unscannable = this.#unscannable.map(({ name, why }) =>
      blockedView(name, why, Date.now(), `${this.#directory}/${name}`),
    );
    const writer =
      writerUnit === undefined ? [] : [viewOf(LOG_WRITER_NAME, writerUnit.service, true, this.#logWriter.folder)];
    return [...views, ...unscannable, ...writer].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  onEvent(listener: (view: ServiceView) => void): () => void {
    if (this.#listeners.size === 0) for (const view of this.list()) this.#told.set(view.name, comparable(view));
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#told.clear();
    };
  }

  /** Nobody listens, most of the time: then nothing is compared. */
  #tellListeners(): void {
    if (this.#listeners.size === 0) return;
    for (const view of this.list()) {
      const text = comparable(view);
      if (this.#told.get(view.name) === text) continue;
      this.#told.set(view.name, text);
      for (const listener of this.#listeners) listener(view);
    }
  }

  feed(name: string, event: Event): boolean {
    const written = name.endsWith('/log') ? this.#shown().get(name.slice(0, -'/log'.length)) : undefined;
    if (written?.log === 'writer') return this.#feedWrittenLog(written, event);
    const unit = this.#unit(name);
    unit?.feed(event);
    return unit !== undefined;
  }

  /**
   * Restarts a service whose files were edited since it was started, and takes on an edited log/multilog.
   *
   * @returns undefined where no service of that name is open.
   */
  apply(name: string): Applied | undefined {
    const slot = this.#shown().get(name);
    const isNewScript = slot?.log === 'writer' && slot.isPresent && this.#readScript(name) !== slot.script;
    if (isNewScript) this.#feedWrittenLog(slot, { kind: 'restart' });
    const unit = this.#unit(name);
    if (unit === undefined) return undefined;
    const { isOutdated } = unit;
    if (isOutdated) unit.feed({ kind: 'restart' });
    if (isOutdated) return 'restarted';
    return isNewScript ? 'log' : 'unchanged';
  }

  /** A log without a process of its own: restart reads its script anew, ALRM begins new files (of all, as they share it). */
  #feedWrittenLog(slot: SlotState, event: Event): boolean {
    if (event.kind === 'signal' && event.signal === 'SIGALRM') this.#logWriter.unit?.feed(event);
    else if (event.kind !== 'restart') return false;
    else {
      slot.script = this.#readScript(slot.name);
      void this.#publishLogs();
    }
    return true;
  }

  history(name: string): HistoryEntry[] | undefined {
    return this.#unit(name)?.history(HISTORY_SHOWN);
  }

  #pathOf({ name }: SlotState): string {
    return `${this.#directory}/${name}`;
  }

  #unit(name: string): Unit | undefined {
    if (name === LOG_WRITER_NAME) return this.#logWriter.unit;
    const shown = this.#shown();
    const unit = shown.get(name)?.units.get('main');
    if (unit !== undefined || !name.endsWith('/log')) return unit;
    return shown.get(name.slice(0, -'/log'.length))?.units.get('log');
  }

  /** The slots by the names that people see. */
  #shown(): Map<string, SlotState> {
    return new Map([...shownNames([...this.#slots.values()])].map(([slot, name]) => [name, slot]));
  }

  #enqueueStart(start: () => void): void {
    this.#starts.push(start);
    if (this.#starts.length === 1) setImmediate(() => this.#startNext());
  }

  #startNext(): void {
    if (this.#isLeaving) return;
    this.#starts[0]?.();
    this.#starts.shift();
    if (this.#starts.length > 0) setImmediate(() => this.#startNext());
  }

  async #scan(): Promise<void> {
    this.#isScanAsked = true;
    if (this.#isScanning) return;
    this.#isScanning = true;
    try {
      while (this.#isScanAsked && !this.#isStopping && !this.#isLeaving) {
        this.#isScanAsked = false;
        await this.#scanOnce();
      }
    } catch (thrown) {
      // Out of memory or descriptors: the next scan does what this one could not.
      this.#log(`cannot look through ${this.#directory}: ${reasonOf(thrown)}`);
    } finally {
      this.#isScanning = false;
    }
    // A signal during the scan waited for it: what was being opened is known now.
    if (this.#isLeaving) this.#leaveNow();
    else this.#askReview();
  }

  async #scanOnce(): Promise<void> {
    this.#watch();
    let entries: ReturnType<typeof listServices>;
    try {
      entries = listServices(this.#directory);
    } catch (thrown) {
      this.#log(`cannot read ${this.#directory}: ${reasonOf(thrown)}`);
      return;
    }
    const { actions, problems } = scan([...this.#slots.values()].map(slotFacts), entries);
    const known = new Set(this.#unscannable.map(({ name, why }) => `${name}: ${why}`));
    for (const { name, why } of problems) if (!known.has(`${name}: ${why}`)) this.#log(`${name}: ${why}`);
    this.#unscannable = problems;
    const toOpen = actions.flatMap((action) => this.#apply(action));
    for (let at = 0; at < toOpen.length && !this.#isLeaving; at += OPEN_AT_ONCE) {
      await this.#open(toOpen.slice(at, at + OPEN_AT_ONCE));
    }
    if (!this.#isLeaving && !this.#isStopping) await this.#publishLogs();
  }

  /** After a scan is done, never half-way: a log that is not in the list is let go. */
  async #publishLogs(): Promise<void> {
    const written = [...this.#slots.values()].filter(({ log, units }) => log === 'writer' && units.size > 0);
    await this.#logWriter.publish(
      written.map(({ id, name, script }) => ({ id, name, directory: `${this.#directory}/${name}`, script })),
    );
  }

  /** @returns the part to open, where that is the action. */
  #apply(action: ScanAction): { slot: SlotState; part: Part }[] {
    if (action.kind === 'add') {
      const { id, name, log } = action;
      try {
        const fd = openSync(`${this.#directory}/${name}`, constants.O_RDONLY | constants.O_DIRECTORY);
        this.#slots.set(id, {
          id,
          name,
          log,
          script: log === 'writer' ? this.#readScript(name) : '',
          isPresent: true,
          fd,
          units: new Map(),
          problems: new Map(),
          logFd: undefined,
          asked: new Set(),
        });
      } catch (thrown) {
        this.#unscannable = [...this.#unscannable, { name, why: reasonOf(thrown) }];
      }
      return [];
    }
    const slot = this.#slots.get(action.id);
    if (slot === undefined) return [];
    switch (action.kind) {
      case 'open':
        return [{ slot, part: action.part }];
      case 'rename':
        slot.name = action.name;
        slot.isPresent = true;
        for (const [part, unit] of slot.units) unit.name = nameOf(slot, part);
        return [];
      case 'absent':
        slot.isPresent = false;
        return [];
      case 'release':
        if (action.part === 'log') this.#endLog(slot);
        else slot.units.get('main')?.feed({ kind: 'exit' });
        return [];
      case 'drop':
        this.#slots.delete(slot.id);
        for (const fd of [slot.fd, slot.logFd]) if (fd !== undefined) closeSync(fd);
        return [];
    }
  }

  #readScript(name: string): string {
    const read = readSmallFile(`${this.#directory}/${name}/log/multilog`);
    if (read.kind === 'text') return read.text;
    this.#log(`${name}: file log/multilog: ${read.kind === 'absent' ? 'it is gone' : read.why}`);
    return '';
  }

  async #open(wanted: readonly { slot: SlotState; part: Part }[]): Promise<void> {
    const requests: { slot: SlotState; part: Part; request: OpenRequest }[] = [];
    for (const { slot, part } of wanted) {
      try {
        requests.push({ slot, part, request: openRequest(slot, part) });
      } catch (thrown) {
        this.#block(slot, part, reasonOf(thrown));
      }
    }
    const answers = await openDirectories(
      requests.map(({ request }) => request),
      this.#host,
    );
    const begun: (() => void)[] = [];
    for (const [index, { slot, part }] of requests.entries()) {
      const answer = answers[index];
      if (answer === undefined) continue;
      if (!answer.ok) {
        this.#block(slot, part, answer.why);
        continue;
      }
      const { unit, okFd } = answer;
      try {
        // An adopted service may be the only other holder of what was written and not yet read.
        if (slot.log !== 'none') holdLog(slot);
      } catch (thrown) {
        unit.abandon();
        closeSync(okFd);
        this.#block(slot, part, reasonOf(thrown));
        continue;
      }
      slot.problems.delete(part);
      slot.units.set(part, unit);
      begun.push(() => unit.begin(okFd, this.#missing(slot, unit)));
    }
    for (const begin of begun) begin();
  }

  #block(slot: SlotState, part: Part, why: string): void {
    if (slot.problems.get(part) !== why) this.#log(`${nameOf(slot, part)}: ${why}`);
    slot.problems.set(part, why);
  }

  /** Watches the folder, and the new one where another has taken its name. */
  #watch(): void {
    try {
      const { dev, ino } = statSync(this.#directory, { bigint: true });
      const id = `${dev}:${ino}`;
      if (id === this.#watchedId) return;
      this.#watcher?.close();
      this.#watcher = watch(this.#directory, () => this.#wake());
      this.#watcher.on('error', (error) => {
        this.#log(`cannot watch ${this.#directory}: ${error.message}; looking every 5 s`);
        this.#watcher?.close();
      });
      this.#watchedId = id;
    } catch (thrown) {
      // Out of inotify watches, or the folder is away: the 5 s scan goes on.
      if (this.#watchedId !== 'none')
        this.#log(`cannot watch ${this.#directory}: ${reasonOf(thrown)}; looking every 5 s`);
      this.#watchedId = 'none';
    }
  }

  #wake(): void {
    this.#scanTimer ??= setTimeout(() => {
      this.#scanTimer = undefined;
      void this.#scan();
    }, SETTLE_MS);
  }

  #missing(slot: SlotState, unit: Unit): string[] {
    if (unit.depends.length === 0) return [];
    const dependsOf = new Map([...this.#shown()].map(([name, { units }]) => [name, units.get('main')?.depends ?? []]));
    const cycle = cycleOf(slot.name, dependsOf);
    return missingOf(unit.depends, this.#readiness(), cycle);
  }

  #readiness(): Map<string, boolean> {
    return new Map([...this.#shown()].map(([name, { units }]) => [name, units.get('main')?.service.ready ?? false]));
  }

  /** Once per turn, whatever the number of changes: dependencies, closed parts, the end. */
  #askReview(): void {
    if (this.#isReviewAsked || this.#isLeaving) return;
    this.#isReviewAsked = true;
    setImmediate(() => {
      this.#isReviewAsked = false;
      if (!this.#isLeaving) this.#review();
    });
  }

  #review(): void {
    this.#tellListeners();
    for (const slot of this.#slots.values()) {
      for (const [part, unit] of slot.units) {
        if (unit.isOpen) continue;
        slot.units.delete(part);
        // Nothing but the next scan would see that a removed service has ended.
        if (!slot.isPresent) this.#wake();
      }
    }
    if (this.#isStopping) {
      this.#stopFurther();
      return;
    }
    for (const slot of this.#slots.values()) {
      const unit = slot.units.get('main');
      if (unit === undefined || (unit.depends.length === 0 && unit.service.missing.length === 0)) continue;
      const missing = this.#missing(slot, unit);
      if (missing.join('\n') !== unit.service.missing.join('\n')) unit.feed({ kind: 'dependencies', missing });
    }
  }

  /** TERM: let go of everything, services live on. */
  #leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    if (!this.#isScanning) this.#leaveNow();
  }

  #leaveNow(): void {
    for (const slot of this.#slots.values()) {
      for (const unit of slot.units.values()) unit.abandon();
      for (const fd of [slot.fd, slot.logFd]) if (fd !== undefined) closeSync(fd);
    }
    this.#slots.clear();
    this.#logWriter.abandon();
    this.#resolve(0);
  }

  /** HUP and INT: stop everything, then leave. */
  #stopAll(): void {
    if (this.#isStopping) {
      for (const slot of this.#slots.values()) {
        for (const unit of slot.units.values()) unit.feed({ kind: 'signal', signal: 'SIGKILL' });
      }
      return;
    }
    this.#isStopping = true;
    if (!this.#isScanning) this.#askReview();
  }

  #stopFurther(): void {
    if (this.#isScanning) return;
    const slots = [...this.#slots.values()];
    const shown = this.#shown();
    for (const { kind, name } of stopSteps([...shown].map(([each, slot]) => orderedFacts(slot, each)))) {
      const slot = shown.get(name);
      if (slot === undefined) continue;
      if (kind === 'stop') {
        slot.asked.add('main');
        slot.units.get('main')?.feed({ kind: 'exit' });
        slot.units.get('main')?.feed({ kind: 'down' });
      } else this.#endLog(slot);
    }
    if (slots.some((slot) => slot.units.size > 0)) return;
    if (this.#logWriter.unit === undefined) this.#leave();
    else if (!this.#isWriterEnding) {
      this.#isWriterEnding = true;
      this.#logWriter.end();
    }
  }

  #endLog(slot: SlotState): void {
    if (slot.asked.has('log')) return;
    slot.asked.add('log');
    const unit = slot.units.get('log');
    unit?.feed({ kind: 'exit' });
    if (slot.logFd !== undefined) closeSync(slot.logFd);
    slot.logFd = undefined;
    setTimeout(() => unit?.feed({ kind: 'down' }), LOG_DRAIN_MS).unref();
  }
}
