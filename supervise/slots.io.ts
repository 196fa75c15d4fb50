// supervise/slots.io.ts - all slots of a folder: taking directories on, opening them, letting them go.
//
// Owns: carrying out what a scan says (scan.ts) and what the order of the end says (shutdown.ts); finding a unit by the name
// that people see. Does not own: one slot (slot.io.ts), when to scan or end (supervisor.io.ts).

import { closeSync, constants, openSync } from 'node:fs';
import { reasonOf } from '../formats/errors.ts';
import { makeFifos } from './commands.io.ts';
import { exists, fileOf, findLog, readSmallFile } from './directory.io.ts';
import type { UnitHost } from './host.io.ts';
import { openDirectories } from './open.io.ts';
import type { OpenRequest } from './open.io.ts';
import { isLogAsFound } from './scan.ts';
import type { Part, ScanAction } from './scan.ts';
import { cycleOf, missingOf, stopSteps } from './shutdown.ts';
import { holdLog, logFifoOf, nameOf, openRequest, orderedFacts, shownNames } from './slot.io.ts';
import type { SlotState } from './slot.io.ts';
import type { Unit } from './unit.io.ts';

/** How long a logger may go on reading after its service has ended, before it gets TERM. */
const LOG_DRAIN_MS = 5000;

type LogAction = Extract<ScanAction, { kind: 'log' }>;

export type Wanted = { readonly slot: SlotState; readonly part: Part };
export type Unscannable = { readonly name: string; readonly why: string };

export class Slots {
  readonly #directory: string;
  readonly #host: UnitHost;
  readonly #slots = new Map<string, SlotState>();
  readonly #rescan: () => Promise<void>;
  #unscannable: readonly Unscannable[] = [];
  /** Logs that the scan has found, and whose FIFO is yet to be made. */
  #coming: { readonly slot: SlotState; readonly action: LogAction }[] = [];

  /** @param rescan has the folder looked at, from now on; done when it has been. */
  constructor(directory: string, host: UnitHost, rescan: () => Promise<void>) {
    this.#directory = directory;
    this.#host = host;
    this.#rescan = rescan;
  }

