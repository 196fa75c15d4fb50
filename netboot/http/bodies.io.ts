// netboot/http/bodies.io.ts - published files in memory: read once from the disk for a thousand readers, HTTP's and TFTP's.
//
// Owns: the reading, which readers follow while it goes on; how much is held, and for how long after the last reader.
// Does not own which files there are, nor sending. Only for files that never change: their names are their hashes.
//
// Sending from memory costs a third of the processor time that reading into buffers costs, and a rack that powers up asks
// for the same few files at once. What does not fit is read by each reader for itself (server.io.ts).

import { open } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { reasonOf } from '../../formats/errors.ts';

const MOST_BYTES = 512 * 1024 * 1024;
/** Of the machine's memory at most this part. */
const MEMORY_SHARE = 8;
/** How long a file is held after its last reader: what machines of one rack differ by. */
const IDLE_MS = 60_000;
const READ_BYTES = 1024 * 1024;

/** One file, whole or on its way from the disk. */
export class Body {
  readonly bytes: Buffer;
  #filled = 0;
  #failure: Error | undefined;
  #waiting: (() => void)[] = [];

  constructor(path: string, sizeBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(sizeBytes);
    void this.#fill(path);
  }

  get isBroken(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves when the octets before `end` are there. @throws Error where the file cannot be read, or ends before. */
  async upTo(end: number): Promise<void> {
    while (this.#filled < end) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async #fill(path: string): Promise<void> {
    try {
      const file = await open(path, 'r');
      try {
        while (this.#filled < this.bytes.length) {
          const length = Math.min(READ_BYTES, this.bytes.length - this.#filled);
          const { bytesRead } = await file.read(this.bytes, this.#filled, length, this.#filled);
          if (bytesRead === 0) throw new Error(`${path} is shorter than its manifest says`);
          this.#filled += bytesRead;
          this.#tell();
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(reasonOf(error));
      this.#tell();
    }
  }

  #tell(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

type Held = { readonly body: Body; readers: number; timer: NodeJS.Timeout | undefined };

/** The files that are wanted now, and those that were a moment ago. */
export class Bodies {
  readonly #held = new Map<string, Held>();
  /** What is held at most. */
  readonly mostBytes: number;
  #bytes = 0;

  constructor(mostBytes = Math.min(MOST_BYTES, Math.floor(totalmem() / MEMORY_SHARE))) {
    this.mostBytes = mostBytes;
  }

  /** Octets held. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * A reader comes; exactly one leave(path) follows.
   *
   * @returns undefined where there is no room for the file beside those that are being read: then nothing follows.
   */
  enter(path: string, sizeBytes: number): Body | undefined {
    const known = this.#held.get(path);
    if (known !== undefined && !known.body.isBroken) {
      clearTimeout(known.timer);
      known.readers += 1;
      // Put at the end again: what is dropped first is what was wanted least recently.
      this.#held.delete(path);
      this.#held.set(path, known);
      return known.body;
    }
    for (const [other, { readers }] of this.#held) {
      if (this.#bytes + sizeBytes <= this.mostBytes) break;
      if (readers === 0) this.#drop(other);
    }
    if (known !== undefined || this.#bytes + sizeBytes > this.mostBytes) return undefined;
    const body = new Body(path, sizeBytes);
    this.#held.set(path, { body, readers: 1, timer: undefined });
    this.#bytes += sizeBytes;
    return body;
  }

  leave(path: string): void {
    const held = this.#held.get(path);
    if (held === undefined) return;
    held.readers -= 1;
    if (held.readers > 0) return;
    if (held.body.isBroken) return this.#drop(path);
    held.timer = setTimeout(() => this.#drop(path), IDLE_MS);
    held.timer.unref();
  }

  #drop(path: string): void {
    const held = this.#held.get(path);
    if (held === undefined) return;
    clearTimeout(held.timer);
    this.#held.delete(path);
    this.#bytes -= held.body.bytes.length;
  }
}
