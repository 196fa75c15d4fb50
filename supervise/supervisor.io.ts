// supervise/supervisor.io.ts - all services of a folder: the loop, the signals, the end.
//
// Owns: the scan loop, one start at a time, the signals, the order of the end.
// Does not own: the slots (slots.io.ts), what a scan means (scan.ts), one service (unit.io.ts, machine.ts).
//
// Signals as runsvdir's: TERM leaves, services live on and the next start adopts them; HUP stops all, then leaves;
// INT (a terminal's ctrl-C) as HUP, and a second one kills what has not ended.

import { reasonOf } from '../formats/errors.ts';
import { printable } from '../formats/printable.ts';
import type { ApplyAnswer } from './api.ts';
import { Changes } from './changes.ts';
import { listServices } from './directory.io.ts';
import { FolderWatch } from './folderwatch.io.ts';
import type { HistoryEntry } from './history.ts';
import { now, unitHost } from './host.io.ts';
import { listAll } from './listing.io.ts';
import { LOG_WRITER_NAME, LogWriterHost } from './logs.io.ts';
import { Repeats } from './repeats.ts';
import { scan } from './scan.ts';
import type { Event } from './service.ts';
import { slotFacts } from './slot.io.ts';
import type { SlotState } from './slot.io.ts';
import { Slots } from './slots.io.ts';
import { Spawner } from './spawner.io.ts';
import type { Unit } from './unit.io.ts';
import type { ServiceView } from './view.ts';

/** svscan's interval: the net under the watch. */
const SCAN_EVERY_MS = 5000;
/** Directories opened with one lock command. */
const OPEN_AT_ONCE = 128;
/** Entries in an answer of the socket. */
const HISTORY_SHOWN = 200;

