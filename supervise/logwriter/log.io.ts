// supervise/logwriter/log.io.ts - one log: a FIFO in, its folders out.
//
// Owns: reading the FIFO, when it is read again, pausing where a folder cannot be written, what is dropped meanwhile.
// Does not own: lines (lines.ts), folders (folder.io.ts), which logs there are (writer.io.ts).
//
// What is read is written before the next read, so a kill loses one read. All FIFOs share one buffer.
// A line after a silence is read and written at once. Lines that follow each other closely are left in the FIFO for a few
// milliseconds and taken together (pace.ts): a wakeup of Node for each would cost thrice what multilog spends on a line.

import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { reasonOf } from '../../formats/errors.ts';
import { errorCode, pathOfFd } from '../directory.io.ts';
import { openFifo } from '../statefile.io.ts';
import { LogFolder } from './folder.io.ts';
import { LineSplitter } from './lines.ts';
import type { Clock } from './lines.ts';
import type { LogEntry } from './list.ts';
import { paced, REST_MS, UNREAD } from './pace.ts';
import { droppedLine } from './rotate.ts';
import { parseScript } from './script.ts';
import type { Action, FolderAction, Script } from './script.ts';

const READ_BYTES = 65_536;
/** How often a log that cannot be written is tried again. */
const RETRY_MS = 1000;
/** One log may take this many before the others have their turn. */
const READS_AT_ONCE = 8;
const NEWLINE = 0x0a;
const readBuffer = Buffer.alloc(READ_BYTES);

/** A line for the operator; never blocks for long: standard error of the supervisor is not a service's FIFO. */
export type Warn = (line: string) => void;

/** What becomes of one action's octets. */
type Sink =
  | { readonly kind: 'folder'; readonly folder: LogFolder }
  | { readonly kind: 'alert' }
  | { readonly kind: 'status'; readonly path: string }
  | { readonly kind: 'none' };

type OpenFolder = { readonly action: FolderAction; readonly folderFd: number; readonly lockFd: number };

export type OpenParts = {
  readonly script: Script;
  readonly fifoFd: number;
  readonly logFd: number;
  readonly folders: readonly OpenFolder[];
};

