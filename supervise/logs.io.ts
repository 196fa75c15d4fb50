// supervise/logs.io.ts - the log writer as the supervisor sees it: a service of its own, and the list of logs given to it.
//
// Owns: the folder beside the socket that holds the list and the writer's own supervise/, and opening it as a unit: so
// the writer is started, restarted and adopted like any service. Does not own: writing logs (logwriter/).
// It runs only once there is a log to write.

import { closeSync, constants, fstatSync, mkdirSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { reasonOf } from '../formats/errors.ts';
import { pathOfFd, readSmallFile } from './directory.io.ts';
import type { UnitHost } from './host.io.ts';
import { encodeList } from './logwriter/list.ts';
import type { LogEntry } from './logwriter/list.ts';
import { openDirectories } from './open.io.ts';
import { replaceFile } from './statefile.io.ts';
import type { Unit } from './unit.io.ts';

/** No service has it: svscan skips names with a leading dot. */
export const LOG_WRITER_NAME = '.log-writer';
const PROGRAM = fileURLToPath(new URL('./logwriter/main.io.ts', import.meta.url));
/** A thousand scripts. */
const LIST_BYTES_MAX = 8_388_608;

export class LogWriterHost {
  /** Absolute. */
  readonly folder: string;
  readonly #host: UnitHost;
  #written: string | undefined;
  #unit: Unit | undefined;
  #fd: number | undefined;
  #why: string | undefined;
  #isEnding = false;

  /** @param folder is made when there is something to write. */
  constructor(folder: string, host: UnitHost) {
    this.folder = folder;
    this.#host = host;
  }

  /** Open while it is supervised, whatever its phase. */
  get unit(): Unit | undefined {
    return this.#unit?.isOpen === true ? this.#unit : undefined;
  }

  /** Why it cannot be supervised. */
  get why(): string | undefined {
    return this.#why;
  }

  /** These logs and no others; nothing is written where the list is the same. */
  async publish(logs: readonly LogEntry[]): Promise<void> {
    const path = `${this.folder}/logs.json`;
    this.#endRemoved();
    const before = this.#written ?? this.#read(path);
    const list = encodeList(logs);
    if (logs.length === 0 && before === undefined) return;
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 });
      if (list !== before) {
        replaceFile(path, Buffer.from(list), 0o600);
      }
      this.#written = list;
      if (this.unit === undefined) await this.#open();
      this.#why = undefined;
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (why !== this.#why) this.#host.log(`the log writer cannot be used: ${why}`);
      this.#why = why;
    }
  }

  /** Lets it write what is left, then ends it. The unit closes once it is gone. */
  end(): void {
    this.unit?.feed({ kind: 'exit' });
    this.unit?.feed({ kind: 'down' });
  }

  /** Lets go of it; it runs on. */
  abandon(): void {
    this.unit?.abandon();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** No later supervisor could find a writer whose folder was removed: it ends, and another takes over. */
  #endRemoved(): void {
    if (this.#isEnding || this.unit === undefined || !this.#isRemoved()) return;
    this.#host.log(`${this.folder} has been removed: another log writer takes over`);
    this.#isEnding = true;
    this.#written = undefined;
    this.end();
  }

  #isRemoved(): boolean {
    return this.#fd !== undefined && fstatSync(this.#fd).nlink === 0;
  }

  #read(path: string): string | undefined {
    const file = readSmallFile(path, LIST_BYTES_MAX);
    return file.kind === 'text' ? file.text : undefined;
  }

  async #open(): Promise<void> {
    if (this.#fd !== undefined && this.#isRemoved()) {
      closeSync(this.#fd);
      this.#fd = undefined;
    }
    this.#isEnding = false;
    this.#fd ??= openSync(this.folder, constants.O_RDONLY | constants.O_DIRECTORY);
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM, `${this.folder}/logs.json`];
    const [answer] = await openDirectories(
      [
        {
          name: LOG_WRITER_NAME,
          base: pathOfFd(this.#fd),
          fifos: [],
          ownFds: [],
          streams: () => ({ stdin: 'ignore', stdout: 2 }),
          command,
        },
      ],
      this.#host,
    );
    if (answer === undefined) return;
    if (!answer.ok) throw new Error(answer.why);
    this.#unit = answer.unit;
    answer.unit.begin(answer.okFd, []);
  }
}
