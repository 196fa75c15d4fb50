// supervise/logwriter/writer.io.ts - many logs at once: FIFOs in, folders out.
//
// Owns: reading the FIFOs, pausing one whose folder cannot be written, taking logs on and letting them go.
// Does not own: lines (lines.ts), folders (folder.io.ts), the list (main.io.ts).
//
// The FIFOs are opened for reading and writing: they never end here, and what a service wrote is kept for as long as this
// process or the service or the supervisor lives. What is read is written before the next read, so a kill loses one read.
// All FIFOs share one buffer, and nothing else is kept per log but its script's state: 1000 logs are 15 MB.

import { closeSync, constants, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { reasonOf } from '../../formats/errors.ts';
import { lockFiles } from '../commands.io.ts';
import { errorCode, pathOfFd } from '../directory.io.ts';
import { openFifo } from '../statefile.io.ts';
import { LogFolder } from './folder.io.ts';
import { LineSplitter } from './lines.ts';
import type { Clock } from './lines.ts';
import type { LogEntry } from './list.ts';
import { droppedLine } from './rotate.ts';
import { parseScript } from './script.ts';
import type { Action, FolderAction, Script } from './script.ts';

const READ_BYTES = 65_536;
/** How often a log that cannot be written or opened is tried again. */
const RETRY_MS = 1000;
const LOCKS_AT_ONCE = 128;
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
      if (entry?.script === log.script) {
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

type OpenFolder = { readonly action: FolderAction; readonly folderFd: number; readonly lockFd: number };

type OpenParts = {
  readonly script: Script;
  readonly fifoFd: number;
  readonly logFd: number;
  readonly folders: readonly OpenFolder[];
};

function openParts({ id, directory, script: text }: LogEntry): OpenParts {
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

function closeParts({ fifoFd, logFd, folders }: OpenParts): void {
  for (const fd of [fifoFd, logFd, ...folders.flatMap(({ folderFd, lockFd }) => [folderFd, lockFd])]) closeSync(fd);
}

class Log {
  name: string;
  readonly script: string;
  readonly #onFull: Script['onFull'];
  readonly #stamps: boolean;
  readonly #fifoFd: number;
  readonly #logFd: number;
  readonly #socket: Socket;
  readonly #splitter: LineSplitter;
  readonly #sinks: readonly Sink[];
  readonly #warn: Warn;
  #retry: NodeJS.Timeout | undefined;
  #droppedBytes = 0;
  /** The rest of a line whose beginning was thrown away. */
  #isSkipping = false;

  constructor(entry: LogEntry, { script, fifoFd, logFd, folders }: OpenParts, warn: Warn) {
    this.name = entry.name;
    this.script = entry.script;
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
      onread: { buffer: readBuffer, callback: (length, buffer) => this.#take(buffer.subarray(0, length)) },
    });
    this.#socket.on('error', (error) => warn(`${this.name}/log: ${error.message}`));
  }

  rotate(): void {
    for (const sink of this.#sinks) if (sink.kind === 'folder') sink.folder.rotate();
  }

  /** Writes what its FIFO still holds, and lets go. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
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