/** Opens what a log needs; locks are yet to be taken. Throws with the reason. */
export function openParts({ id, directory, script: text }: LogEntry): OpenParts {
  const parsed = parseScript(text);
  if (!parsed.ok) throw new Error(`file multilog: ${parsed.why}`);
  const { dev, ino } = statSync(directory, { bigint: true });
  // Renamed or replaced since the list was written: the next list says where it is.
  if (`${dev}:${ino}` !== id) throw new Error(`${directory} is another directory now`);
  const fds: number[] = [];
  const keep = (fd: number): number => {
    fds.push(fd);
    return fd;
  };
  try {
    const fifoFd = keep(openFifo(`${directory}/supervise/log.fifo`, constants.O_RDWR));
    const logFd = keep(openSync(`${directory}/log`, constants.O_RDONLY | constants.O_DIRECTORY));
    const folders = parsed.script.actions.flatMap((action): OpenFolder[] => {
      if (action.kind !== 'folder') return [];
      const path = action.path.startsWith('/') ? action.path : `${pathOfFd(logFd)}/${action.path}`;
      makeFolder(path);
      const folderFd = keep(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
      const lockFd = keep(
        openSync(
          `${pathOfFd(folderFd)}/lock`,
          constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK,
          0o600,
        ),
      );
      return [{ action, folderFd, lockFd }];
    });
    return { script: parsed.script, fifoFd, logFd, folders };
  } catch (thrown) {
    for (const fd of fds) closeSync(fd);
    throw thrown;
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (errorCode(thrown) !== 'EEXIST') throw thrown;
  }
}

export function closeParts({ fifoFd, logFd, folders }: OpenParts): void {
  for (const fd of [fifoFd, logFd, ...folders.flatMap(({ folderFd, lockFd }) => [folderFd, lockFd])]) closeSync(fd);
}

export class Log {
  name: string;
  readonly script: string;
  /** "device:inode" of log/. */
  readonly folderId: string;
  readonly #onFull: Script['onFull'];
  readonly #stamps: boolean;
  readonly #fifoFd: number;
  readonly #logFd: number;
  readonly #socket: Socket;
  readonly #splitter: LineSplitter;
  readonly #sinks: readonly Sink[];
  readonly #warn: Warn;
  #retry: NodeJS.Timeout | undefined;
  #pace = UNREAD;
  #droppedBytes = 0;
  /** The rest of a line whose beginning was thrown away. */
  #isSkipping = false;

  constructor(entry: LogEntry, { script, fifoFd, logFd, folders }: OpenParts, warn: Warn) {
    this.name = entry.name;
    this.script = entry.script;
    const { dev, ino } = fstatSync(logFd, { bigint: true });
    this.folderId = `${dev}:${ino}`;
    this.#onFull = script.onFull;
    this.#stamps = script.stamps;
    this.#fifoFd = fifoFd;
    this.#logFd = logFd;
    this.#warn = warn;
    this.#splitter = new LineSplitter(script);
    this.#sinks = script.actions.map((action) => this.#sinkOf(action, folders));
    // multilog makes `current` at its start, not at the first line.
    for (const sink of this.#sinks) if (sink.kind === 'folder') sink.folder.pump();
    this.#socket = new Socket({
      fd: fifoFd,
      readable: true,
      writable: false,
      onread: { buffer: readBuffer, callback: (length, buffer) => this.#arrived(buffer.subarray(0, length)) },
    });
    this.#socket.on('error', (error) => warn(`${this.name}/log: ${error.message}`));
  }

  rotate(): void {
    for (const sink of this.#sinks) if (sink.kind === 'folder') sink.folder.rotate();
  }

  /** Takes what has gathered. Without the event loop: by its way each read costs as much as the whole of it does here. */
  readOn(): void {
    try {
      for (let reads = 0; reads < READS_AT_ONCE; reads += 1) {
        const length = readSync(this.#fifoFd, readBuffer);
        const isMore = this.#take(readBuffer.subarray(0, length));
        if (!isMore || this.#mayRest(length)) return;
      }
    } catch {
      // EAGAIN: the stream has ended. Anything else the socket says.
    }
    this.#socket.resume();
  }

  /** Writes what its FIFO still holds, and lets go. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    resting.delete(this);
    this.#socket.pause();
    try {
      while (!this.#isBlocked()) {
        const length = readSync(this.#fifoFd, readBuffer);
        if (length === 0) break;
        this.#take(readBuffer.subarray(0, length));
      }
    } catch {
      // EAGAIN: it is empty.
    }
    clearTimeout(this.#retry);
    this.#output(this.#splitter.end(now()));
    for (const sink of this.#sinks) if (sink.kind === 'folder') await sink.folder.close();
    closeSync(this.#logFd);
    this.#socket.destroy();
  }

  #sinkOf(action: Action, folders: readonly OpenFolder[]): Sink {
    switch (action.kind) {
      case 'alert':
        return { kind: 'alert' };
      case 'status':
        return {
          kind: 'status',
          path: action.path.startsWith('/') ? action.path : `${pathOfFd(this.#logFd)}/${action.path}`,
        };
      case 'select':
      case 'deselect':
        return { kind: 'none' };
      case 'folder': {
        const open = folders.find((folder) => folder.action === action);
        if (open === undefined) return { kind: 'none' };
        const say = (line: string): void => this.#warn(`${this.name}/log: ${line}`);
        const goOn = (): void => this.#goOn();
        return { kind: 'folder', folder: new LogFolder(action, this.#stamps, open.folderFd, open.lockFd, say, goOn) };
      }
    }
  }

  /** @returns whether to read on. */
  #arrived(chunk: Uint8Array): boolean {
    return this.#take(chunk) && !this.#mayRest(chunk.length);
  }

  #mayRest(bytes: number): boolean {
    const { pace, isSteady } = paced(this.#pace, bytes, performance.now());
    this.#pace = pace;
    if (isSteady) rest(this);
    return isSteady;
  }

  #isBlocked(): boolean {
    return this.#sinks.some((sink) => sink.kind === 'folder' && sink.folder.isBlocked);
  }

  /** @returns whether to read on. */
  #take(chunk: Uint8Array): boolean {
    if (this.#isBlocked()) {
      // Only with onFull drop is anything read meanwhile.
      this.#droppedBytes += chunk.length;
      this.#isSkipping = chunk[chunk.length - 1] !== NEWLINE;
      return true;
    }
    let octets = chunk;
    if (this.#isSkipping) {
      const newline = chunk.indexOf(NEWLINE);
      const skipped = newline === -1 ? chunk.length : newline + 1;
      this.#droppedBytes += skipped;
      this.#isSkipping = newline === -1;
      octets = chunk.subarray(skipped);
    }
    if (!this.#isSkipping && this.#droppedBytes > 0) {
      this.#output(this.#splitter.end(now()));
      this.#output(this.#splitter.push(Buffer.from(droppedLine(this.#droppedBytes)), now()));
      this.#droppedBytes = 0;
    }
    this.#output(this.#splitter.push(octets, now()));
    if (!this.#isBlocked()) return true;
    this.#retry ??= setTimeout(() => this.#goOn(), RETRY_MS);
    return this.#onFull === 'drop';
  }

  #goOn(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const sink of this.#sinks) if (sink.kind === 'folder') sink.folder.pump();
    if (this.#isBlocked()) this.#retry = setTimeout(() => this.#goOn(), RETRY_MS);
    else if (this.#onFull === 'block') this.#socket.resume();
  }

  #output(outputs: readonly { readonly action: number; readonly octets: Uint8Array }[]): void {
    for (const { action, octets } of outputs) {
      const sink = this.#sinks[action];
      if (sink === undefined) continue;
      switch (sink.kind) {
        case 'folder':
          sink.folder.write(octets);
          break;
        case 'alert':
          this.#warn(`${this.name}: ${Buffer.from(octets).toString('utf8').trimEnd()}`);
          break;
        case 'status':
          this.#overwrite(sink.path, octets);
          break;
        case 'none':
          break;
      }
    }
  }

  #overwrite(path: string, octets: Uint8Array): void {
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK, 0o644);
      writeSync(fd, octets, 0, octets.length, 0);
      closeSync(fd);
    } catch (thrown) {
      this.#warn(`${this.name}/log: cannot write ${path}: ${reasonOf(thrown)}`);
    }
  }
}

function now(): Clock {
  const unixMs = Date.now();
  const unixS = Math.floor(unixMs / 1000);
  return { unixS, nanoseconds: (unixMs - unixS * 1000) * 1_000_000 };
}

/** Logs whose lines gather; one timer for all. */
const resting = new Set<Log>();

function rest(log: Log): void {
  if (resting.size === 0) setTimeout(wake, REST_MS);
  resting.add(log);
}

function wake(): void {
  const logs = [...resting];
  resting.clear();
  for (const log of logs) log.readOn();
}