/** Supervises one folder from `run` until told to leave. */
export class Supervisor {
  readonly #directory: string;
  readonly #log: (line: string) => void;
  readonly #slots: Slots;
  readonly #spawner: Spawner;
  readonly #logWriter: LogWriterHost;
  readonly #watch: FolderWatch;
  readonly #changes: Changes;
  readonly #starts: (() => void)[] = [];
  #isScanning = false;
  #scanned: Promise<void> = Promise.resolve();
  #isScanAsked = false;
  #isStopping = false;
  #isLeaving = false;
  #isWriterEnding = false;
  #isReviewAsked = false;
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
    const host = unitHost(this.#spawner, {
      log: this.#log,
      enqueueStart: (start) => this.#enqueueStart(start),
      onChange: () => this.#askReview(),
    });
    this.#slots = new Slots(directory, host, () => this.#scan());
    this.#logWriter = new LogWriterHost(logFolder, host);
    this.#watch = new FolderWatch(directory, () => void this.#scan(), this.#log);
    this.#changes = new Changes(() => this.list());
  }

  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.#resolve = resolve;
    });
    const onTerm = (): void => this.leave();
    const onStop = (): void => this.stopAll();
    process.on('SIGTERM', onTerm);
    process.on('SIGHUP', onStop);
    process.on('SIGINT', onStop);
    this.#spawner.begin();
    const interval = setInterval(() => void this.#scan(), SCAN_EVERY_MS);
    await this.#scan();
    const exitCode = await ended;
    clearInterval(interval);
    this.#watch.close();
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
    return listAll(this.#slots.shown(), this.#slots.unscannable, this.#logWriter, this.#directory, this.#spawner.row);
  }

  onEvent(listener: (view: ServiceView) => void): () => void {
    return this.#changes.listen(listener);
  }

  feed(name: string, event: Event): boolean {
    const written = name.endsWith('/log') ? this.#slots.shown().get(name.slice(0, -'/log'.length)) : undefined;
    if (written?.log === 'writer') return this.#feedWrittenLog(written, event);
    const unit = this.#unit(name);
    unit?.feed(event);
    return unit !== undefined;
  }

  /**
   * Restarts a service whose files were edited since it was started, or whose log/ came or went, and takes on an edited
   * log/multilog. Where it would not start as it is now, nothing is touched.
   *
   * @returns undefined where no service of that name is open.
   */
  async apply(name: string): Promise<ApplyAnswer | undefined> {
    const slot = this.#slots.shown().get(name);
    if (slot !== undefined) await this.#slots.lookAtLog(slot);
    const unit = this.#unit(name);
    const isOutdated = unit?.isOutdated === true;
    const isPending = unit?.pending !== undefined;
    const refusal = isOutdated || isPending ? unit?.refusal : undefined;
    if (refusal !== undefined) return { kind: 'refused', why: refusal };
    const isWritten = slot?.log === 'writer' && slot.isPresent && !slot.isLogGone;
    const isNewScript = isWritten && (this.#slots.readScript(name) ?? slot.script) !== slot.script;
    if (isNewScript) this.#feedWrittenLog(slot, { kind: 'restart' });
    if (unit === undefined) return undefined;
    if (isOutdated || isPending) unit.feed({ kind: 'restart' });
    if (isOutdated) return { kind: 'applied', applied: 'restarted' };
    if (isPending) return { kind: 'applied', applied: 'logged' };
    return { kind: 'applied', applied: isNewScript ? 'log' : 'unchanged' };
  }

  /** A log without a process of its own: restart reads its script anew, ALRM begins new files (of all, as they share it). */
  #feedWrittenLog(slot: SlotState, event: Event): boolean {
    if (event.kind === 'signal' && event.signal === 'SIGALRM') this.#logWriter.unit?.feed(event);
    else if (event.kind !== 'restart') return false;
    else {
      slot.script = this.#slots.readScript(slot.name) ?? slot.script;
      void this.#publishLogs();
    }
    return true;
  }

  history(name: string): HistoryEntry[] | undefined {
    return this.#unit(name)?.history(HISTORY_SHOWN);
  }

  #unit(name: string): Unit | undefined {
    return name === LOG_WRITER_NAME ? this.#logWriter.unit : this.#slots.unit(name);
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

  /** @returns when a scan that began after the call is done. */
  #scan(): Promise<void> {
    this.#isScanAsked = true;
    if (!this.#isScanning) this.#scanned = this.#scanWhileAsked();
    return this.#scanned;
  }

  async #scanWhileAsked(): Promise<void> {
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
    this.#watch.renew();
    let entries: ReturnType<typeof listServices>;
    try {
      entries = listServices(this.#directory);
    } catch (thrown) {
      this.#log(`cannot read ${this.#directory}: ${reasonOf(thrown)}`);
      return;
    }
    const { actions, problems } = scan(this.#slots.all().map(slotFacts), entries);
    const toOpen = this.#slots.apply(actions, problems);
    await this.#slots.takeLogs();
    for (let at = 0; at < toOpen.length && !this.#isLeaving; at += OPEN_AT_ONCE) {
      await this.#slots.open(toOpen.slice(at, at + OPEN_AT_ONCE));
    }
    for (const { units } of this.#slots.all()) {
      const unit = units.get('main');
      if (unit !== undefined && unit.service.missing.length > 0) unit.readDependsAgain();
    }
    if (!this.#isLeaving && !this.#isStopping) await this.#publishLogs();
  }

  /** After a scan is done, never half-way: a log that is not in the list is let go. */
  async #publishLogs(): Promise<void> {
    const written = this.#slots.all().filter(({ log, units }) => log === 'writer' && units.size > 0);
    await this.#logWriter.publish(
      written.map(({ id, name, logId, script }) => ({
        id,
        name,
        directory: `${this.#directory}/${name}`,
        logId,
        script,
      })),
    );
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
    this.#changes.tell();
    // Nothing but the next scan would see it.
    if (this.#slots.forgetClosed()) this.#watch.wake();
    if (this.#isStopping) this.#stopFurther();
    else this.#slots.tellMissing();
  }

  /** TERM: let go of everything, services live on. */
  leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    if (!this.#isScanning) this.#leaveNow();
  }

  #leaveNow(): void {
    this.#slots.abandon();
    this.#logWriter.abandon();
    this.#resolve(0);
  }

  /** HUP and INT: stop everything, then leave. The second time what has not ended is killed. */
  stopAll(): void {
    if (this.#isStopping) this.#slots.killAll();
    this.#isStopping = true;
    if (!this.#isScanning) this.#askReview();
  }

  #stopFurther(): void {
    if (this.#isScanning || !this.#slots.stopFurther()) return;
    if (this.#logWriter.unit === undefined) this.leave();
    else if (!this.#isWriterEnding) {
      this.#isWriterEnding = true;
      this.#logWriter.end();
    }
  }
}
