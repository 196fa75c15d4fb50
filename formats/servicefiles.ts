// formats/servicefiles.ts - the files of a service directory that are read twice: by the supervisor as it starts a service, and by
// the image builder as it puts one into daemontools' words.
//
// Owns: which lines say something, and the grammar of `user`, `limits`, `fghack` and `log/multilog`'s own line `onFull`.
// Does not own: the other settings (supervise/servicedir.ts), multilog's words (supervise/logwriter/script.ts), what nodes without
// rouse have nothing for (images/lower.ts).
//
// Sources: daemontools 0.76 softlimit(8), multilog(8), useradd(8) on names. Pure.

import { splitWords } from './words.ts';

/** softlimit's letters of those limits that prlimit(1) has, too. */
export const LIMIT_LETTERS = ['a', 'c', 'd', 'f', 'l', 'o', 'p', 'r', 's', 't'] as const;
export type LimitLetter = (typeof LIMIT_LETTERS)[number];
/** Bytes, seconds or pieces, as softlimit counts them. */
export type Limit = { readonly letter: LimitLetter; readonly value: number };

/** What is wrong with a file. */
type Problem = { readonly problem: string };

/** Lines that say something: comments (#) and blank ones left out. */
export function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}

/** A value as it stands in a message: in "", the end of a long one left out. */
export function quoteShort(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text);
}

export function parseUser(text: string): { readonly user: string } | Problem {
  const [user = '', ...rest] = linesOf(text);
  if (rest.length > 0 || !/^[a-z_][a-z0-9_.-]{0,31}$/i.test(user)) {
    return { problem: `expected one name of an account, got ${quoteShort(text.trim())}` };
  }
  return { user };
}

export function parseLimits(text: string): { readonly limits: readonly Limit[] } | Problem {
  const limits: Limit[] = [];
  for (const line of linesOf(text)) {
    const [word = '', value = '', ...rest] = line.split(/\s+/);
    const letter = LIMIT_LETTERS.find((each) => each === word.replace(/^-/, ''));
    if (letter === undefined) {
      return { problem: `unknown word ${quoteShort(word)}, expected one of softlimit's ${LIMIT_LETTERS.join(' ')}` };
    }
    if (rest.length > 0 || !/^\d{1,15}$/.test(value)) {
      return { problem: `${letter} expected a whole number, got ${quoteShort(line.slice(word.length).trim())}` };
    }
    limits.push({ letter, value: Number(value) });
  }
  return { limits };
}

export function parseFghack(text: string): { readonly fghack: true } | Problem {
  return linesOf(text).length === 0 ? { fghack: true } : { problem: 'expected an empty file: its being there says it' };
}

export type MultilogText = {
  readonly words: readonly string[];
  readonly onFull: 'block' | 'drop';
  /** Of the line onFull, counted from 1; where there is none 1. */
  readonly onFullLine: number;
};

/** log/multilog: the words for multilog, and our own line taken out. @returns a problem with its line, counted from 1. */
export function readMultilog(text: string): MultilogText | (Problem & { readonly line: number }) {
  let [onFull, onFullLine]: ['block' | 'drop', number] = ['block', 1];
  const rest: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (/^\s*#/.test(line)) continue;
    const option = /^\s*onFull(?:\s+(.*?))?\s*$/.exec(line);
    if (option === null) rest.push(line);
    else if (option[1] === 'drop' || option[1] === 'block') [onFull, onFullLine] = [option[1], index + 1];
    else return { problem: `onFull expected block or drop, got ${quoteShort(option[1] ?? '')}`, line: index + 1 };
  }
  const words = splitWords(rest.join('\n'));
  return words === undefined ? { problem: 'a quotation mark is not closed', line: 1 } : { words, onFull, onFullLine };
}
