// supervise/logwriter/script.ts - log/multilog: the words of a multilog script.
//
// Owns: what each word means, multilog's patterns.
// Does not own: which words there are (formats/servicefiles.ts), applying a script to lines (lines.ts), writing (folder.io.ts).
//
// The file holds multilog's own words, separated by blanks and newlines; a word with blanks stands in '' or "" as in a
// shell. A line that begins with # is a comment. One line is rouse's own: `onFull drop` throws lines away while the disk is full;
// `onFull block` (the default, and all that multilog knows) lets the service wait.
// To add an action, add it to Action and parseScript. Source: daemontools 0.76 multilog.c, match.c. Pure.

import { readMultilog } from '../../formats/servicefiles.ts';

export type FolderAction = {
  readonly kind: 'folder';
  /** As written: begins with "." or "/". */
  readonly path: string;
  readonly sizeBytes: number;
  /** Old files and `current` together. */
  readonly files: number;
  /** Command for /bin/sh -c. */
  readonly processor: string | undefined;
};

export type Action =
  | { readonly kind: 'deselect' | 'select'; readonly pattern: Uint8Array }
  /** Copy to standard error, at most 200 octets. */
  | { readonly kind: 'alert' }
  /** Overwrite a file of 1001 octets with the line. */
  | { readonly kind: 'status'; readonly path: string }
  | FolderAction;

export type Script = {
  readonly stamps: boolean;
  readonly actions: readonly Action[];
  readonly onFull: 'block' | 'drop';
};

export type ScriptResult =
  | { readonly ok: true; readonly script: Script }
  | { readonly ok: false; readonly why: string };

const SIZE_BYTES_DEFAULT = 99_999;
const SIZE_BYTES_MIN = 4096;
const SIZE_BYTES_MAX = 16_777_215;
const FILES_DEFAULT = 10;
const FILES_MIN = 2;

/** What the file says. Unlike multilog, which skips them, words without a meaning are refused. Never throws. */
export function parseScript(text: string): ScriptResult {
  const read = readMultilog(text);
  if ('problem' in read) return { ok: false, why: read.problem };
  const { words, onFull } = read;
  const stamps = words[0] === 't';
  const actions: Action[] = [];
  let sizeBytes = SIZE_BYTES_DEFAULT;
  let files = FILES_DEFAULT;
  let processor: string | undefined;
  for (const word of stamps ? words.slice(1) : words) {
    const argument = word.slice(1);
    const number = /^\d{1,12}$/.test(argument) ? Number(argument) : undefined;
    switch (word[0]) {
      case '-':
      case '+':
        actions.push({
          kind: word[0] === '-' ? 'deselect' : 'select',
          pattern: new TextEncoder().encode(argument),
        });
        break;
      case 'e':
        if (argument !== '') return { ok: false, why: `unknown word ${JSON.stringify(word)}` };
        actions.push({ kind: 'alert' });
        break;
      case '=':
        if (argument === '') return { ok: false, why: '= names no file' };
        actions.push({ kind: 'status', path: argument });
        break;
      case 's':
        if (number === undefined) return { ok: false, why: `${word}: expected s and a number of bytes` };
        sizeBytes = Math.max(SIZE_BYTES_MIN, Math.min(SIZE_BYTES_MAX, number));
        break;
      case 'n':
        if (number === undefined) return { ok: false, why: `${word}: expected n and a number of files` };
        files = Math.max(FILES_MIN, number);
        break;
      case '!':
        processor = argument === '' ? undefined : argument;
        break;
      case '.':
      case '/':
        actions.push({ kind: 'folder', path: word, sizeBytes, files, processor });
        break;
      default:
        return {
          ok: false,
          why: `unknown word ${JSON.stringify(word)}, expected t (first), s, n, !, +, -, e, = or a folder (./main)`,
        };
    }
  }
  if (actions.length === 0) return { ok: false, why: 'it writes nowhere; name a folder, for example: t ./main' };
  return { ok: true, script: { stamps, actions, onFull } };
}

const STAR = 0x2a;

/** multilog's match: a star takes everything up to the first occurrence of the octet after it; the whole line must fit. */
export function matches(pattern: Uint8Array, octets: Uint8Array, from = 0, end = octets.length): boolean {
  let at = from;
  for (let index = 0; index < pattern.length; index += 1) {
    const octet = pattern[index];
    if (octet !== STAR) {
      if (at === end || octets[at] !== octet) return false;
      at += 1;
      continue;
    }
    const next = pattern[index + 1];
    if (next === undefined) return true;
    while (at < end && octets[at] !== next) at += 1;
    if (at === end) return false;
  }
  return at === end;
}
