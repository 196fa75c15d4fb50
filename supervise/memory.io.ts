// supervise/memory.io.ts - what one service leaves on disk: adopt.json, status, history, death_tally of its supervise/.
//
// Owns: writing each when it has changed and saying once what cannot be written; reading them back.
// Does not own: what they say (record.ts, status.ts, history.ts, deathtally.ts), opening them with care (statefile.io.ts).
// As 0.76: a state that cannot be written is said, and what runs goes on. Without a record nothing is started (unit.io.ts):
// the next supervisor would start a second one beside it.

import { unlinkSync } from 'node:fs';
import { reasonOf } from '../formats/errors.ts';
import { tallied } from './deathtally.ts';
import { decodeEntries, encodeEntry, HISTORY_BYTES_MAX } from './history.ts';
import type { HistoryEntry } from './history.ts';
import { decodeRecord, encodeRecord } from './record.ts';
import type { Adoptable } from './record.ts';
import type { Service } from './service.ts';
import { appendFile, readStateFile, replaceFile, rewriteFile } from './statefile.io.ts';
import { ACTIVITIES, packStatus } from './status.ts';

type StateFile = 'record' | 'status' | 'history' | 'death_tally';

const RECORD_BYTES_MAX = 16_384;
const TALLY_BYTES_MAX = 65_536;

export class Memory {
  readonly #path: string;
  readonly #bootId: string;
  /** "device:inode" of the service directory. */
  readonly #directoryId: string;
  readonly #log: (line: string) => void;
  #written = { record: '', status: '' };
  readonly #unwritable = new Map<StateFile, string>();

  /** @param path of supervise/. */
  constructor(path: string, bootId: string, directoryId: string, log: (line: string) => void) {
    this.#path = path;
    this.#bootId = bootId;
    this.#directoryId = directoryId;
    this.#log = log;
  }

  /** What cannot be written, and why. */
  get trouble(): string | undefined {
    const [unwritable] = this.#unwritable.values();
    return unwritable;
  }

  /** What the supervisor before left. Throws where that cannot be read: better no service than two of it. */
  record(): Adoptable | undefined {
    const text = readStateFile(`${this.#path}/adopt.json`, RECORD_BYTES_MAX);
    return text === undefined ? undefined : decodeRecord(text);
  }

  /** Whether the record on disk is older than what was last to be written. */
  get isRecordBehind(): boolean {
    return this.#unwritable.has('record');
  }

  /**
   * @param startTime of the service's process, where it has one or had one that is not yet done with.
   * @returns why it could not be written; undefined = it is on disk.
   */
  writeRecord(service: Service, startTime: string | undefined): string | undefined {
    const content = encodeRecord(service, startTime, this.#bootId, this.#directoryId);
    if (content === this.#written.record) return undefined;
    this.#written.record = '';
    return this.#write('record', () => {
      rewriteFile(`${this.#path}/adopt.json`, Buffer.from(content), 0o600);
      this.#written.record = content;
    });
  }

  writeStatus(service: Service): void {
    const octets = Buffer.from(packStatus({ ...service, activity: ACTIVITIES[service.phase] }));
    const content = octets.toString('latin1');
    if (content === this.#written.status) return;
    this.#write('status', () => {
      rewriteFile(`${this.#path}/status`, octets, 0o644);
      this.#written.status = content;
    });
  }

  remember(entry: HistoryEntry): void {
    this.#write('history', () => appendFile(`${this.#path}/history`, encodeEntry(entry), HISTORY_BYTES_MAX));
  }

  /** What is remembered, oldest first; at most the given number of the newest. */
  history(limit: number): HistoryEntry[] {
    const entries = ['history.old', 'history'].flatMap((name) => {
      try {
        return decodeEntries(readStateFile(`${this.#path}/${name}`, 2 * HISTORY_BYTES_MAX) ?? '');
      } catch {
        // That it is no file of ours is said when it is written to.
        return [];
      }
    });
    return entries.slice(-limit);
  }

  /** Adds to the deaths that s6-permafailon counts. @param entriesMax 0 = none are kept. */
  tally(death: Parameters<typeof tallied>[2], entriesMax: number): void {
    if (entriesMax === 0) return;
    const path = `${this.#path}/death_tally`;
    this.#write('death_tally', () => {
      const before = Buffer.from(readStateFile(path, TALLY_BYTES_MAX, 'latin1') ?? '', 'latin1');
      replaceFile(path, Buffer.from(tallied(before, entriesMax, death)), 0o644);
    });
  }

  /** There is nothing to adopt any more. */
  forget(): void {
    try {
      unlinkSync(`${this.#path}/adopt.json`);
    } catch {
      // Never written, or the directory is gone: either way there is nothing left to adopt.
    }
  }

  #write(what: StateFile, write: () => void): string | undefined {
    try {
      write();
      // The disk is itself again; what still cannot be written says so the next time.
      if (this.#unwritable.delete(what) && what === 'record') this.#unwritable.clear();
      return undefined;
    } catch (thrown) {
      const why = `cannot write supervise/${what}: ${reasonOf(thrown)}`;
      if (this.#unwritable.get(what) !== why) this.#log(why);
      this.#unwritable.set(what, why);
      return why;
    }
  }
}
