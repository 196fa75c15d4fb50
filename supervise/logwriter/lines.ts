// supervise/logwriter/lines.ts - octets from a service in, what each action of its script is to write out.
//
// Owns: line boundaries over chunks, stamps, selection. Does not own: files (folder.io.ts), reading (writer.io.ts).
//
// As multilog: a line is judged by its first 1000 octets, stamp included. A script without patterns needs no judging, so
// its octets go through as they come, a stamp put in front of each line: two million lines a second instead of some
// hundred thousand. Source: daemontools 0.76 multilog.c doit(). Pure: the clock is an argument.

import { matches } from './script.ts';
import type { Script } from './script.ts';

/** Octets of a line that patterns, = and e look at. */
const JUDGED_BYTES = 1000;
/** `=file`: a line, or as much of it as fits, and newlines up to this. */
const STATUS_BYTES = 1001;
const ALERT_BYTES = 200;
const NEWLINE = 0x0a;
/** "@", 24 digits, a blank. */
const STAMP_BYTES = 26;
const DIGITS = new TextEncoder().encode('0123456789abcdef');
/** 2^62 + 10, as formats/tai64n.ts says; the upper half never changes before the year 2106. */
const TAI_HIGH = 0x40000000;
const TAI_LOW_OFFSET_S = 10;

/** Nanoseconds since 1970, as two numbers. Mutable: one object serves a million lines. */
export type Clock = { unixS: number; nanoseconds: number };

/** Octets for one action, by its place in the script. */
export type Output = { readonly action: number; readonly octets: Uint8Array };

/** Applies one script to one stream of octets. */
export class LineSplitter {
  readonly #script: Script;
  readonly #judges: boolean;
  /** Stamp of the last line: each is later than the one before. */
  readonly #last: Clock = { unixS: 0, nanoseconds: 0 };
  readonly #stamp = new Uint8Array(STAMP_BYTES);
  #stampS = -1;
  /** Judged scripts: the line so far, up to JUDGED_BYTES. */
  readonly #head: Uint8Array;
  #headBytes = 0;
  /** Judged scripts: the line is longer than its head; what follows goes to the folders it was selected for. */
  #tailOf: readonly number[] | undefined;
  #isMidLine = false;

  constructor(script: Script) {
    this.#script = script;
    this.#judges = script.actions.some(({ kind }) => kind !== 'folder');
    this.#head = new Uint8Array(this.#judges ? JUDGED_BYTES : 0);
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
    const outputs = this.#judges ? this.#judge(chunk) : this.#pass(chunk);
    this.#isMidLine = chunk[chunk.length - 1] !== NEWLINE;
    return outputs;
  }

  /** Ends a line that was begun, as multilog does at the end of its input. */
  end(now: Clock): Output[] {
    return this.#isMidLine ? this.push(Uint8Array.of(NEWLINE), now) : [];
  }

  #pass(chunk: Uint8Array): Output[] {
    const octets = this.#script.stamps ? this.#stamped(chunk) : chunk;
    return this.#script.actions.map((_, action) => ({ action, octets }));
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

  #judge(chunk: Uint8Array): Output[] {
    const outputs: Output[] = [];
    let from = 0;
    while (from < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, from);
      const end = newline === -1 ? chunk.length : newline;
      if (this.#tailOf !== undefined) {
        const octets = chunk.slice(from, newline === -1 ? end : end + 1);
        for (const action of this.#tailOf) outputs.push({ action, octets });
        if (newline !== -1) this.#tailOf = undefined;
        from = end + 1;
        continue;
      }
      if (this.#headBytes === 0 && this.#script.stamps) {
        this.#head.set(this.#nextStamp());
        this.#headBytes = STAMP_BYTES;
      }
      const taken = Math.min(end - from, JUDGED_BYTES - this.#headBytes);
      this.#head.set(chunk.subarray(from, from + taken), this.#headBytes);
      this.#headBytes += taken;
      from += taken;
      const isWhole = newline !== -1 && from === newline;
      if (isWhole) from += 1;
      if (!isWhole && this.#headBytes < JUDGED_BYTES) break;
      const folders = this.#actOn(this.#head.slice(0, this.#headBytes), isWhole, outputs);
      this.#headBytes = 0;
      if (!isWhole) this.#tailOf = folders;
    }
    return this.#merged(outputs);
  }

  /** One output for each folder instead of one for each line, because each is a write; the others stay as they are. */
  #merged(outputs: readonly Output[]): Output[] {
    const pieces = new Map<number, Uint8Array[]>();
    const others: Output[] = [];
    for (const output of outputs) {
      const known = pieces.get(output.action);
      if (known !== undefined) known.push(output.octets);
      else if (this.#script.actions[output.action]?.kind === 'folder') pieces.set(output.action, [output.octets]);
      else others.push(output);
    }
    return [...others, ...[...pieces].map(([action, parts]) => ({ action, octets: joined(parts) }))];
  }

  /** @returns the folders that the line was selected for. */
  #actOn(line: Uint8Array, isWhole: boolean, outputs: Output[]): number[] {
    let isSelected = true;
    const folders: number[] = [];
    for (const [action, step] of this.#script.actions.entries()) {
      switch (step.kind) {
        case 'deselect':
          if (isSelected && matches(step.pattern, line)) isSelected = false;
          break;
        case 'select':
          if (!isSelected && matches(step.pattern, line)) isSelected = true;
          break;
        case 'alert':
          if (isSelected) outputs.push({ action, octets: alertOf(line) });
          break;
        case 'status':
          if (isSelected) outputs.push({ action, octets: statusOf(line) });
          break;
        case 'folder':
          if (!isSelected) break;
          outputs.push({ action, octets: isWhole ? withNewline(line) : line });
          folders.push(action);
          break;
      }
    }
    return folders;
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const octets = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    octets.set(piece, at);
    at += piece.length;
  }
  return octets;
}

function withNewline(line: Uint8Array): Uint8Array {
  const octets = new Uint8Array(line.length + 1);
  octets.set(line);
  octets[line.length] = NEWLINE;
  return octets;
}

function alertOf(line: Uint8Array): Uint8Array {
  if (line.length <= ALERT_BYTES) return withNewline(line);
  const octets = new Uint8Array(ALERT_BYTES + 4);
  octets.set(line.subarray(0, ALERT_BYTES));
  octets.set(new TextEncoder().encode('...\n'), ALERT_BYTES);
  return octets;
}

function statusOf(line: Uint8Array): Uint8Array {
  const octets = new Uint8Array(STATUS_BYTES).fill(NEWLINE);
  octets.set(line);
  return octets;
}

/** Eight digits of a number below 2^32. */
function writeHex(octets: Uint8Array, at: number, value: number): void {
  for (let digit = 0; digit < 8; digit += 1) octets[at + digit] = DIGITS[(value >>> (28 - 4 * digit)) & 15] ?? 0;
}
