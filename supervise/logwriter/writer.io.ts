// supervise/logwriter/writer.io.ts - many logs at once: which there are.
//
// Owns: taking logs on and letting them go, their locks, trying again what cannot be opened.
// Does not own: one log (log.io.ts), the list (main.io.ts).
//
// The FIFOs are opened for reading and writing: they never end here, and what a service wrote is kept for as long as this
// process or the service or the supervisor lives. Nothing is kept per log but its script's state: 1000 logs are 15 MB.

import { reasonOf } from '../../formats/errors.ts';
import { lockFiles } from '../commands.io.ts';
import type { LogEntry } from './list.ts';
import { closeParts, Log, openParts } from './log.io.ts';
import type { OpenParts, Warn } from './log.io.ts';

/** How often a log that cannot be opened is tried again. */
const RETRY_MS = 1000;
const LOCKS_AT_ONCE = 128;

export class LogWriter {
  readonly #warn: Warn;
  readonly #logs = new Map<string, Log>();
  /** Said of logs that cannot be opened. */
  readonly #blocked = new Map<string, string>();
  #wanted: readonly LogEntry[] = [];
  #retry: NodeJS.Timeout | undefined;
  #busy: Promise<void> = Promise.resolve();

  constructor(warn: Warn) {
    this.#warn = warn;
  }

  /** Writes exactly these logs from now on. Calls are carried out one after the other. */
  apply(wanted: readonly LogEntry[]): Promise<void> {
    this.#wanted = wanted;
    this.#busy = this.#busy.then(() => this.#applyNow());
    return this.#busy;
  }

  rotateAll(): void {
    for (const log of this.#logs.values()) log.rotate();
  }

  async #applyNow(): Promise<void> {
    const wanted = new Map(this.#wanted.map((entry) => [entry.id, entry]));
    for (const [id, log] of this.#logs) {
      const entry = wanted.get(id);
      if (entry?.script === log.script && (entry.logId === undefined || entry.logId === log.folderId)) {
        log.name = entry.name;
        continue;
      }
      this.#logs.delete(id);
      await log.close();
    }
    for (const id of this.#blocked.keys()) if (!wanted.has(id)) this.#blocked.delete(id);
    const missing = this.#wanted.filter(({ id }) => !this.#logs.has(id));
    for (let at = 0; at < missing.length; at += LOCKS_AT_ONCE) await this.#open(missing.slice(at, at + LOCKS_AT_ONCE));
    clearTimeout(this.#retry);
    if (this.#blocked.size > 0) this.#retry = setTimeout(() => void this.apply(this.#wanted), RETRY_MS);
  }

  async #open(entries: readonly LogEntry[]): Promise<void> {
    const opening: { readonly entry: LogEntry; readonly parts: OpenParts }[] = [];
    for (const entry of entries) {
      try {
        opening.push({ entry, parts: openParts(entry) });
      } catch (thrown) {
        this.#block(entry, reasonOf(thrown));
      }
    }
    const locks = opening.flatMap(({ parts }) => parts.folders.map(({ lockFd }) => lockFd));
    let unlockable: string | undefined;
    const isFree = await lockFiles(locks).catch((thrown: unknown): boolean[] => {
      unlockable = reasonOf(thrown);
      return [];
    });
    const taken = new Map(isFree.map((isTaken, index) => [locks[index], isTaken]));
    for (const { entry, parts } of opening) {
      const other = parts.folders.find(({ lockFd }) => taken.get(lockFd) !== true);
      if (other !== undefined) {
        closeParts(parts);
        this.#block(entry, unlockable ?? `${other.action.path}/lock is held by another multilog; stop that one`);
        continue;
      }
      if (this.#blocked.delete(entry.id)) this.#warn(`${entry.name}/log: writing now`);
      this.#logs.set(entry.id, new Log(entry, parts, this.#warn));
    }
  }

  #block(entry: LogEntry, why: string): void {
    if (this.#blocked.get(entry.id) !== why) this.#warn(`${entry.name}/log: ${why}`);
    this.#blocked.set(entry.id, why);
  }
}
