// supervise/logwriter/folder.io.ts - one log folder: `current`, the old files, the processor.
//
// Owns: the files of multilog's folder and the order in which they change, so that multilog and this writer can take the
// folder over from each other. Does not own: when a file is full or a name surplus (rotate.ts), the lock (writer.io.ts).
//
// Whatever fails is tried again: octets that could not be written stay pending, and `pump` goes on where it stopped.
// Source: daemontools 0.76 multilog.c.

import { spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  linkSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { reasonOf } from '../../formats/errors.ts';
import { renderTai64n, wallTimeFromMs } from '../../formats/tai64n.ts';
import { errorCode, pathOfFd } from '../directory.io.ts';
import { openStateFile } from '../statefile.io.ts';
import { GAP_LINE, isClean, isFull, labelAfter, oldNames, roomFor, surplusOf } from './rotate.ts';
import type { FolderAction } from './script.ts';

const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
const TRUNCATE = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;
/** multilog's pause before a processor that failed is run again. */
const PROCESSOR_RETRY_MS = 5000;

export class LogFolder {
  readonly #action: FolderAction;
  readonly #stamps: boolean;
  readonly #folderFd: number;
  readonly #lockFd: number;
  readonly #warn: (line: string) => void;
  /** Called when a processor has ended, so that what waited for it goes on. */
  readonly #onProgress: () => void;
  #fd: number | undefined;
  #bytes = 0;
  #pending: Uint8Array[] = [];
  #isStarted = false;
  /** `current` is complete and closed, and still has that name. */
  #isComplete = false;
  #isProcessing = false;
  #isClosing = false;
  #trouble: string | undefined;

  /**
   * @param stamps lines begin with a stamp; so does the line that marks a gap.
   * @param folderFd open descriptor of the folder. @param lockFd its lock, held. Both are closed by `close`.
   */
  constructor(
    action: FolderAction,
    stamps: boolean,
    folderFd: number,
    lockFd: number,
    warn: (line: string) => void,
    onProgress: () => void,
  ) {
    this.#action = action;
    this.#stamps = stamps;
    this.#folderFd = folderFd;
    this.#lockFd = lockFd;
    this.#warn = warn;
    this.#onProgress = onProgress;
  }

  get isBlocked(): boolean {
    return this.#pending.length > 0;
  }

  /** Writes, or keeps what cannot be written now. @param octets are copied where they are kept (Buffer.slice would not). */
  write(octets: Uint8Array): void {
    if (this.#pending.length > 0) {
      this.#pending.push(Uint8Array.from(octets));
      return;
    }
    this.#pending.push(octets);
    if (!this.pump()) this.#pending = this.#pending.map((part) => Uint8Array.from(part));
  }

  /** Writes what is pending. @returns whether all of it is written. */
  pump(): boolean {
    try {
      this.#start();
      while (this.#pending.length > 0) {
        if (!this.#write()) return false;
      }
      if (this.#trouble !== undefined) this.#warn(`${this.#action.path}: writing again`);
      this.#trouble = undefined;
      return true;
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (this.#trouble !== why) this.#warn(`${this.#action.path}: cannot write, trying again: ${why}`);
      this.#trouble = why;
      return false;
    }
  }

  /** Begins a new file, unless `current` is empty (multilog's ALRM). */
  rotate(): void {
    if (this.#bytes > 0 && !this.#isComplete && this.#pending.length === 0) {
      try {
        this.#complete();
      } catch (thrown) {
        this.#warn(`${this.#action.path}: cannot begin a new file: ${reasonOf(thrown)}`);
      }
    }
  }

  /** Ends `current` as multilog does when told to: on disk, and marked as complete. */
  async close(): Promise<void> {
    this.#isClosing = true;
    while (this.#isProcessing) await new Promise((resolve) => setTimeout(resolve, 20));
    if (!this.pump()) {
      const lost = this.#pending.reduce((bytes, part) => bytes + part.length, 0);
      this.#warn(`${this.#action.path}: ${lost} bytes could not be written before the end`);
    }
    try {
      if (this.#fd !== undefined) this.#seal(this.#fd);
    } catch (thrown) {
      this.#warn(`${this.#action.path}: cannot mark its file as complete: ${reasonOf(thrown)}`);
    }
    closeSync(this.#lockFd);
    closeSync(this.#folderFd);
  }

  #path(name: string): string {
    return `${pathOfFd(this.#folderFd)}/${name}`;
  }

  /** What an earlier writer left is put in order first. */
  #start(): void {
    if (this.#isStarted) return;
    const before = statSync(this.#path('current'), { throwIfNoEntry: false });
    // To put aside what somebody made of it would have readers wait for it instead.
    if (before?.isFile() === false) throw new Error('current is not a regular file; remove it');
    if (before !== undefined && isClean(before.mode)) {
      this.#openCurrent();
      this.#bytes = before.size;
    } else {
      // One that was killed between putting the last file aside and marking the gap in the next one leaves no more than that.
      const wasKilled =
        (before?.size ?? 0) > 0 ||
        oldNames(readdirSync(pathOfFd(this.#folderFd)))
          .at(-1)
          ?.endsWith('.u') === true;
      for (const name of ['state', 'newstate']) this.#unlink(name);
      const processed = statSync(this.#path('processed'), { throwIfNoEntry: false });
      if (processed !== undefined && isClean(processed.mode)) {
        this.#unlink('previous');
        this.#finish('processed', 's');
      } else {
        this.#unlink('processed');
        this.#finish('previous', 'u');
      }
      this.#finish('current', 'u');
      closeSync(openStateFile(this.#path('state'), TRUNCATE, 0o600));
      this.#openCurrent();
      if (wasKilled) {
        const stamp = this.#stamps ? `${renderTai64n(wallTimeFromMs(Date.now()))} ` : '';
        this.#bytes += writeSync(this.#fd ?? -1, `${stamp}${GAP_LINE}`);
      }
    }
    this.#isStarted = true;
  }

  #openCurrent(): void {
    const fd = openStateFile(this.#path('current'), APPEND, 0o644);
    fchmodSync(fd, 0o644);
    this.#fd = fd;
    this.#bytes = 0;
  }

  /** One write of the first pending octets. @returns false where a processor must end first. */
  #write(): boolean {
    const [octets] = this.#pending;
    if (octets === undefined) return true;
    if (this.#isComplete && !this.#putAway()) return false;
    if (this.#fd === undefined) this.#openCurrent();
    const room = roomFor({ bytes: this.#bytes, sizeBytes: this.#action.sizeBytes }, octets);
    if (room === 0) {
      this.#complete();
      return true;
    }
    const written = octets.subarray(0, writeSync(this.#fd ?? -1, octets, 0, room));
    this.#bytes += written.length;
    if (written.length === octets.length) this.#pending.shift();
    else this.#pending[0] = octets.subarray(written.length);
    if (isFull({ bytes: this.#bytes, sizeBytes: this.#action.sizeBytes }, written)) this.#complete();
    return true;
  }

  #seal(fd: number): void {
    fsyncSync(fd);
    fchmodSync(fd, 0o744);
    closeSync(fd);
    this.#fd = undefined;
  }

  #complete(): void {
    if (this.#fd !== undefined) this.#seal(this.#fd);
    this.#isComplete = true;
    if (this.#putAway()) this.#openCurrent();
  }

  /** Gives the complete `current` its last name, or hands it to the processor. @returns false: later. */
  #putAway(): boolean {
    const { processor } = this.#action;
    if (processor !== undefined && this.#isProcessing) return false;
    if (processor === undefined) this.#finish('current', 's');
    else {
      renameSync(this.#path('current'), this.#path('previous'));
      this.#process(processor);
    }
    this.#isComplete = false;
    return true;
  }

  #process(command: string): void {
    this.#isProcessing = true;
    let fds: number[] = [];
    const retry = (why: string): void => {
      this.#warn(`${this.#action.path}: its processor ${why}`);
      if (!this.#isClosing) {
        setTimeout(() => this.#process(command), PROCESSOR_RETRY_MS);
        return;
      }
      // Nobody would process it later: kept as it is.
      try {
        this.#finish('previous', 'u');
      } catch (thrown) {
        this.#warn(`${this.#action.path}: ${reasonOf(thrown)}`);
      }
      this.#isProcessing = false;
    };
    try {
      fds = [
        openStateFile(this.#path('previous'), constants.O_RDONLY),
        openStateFile(this.#path('processed'), TRUNCATE, 0o644),
        openStateFile(this.#path('state'), constants.O_RDONLY | constants.O_CREAT, 0o600),
        openStateFile(this.#path('newstate'), TRUNCATE, 0o600),
      ];
      const [previous = 0, processed = 0, state = 0, newstate = 0] = fds;
      const child = spawn('/bin/sh', ['-c', command], {
        cwd: pathOfFd(this.#folderFd),
        stdio: [previous, processed, 2, 'ignore', state, newstate],
      });
      child.once('error', (error) => retry(`cannot be started: ${error.message}`));
      child.once('exit', (code, signal) => {
        if (code !== 0) {
          retry(signal === null ? `exited ${code}, trying again` : `was killed by ${signal}, trying again`);
          return;
        }
        try {
          this.#putProcessedAway();
        } catch (thrown) {
          retry(`was in vain, trying again: ${reasonOf(thrown)}`);
          return;
        }
        this.#isProcessing = false;
        this.#onProgress();
      });
    } catch (thrown) {
      retry(`cannot be started, trying again: ${reasonOf(thrown)}`);
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  }

  #putProcessedAway(): void {
    for (const name of ['processed', 'newstate']) {
      const fd = openStateFile(this.#path(name), APPEND, 0o644);
      fsyncSync(fd);
      if (name === 'processed') fchmodSync(fd, 0o744);
      closeSync(fd);
    }
    this.#unlink('previous');
    renameSync(this.#path('newstate'), this.#path('state'));
    this.#finish('processed', 's');
  }

  /** Gives a file its name for ever; s: complete, u: its writer died. Then deletes the oldest ones. */
  #finish(name: string, code: 's' | 'u'): void {
    const stat = statSync(this.#path(name), { throwIfNoEntry: false });
    if (stat === undefined) return;
    // Two links: a writer died between the two steps.
    if (stat.nlink === 1) linkSync(this.#path(name), this.#path(`${this.#stamp()}.${code}`));
    unlinkSync(this.#path(name));
    for (const old of surplusOf(readdirSync(pathOfFd(this.#folderFd)), this.#action.files)) this.#unlink(old);
  }

  /** A label that no other file has, and none that is older. */
  #stamp(): string {
    return labelAfter(renderTai64n(wallTimeFromMs(Date.now())), readdirSync(pathOfFd(this.#folderFd)));
  }

  #unlink(name: string): void {
    try {
      unlinkSync(this.#path(name));
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
  }
}
