// supervise/logwriter/judge.ts - which lines go where: the patterns, alerts and status files of a script.
//
// Owns: line boundaries over chunks, selection, what = and e make of a line. Does not own: stamps (lines.ts), files.
//
// As multilog: a line is judged by its first 1000 octets, stamp included. Lines that go the same way are copied together,
// not one by one: that is what makes a script with patterns cost no more than multilog's.
// Source: daemontools 0.76 multilog.c doit(). Pure.

import { matches } from './script.ts';
import type { Script } from './script.ts';

/** Octets of a line that patterns, = and e look at. */
const JUDGED_BYTES = 1000;
/** `=file`: a line, or as much of it as fits, and newlines up to this. */
const STATUS_BYTES = 1001;
const ALERT_BYTES = 200;
const NEWLINE = 0x0a;

/** Octets for one action, by its place in the script. */
export type Output = { readonly action: number; readonly octets: Uint8Array };

/** Applies the actions of one script to one stream of octets. */
export class Judge {
  readonly #script: Script;
  readonly #gathered: ReadonlyMap<number, Gathered>;
  /** The line so far, up to JUDGED_BYTES. */
  readonly #head = new Uint8Array(JUDGED_BYTES);
  #headBytes = 0;
  /** The line is longer than its head, which is judged: what follows goes to these folders. */
  #tailOf: readonly Gathered[] | undefined;

  constructor(script: Script) {
    this.#script = script;
    this.#gathered = new Map(
      [...script.actions.entries()].flatMap(([action, { kind }]) =>
        kind === 'folder' ? [[action, new Gathered()]] : [],
      ),
    );
  }

  /** @param octets stamped; not kept. @returns octets that are good until the next call; folders last, one output each. */
  push(octets: Uint8Array): Output[] {
    const others: Output[] = [];
    for (const gathered of this.#gathered.values()) gathered.begin(octets, this.#headBytes);
    for (let from = 0; from < octets.length; ) {
      const newline = octets.indexOf(NEWLINE, from);
      const end = newline === -1 ? octets.length : newline + 1;
      this.#line(octets, from, end, newline !== -1, others);
      from = end;
    }
    for (const [action, gathered] of this.#gathered) {
      const selected = gathered.end();
      if (selected.length > 0) others.push({ action, octets: selected });
    }
    return others;
  }

  /** A line or a part of one, its newline included. */
  #line(octets: Uint8Array, from: number, end: number, isWhole: boolean, others: Output[]): void {
    if (this.#tailOf !== undefined) {
      for (const gathered of this.#tailOf) gathered.range(from, end);
      if (isWhole) this.#tailOf = undefined;
      return;
    }
    const lineEnd = isWhole ? end - 1 : end;
    if (isWhole && this.#headBytes === 0) {
      const judgedEnd = Math.min(lineEnd, from + JUDGED_BYTES);
      for (const gathered of this.#select(octets, from, judgedEnd, others)) gathered.range(from, end);
      return;
    }
    const taken = Math.min(lineEnd - from, JUDGED_BYTES - this.#headBytes);
    this.#head.set(octets.subarray(from, from + taken), this.#headBytes);
    this.#headBytes += taken;
    if (!isWhole && this.#headBytes < JUDGED_BYTES) return;
    const folders = this.#select(this.#head, 0, this.#headBytes, others);
    for (const gathered of folders) {
      gathered.octets(this.#head.subarray(0, this.#headBytes));
      gathered.range(from + taken, end);
    }
    this.#headBytes = 0;
    if (!isWhole) this.#tailOf = folders;
  }

  /** Adds to `others` what is no folder's. @returns the folders that the line was selected for. */
  #select(octets: Uint8Array, from: number, end: number, others: Output[]): readonly Gathered[] {
    let isSelected = true;
    const folders: Gathered[] = [];
    for (const [action, step] of this.#script.actions.entries()) {
      switch (step.kind) {
        case 'deselect':
          if (isSelected && matches(step.pattern, octets, from, end)) isSelected = false;
          break;
        case 'select':
          if (!isSelected && matches(step.pattern, octets, from, end)) isSelected = true;
          break;
        case 'alert':
          if (isSelected) others.push({ action, octets: alertOf(octets.subarray(from, end)) });
          break;
        case 'status':
          if (isSelected) others.push({ action, octets: statusOf(octets.subarray(from, end)) });
          break;
        case 'folder': {
          const gathered = isSelected ? this.#gathered.get(action) : undefined;
          if (gathered !== undefined) folders.push(gathered);
          break;
        }
      }
    }
    return folders;
  }
}

/** What of one chunk a folder gets: neighbouring ranges as one, and all of it without a copy. */
class Gathered {
  #source: Uint8Array = new Uint8Array();
  #out: Uint8Array | undefined;
  #outBytes = 0;
  #headBytes = 0;
  #from = 0;
  #end = 0;

  begin(source: Uint8Array, headBytes: number): void {
    this.#source = source;
    this.#headBytes = headBytes;
    this.#out = undefined;
    this.#outBytes = 0;
    this.#from = 0;
    this.#end = 0;
  }

  range(from: number, end: number): void {
    if (from !== this.#end) {
      this.#flush();
      this.#from = from;
    }
    this.#end = end;
  }

  octets(octets: Uint8Array): void {
    this.#flush();
    this.#append(octets);
  }

  end(): Uint8Array {
    if (this.#out === undefined) return this.#source.subarray(this.#from, this.#end);
    this.#flush();
    return this.#out.subarray(0, this.#outBytes);
  }

  #flush(): void {
    if (this.#from < this.#end) this.#append(this.#source.subarray(this.#from, this.#end));
    this.#from = this.#end;
  }

  #append(octets: Uint8Array): void {
    this.#out ??= new Uint8Array(this.#headBytes + this.#source.length);
    this.#out.set(octets, this.#outBytes);
    this.#outBytes += octets.length;
  }
}

function alertOf(line: Uint8Array): Uint8Array {
  const shown = Math.min(line.length, ALERT_BYTES);
  const end = new TextEncoder().encode(line.length <= ALERT_BYTES ? '\n' : '...\n');
  const octets = new Uint8Array(shown + end.length);
  octets.set(line.subarray(0, shown));
  octets.set(end, shown);
  return octets;
}

function statusOf(line: Uint8Array): Uint8Array {
  const octets = new Uint8Array(STATUS_BYTES).fill(NEWLINE);
  octets.set(line);
  return octets;
}
