// supervise/logwriter/lines.ts - octets from a service in, what each action of its script is to write out.
//
// Owns: stamps, the line begun and not ended. Does not own: which lines go where (judge.ts), files (folder.io.ts), reading
// (log.io.ts).
//
// A script without patterns needs no judging: its octets go through as they come, a stamp put in front of each line.
// Source: daemontools 0.76 multilog.c doit(). Pure: the clock is an argument.

import { Judge } from './judge.ts';
import type { Output } from './judge.ts';
import type { Script } from './script.ts';

const NEWLINE = 0x0a;
/** "@", 24 digits, a blank. */
const STAMP_BYTES = 26;
const DIGITS = new TextEncoder().encode('0123456789abcdef');
/** 2^62 + 10, as formats/tai64n.ts says; the upper half never changes before the year 2106. */
const TAI_HIGH = 0x40000000;
const TAI_LOW_OFFSET_S = 10;

/** Nanoseconds since 1970, as two numbers. Mutable: one object serves a million lines. */
export type Clock = { unixS: number; nanoseconds: number };

/** Applies one script to one stream of octets. */
export class LineSplitter {
  readonly #script: Script;
  readonly #judge: Judge | undefined;
  /** Stamp of the last line: each is later than the one before. */
  readonly #last: Clock = { unixS: 0, nanoseconds: 0 };
  readonly #stamp = new Uint8Array(STAMP_BYTES);
  #stampS = -1;
  #isMidLine = false;

  constructor(script: Script) {
    this.#script = script;
    this.#judge = script.actions.some(({ kind }) => kind !== 'folder') ? new Judge(script) : undefined;
    this.#stamp[0] = 0x40;
    this.#stamp[STAMP_BYTES - 1] = 0x20;
  }

  /** Whether the last octet was not a newline. */
  get isMidLine(): boolean {
    return this.#isMidLine;
  }

  /** @param chunk is not kept. @param now of this chunk. @returns octets that are good until the next call. */
  push(chunk: Uint8Array, now: Clock): Output[] {
    if (chunk.length === 0) return [];
    if (now.unixS > this.#last.unixS || (now.unixS === this.#last.unixS && now.nanoseconds > this.#last.nanoseconds)) {
      this.#last.unixS = now.unixS;
      this.#last.nanoseconds = now.nanoseconds;
    }
    const octets = this.#script.stamps ? this.#stamped(chunk) : chunk;
    this.#isMidLine = chunk[chunk.length - 1] !== NEWLINE;
    return this.#judge?.push(octets) ?? this.#script.actions.map((_, action) => ({ action, octets }));
  }

  /** Ends a line that was begun, as multilog does at the end of its input. */
  end(now: Clock): Output[] {
    return this.#isMidLine ? this.push(Uint8Array.of(NEWLINE), now) : [];
  }

  #stamped(chunk: Uint8Array): Uint8Array {
    let lines = this.#isMidLine ? 0 : 1;
    for (let at = chunk.indexOf(NEWLINE); at !== -1 && at < chunk.length - 1; at = chunk.indexOf(NEWLINE, at + 1)) {
      lines += 1;
    }
    const out = new Uint8Array(chunk.length + lines * STAMP_BYTES);
    let to = 0;
    let from = 0;
    let begins = !this.#isMidLine;
    while (from < chunk.length) {
      if (begins) {
        out.set(this.#nextStamp(), to);
        to += STAMP_BYTES;
      }
      const newline = chunk.indexOf(NEWLINE, from);
      const end = newline === -1 ? chunk.length : newline + 1;
      out.set(chunk.subarray(from, end), to);
      to += end - from;
      from = end;
      begins = true;
    }
    return out;
  }

  #nextStamp(): Uint8Array {
    const last = this.#last;
    last.nanoseconds += 1;
    if (last.nanoseconds >= 1_000_000_000) {
      last.unixS += 1;
      last.nanoseconds -= 1_000_000_000;
    }
    if (last.unixS !== this.#stampS) {
      this.#stampS = last.unixS;
      writeHex(this.#stamp, 1, TAI_HIGH);
      writeHex(this.#stamp, 9, last.unixS + TAI_LOW_OFFSET_S);
    }
    writeHex(this.#stamp, 17, last.nanoseconds);
    return this.#stamp;
  }
}

/** Eight digits of a number below 2^32. */
function writeHex(octets: Uint8Array, at: number, value: number): void {
  for (let digit = 0; digit < 8; digit += 1) octets[at + digit] = DIGITS[(value >>> (28 - 4 * digit)) & 15] ?? 0;
}