  all(): SlotState[] {
    return [...this.#slots.values()];
  }

  /** The slots by the names that people see. */
  shown(): Map<string, SlotState> {
    return new Map([...shownNames(this.all())].map(([slot, name]) => [name, slot]));
  }

  /** Entries of the folder that are no service directories, though they should be. */
  get unscannable(): readonly Unscannable[] {
    return this.#unscannable;
  }

  /** The unit of that name, "web" or "web/log". */
  unit(name: string): Unit | undefined {
    const shown = this.shown();
    const unit = shown.get(name)?.units.get('main');
    if (unit !== undefined || !name.endsWith('/log')) return unit;
    return shown.get(name.slice(0, -'/log'.length))?.units.get('log');
  }

  /** What the unit's service waits for, in words. */
  missing(slot: SlotState, unit: Unit): string[] {
    if (unit.depends.length === 0) return [];
    const mains = [...this.shown()].map(([name, { units }]) => [name, units.get('main')] as const);
    const cycle = cycleOf(slot.name, new Map(mains.map(([name, main]) => [name, main?.depends ?? []])));
    return missingOf(unit.depends, new Map(mains.map(([name, main]) => [name, main?.service.ready ?? false])), cycle);
  }

  /** Text of the log's script; undefined where it cannot be read, which is said. */
  readScript(name: string): string | undefined {
    const read = readSmallFile(fileOf(`${this.#directory}/${name}/log`, 'multilog'));
    if (read.kind === 'text') return read.text;
    this.#host.log(`${name}: file log/multilog: ${read.kind === 'absent' ? 'it is gone' : read.why}`);
    return undefined;
  }

  /** Carries out a scan's outcome but for the opening. @returns what is to be opened. */
  apply(actions: readonly ScanAction[], problems: readonly Unscannable[]): Wanted[] {
    const known = new Set(this.#unscannable.map(({ name, why }) => `${name}: ${why}`));
    for (const { name, why } of problems) if (!known.has(`${name}: ${why}`)) this.#host.log(`${name}: ${why}`);
    this.#unscannable = problems;
    return actions.flatMap((action) => this.#apply(action));
  }

  #apply(action: ScanAction): Wanted[] {
    if (action.kind === 'add') {
      this.#add(action);
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
      case 'log':
        if (action.log === 'none') setLog(slot, action, '');
        else this.#coming.push({ slot, action });
        return [];
      case 'unlog':
        if (!slot.isLogGone) this.#host.log(`${slot.name}: log/ is gone`);
        slot.isLogGone = true;
        return [];
      case 'end-logger':
        endLogger(slot);
        return [];
      case 'release':
        if (action.part === 'log') endLog(slot);
        else slot.units.get('main')?.feed({ kind: 'exit' });
        return [];
      case 'drop':
        this.#slots.delete(slot.id);
        closeSlot(slot);
        return [];
    }
  }

  /** Takes on the logs that have come: the FIFO first, so that whoever starts now is connected to it. */
  async takeLogs(): Promise<void> {
    const coming = this.#coming;
    this.#coming = [];
    const running = coming.filter(({ slot }) => slot.units.get('main')?.isOpen === true);
    const complaint = await makeFifos(running.map(({ slot }) => logFifoOf(slot)).filter((path) => !exists(path)));
    for (const { slot, action } of coming) {
      const isRunning = slot.units.get('main')?.isOpen === true;
      if (isRunning && !exists(logFifoOf(slot))) {
        this.#block(slot, 'log', complaint ?? 'its FIFO cannot be made');
        continue;
      }
      if (slot.log === 'none') this.#host.log(`${slot.name}: log/ has come`);
      setLog(slot, action, action.log === 'writer' ? (this.readScript(slot.name) ?? '') : '');
    }
  }

  /** Has log/ taken on, changed or let go at once, where it is not as it was. */
  async lookAtLog(slot: SlotState): Promise<void> {
    if (!slot.isPresent || isLogAsFound(slot, findLog(`${this.#directory}/${slot.name}`))) return;
    await this.#rescan();
  }

  #add({ id, name, log, logId }: Extract<ScanAction, { kind: 'add' }>): void {
    try {
      const fd = openSync(`${this.#directory}/${name}`, constants.O_RDONLY | constants.O_DIRECTORY);
      this.#slots.set(id, {
        id,
        name,
        log,
        logId,
        isLogGone: false,
        script: log === 'writer' ? (this.readScript(name) ?? '') : '',
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
  }

  /** Opens parts with one command for all their locks, and begins what could be opened. */
  async open(wanted: readonly Wanted[]): Promise<void> {
    const requests: (Wanted & { readonly request: OpenRequest })[] = [];
    for (const { slot, part } of wanted) {
      // Its log could not be taken.
      if (part === 'log' && slot.log !== 'program') continue;
      try {
        requests.push({ slot, part, request: openRequest(slot, part, () => this.lookAtLog(slot)) });
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
      begun.push(() => unit.begin(okFd, this.missing(slot, unit)));
    }
    for (const begin of begun) begin();
  }

  #block(slot: SlotState, part: Part, why: string): void {
    if (slot.problems.get(part) !== why) this.#host.log(`${nameOf(slot, part)}: ${why}`);
    slot.problems.set(part, why);
  }

  /** Forgets units that have closed. @returns whether a scan has something to do about it: drop a slot, open another logger. */
  forgetClosed(): boolean {
    let isNews = false;
    for (const slot of this.#slots.values()) {
      for (const [part, unit] of slot.units) {
        if (unit.isOpen) continue;
        slot.units.delete(part);
        const isReplaced = part === 'log' && slot.asked.delete(part);
        if (isReplaced || !slot.isPresent) isNews = true;
      }
    }
    return isNews;
  }

  /** Tells every service that has them which dependencies it lacks, where that has changed. */
  tellMissing(): void {
    for (const slot of this.#slots.values()) {
      const unit = slot.units.get('main');
      if (unit === undefined || (unit.depends.length === 0 && unit.service.missing.length === 0)) continue;
      const missing = this.missing(slot, unit);
      if (missing.join('\n') !== unit.service.missing.join('\n')) unit.feed({ kind: 'dependencies', missing });
    }
  }

  /** The next steps towards the end of all. @returns whether all have ended. */
  stopFurther(): boolean {
    const shown = this.shown();
    for (const { kind, name } of stopSteps([...shown].map(([each, slot]) => orderedFacts(slot, each)))) {
      const slot = shown.get(name);
      if (slot === undefined) continue;
      if (kind === 'stop') {
        slot.asked.add('main');
        slot.units.get('main')?.feed({ kind: 'exit' });
        slot.units.get('main')?.feed({ kind: 'down' });
      } else endLog(slot);
    }
    return this.all().every((slot) => slot.units.size === 0);
  }

  killAll(): void {
    for (const slot of this.#slots.values()) {
      for (const unit of slot.units.values()) unit.feed({ kind: 'signal', signal: 'SIGKILL' });
    }
  }

  /** Lets go of everything; services live on. */
  abandon(): void {
    for (const slot of this.#slots.values()) {
      for (const unit of slot.units.values()) unit.abandon();
      closeSlot(slot);
    }
    this.#slots.clear();
  }
}

function closeSlot({ fd, logFd }: SlotState): void {
  closeSync(fd);
  if (logFd !== undefined) closeSync(logFd);
}

function setLog(slot: SlotState, { log, logId }: LogAction, script: string): void {
  slot.log = log;
  slot.logId = logId;
  slot.isLogGone = false;
  slot.script = script;
  slot.problems.delete('log');
  if (log !== 'none') return;
  if (slot.logFd !== undefined) closeSync(slot.logFd);
  slot.logFd = undefined;
}

/** Another reads on: the FIFO is kept, and with it what the service writes meanwhile. */
function endLogger(slot: SlotState): void {
  if (slot.asked.has('log')) return;
  slot.asked.add('log');
  const unit = slot.units.get('log');
  unit?.feed({ kind: 'exit' });
  unit?.feed({ kind: 'down' });
}

function endLog(slot: SlotState): void {
  if (slot.asked.has('log')) return;
  slot.asked.add('log');
  const unit = slot.units.get('log');
  unit?.feed({ kind: 'exit' });
  if (slot.logFd !== undefined) closeSync(slot.logFd);
  slot.logFd = undefined;
  setTimeout(() => unit?.feed({ kind: 'down' }), LOG_DRAIN_MS).unref();
}
