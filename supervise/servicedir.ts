// supervise/servicedir.ts - the files of a service directory: names, grammar, units, defaults.
//
// Owns: what each setting file may say, and why a run file cannot be started.
// Does not own: reading files (directory.io.ts), what settings do (machine.ts, launch.ts).
//
// One file per setting, in s6's and runit's style, all optional, s6's names in s6's unit (ms). A value that cannot be
// understood is an error that keeps the service from starting: a misread `user` or `limits` must not mean "root, no limits".
// To add a setting, add a row to SETTING_FILES and a field to Settings.
// Sources: s6 doc/servicedir.html, runit runsv(8). Pure.

import { DEFAULT_SETTINGS } from './service.ts';
import { parseHealth } from './health.ts';
import { LIMIT_LETTERS } from './launch.ts';
import type { Backoff, Limit, Settings, SignalName } from './service.ts';

/** No setting is longer; more is refused, not cut. */
export const SETTING_BYTES_MAX = 4096;

type Parsed = { readonly value: Partial<Settings> } | { readonly problem: string };

type SettingRow = { readonly parse: (text: string) => Parsed };

const SETTING_FILES = {
  'notification-fd': {
    parse: (text) => wholeNumber(text, 3, 20, (notificationFd) => ({ notificationFd })),
  },
  'timeout-kill': { parse: (text) => wholeNumber(text, 0, 86_400_000, (timeoutKillMs) => ({ timeoutKillMs })) },
  'timeout-finish': { parse: (text) => wholeNumber(text, 0, 86_400_000, (timeoutFinishMs) => ({ timeoutFinishMs })) },
  'down-signal': { parse: (text) => parseSignal(text, (downSignal) => ({ downSignal })) },
  'reload-signal': { parse: (text) => parseSignal(text, (reloadSignal) => ({ reloadSignal })) },
  backoff: { parse: parseBackoff },
  depends: { parse: (text) => ({ value: { depends: lines(text) } }) },
  user: { parse: parseUser },
  limits: { parse: parseLimits },
  health: {
    parse: (text) => {
      const parsed = parseHealth(lines(text));
      return 'health' in parsed ? { value: parsed } : parsed;
    },
  },
  fghack: {
    parse: (text) =>
      lines(text).length === 0
        ? { value: { fghack: true } }
        : { problem: 'expected an empty file: its being there says it' },
  },
} as const satisfies Record<string, SettingRow>;

export type SettingFile = keyof typeof SETTING_FILES;

export const SETTING_FILE_NAMES = Object.keys(SETTING_FILES) as readonly SettingFile[];

/** Further files that a start reads. */
export const STARTED_FILE_NAMES = [...SETTING_FILE_NAMES, 'run', 'finish', 'check', 'env'] as const;

/** A short name for an edition of the files (FNV-1a, twice 32 bits). @param facts of each file; what changes when it does. */
export function editionOf(facts: readonly string[]): string {
  const hash = (seed: number): string => {
    let value = seed;
    for (const octet of new TextEncoder().encode(facts.join('\n'))) value = Math.imul(value ^ octet, 0x01000193) >>> 0;
    return value.toString(16).padStart(8, '0');
  };
  return hash(0x811c9dc5) + hash(0x9e3779b9);
}

export type SettingsResult =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly why: string };

/**
 * Settings of a directory.
 *
 * @param files content of each setting file that exists.
 * @param scripts which of the optional scripts exist.
 */
export function parseSettings(
  files: Partial<Record<SettingFile, string>>,
  scripts: { readonly hasFinish: boolean; readonly hasCheck: boolean },
): SettingsResult {
  let settings: Settings = { ...DEFAULT_SETTINGS, ...scripts };
  for (const name of SETTING_FILE_NAMES) {
    const text = files[name];
    if (text === undefined) continue;
    const parsed: Parsed = SETTING_FILES[name].parse(text);
    if ('problem' in parsed) return { ok: false, why: `file ${name}: ${parsed.problem}` };
    settings = { ...settings, ...parsed.value };
  }
  return { ok: true, settings };
}

/** Lines that say something: comments (#) and blank ones left out. */
function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text);
}

function wholeNumber(text: string, min: number, max: number, make: (value: number) => Partial<Settings>): Parsed {
  const word = text.trim();
  const value = Number(word);
  if (!/^\d{1,9}$/.test(word) || value < min || value > max) {
    return { problem: `expected a whole number from ${min} to ${max}, got ${quote(word)}` };
  }
  return { value: make(value) };
}

const SIGNALS = {
  '1': 'SIGHUP',
  '2': 'SIGINT',
  '3': 'SIGQUIT',
  '9': 'SIGKILL',
  '10': 'SIGUSR1',
  '12': 'SIGUSR2',
  '14': 'SIGALRM',
  '15': 'SIGTERM',
  '28': 'SIGWINCH',
} as const satisfies Record<string, SignalName>;

function parseSignal(text: string, make: (name: SignalName) => Partial<Settings>): Parsed {
  const word = text.trim().toUpperCase();
  const name = Object.values(SIGNALS).find((signal) => signal === word || signal === `SIG${word}`);
  const chosen = name ?? Object.entries(SIGNALS).find(([number]) => number === word)?.[1];
  if (chosen !== undefined) return { value: make(chosen) };
  return { problem: `expected one of ${Object.values(SIGNALS).join(' ')}, got ${quote(text.trim())}` };
}

function parseUser(text: string): Parsed {
  const [user = '', ...rest] = lines(text);
  if (rest.length > 0 || !/^[a-z_][a-z0-9_.-]{0,31}$/i.test(user)) {
    return { problem: `expected one name of an account, got ${quote(text.trim())}` };
  }
  return { value: { user } };
}

function parseLimits(text: string): Parsed {
  const limits: Limit[] = [];
  for (const line of lines(text)) {
    const [word = '', value = '', ...rest] = line.split(/\s+/);
    const letter = LIMIT_LETTERS.find((each) => each === word.replace(/^-/, ''));
    if (letter === undefined) {
      return { problem: `unknown word ${quote(word)}, expected one of softlimit's ${LIMIT_LETTERS.join(' ')}` };
    }
    if (rest.length > 0 || !/^\d{1,15}$/.test(value)) {
      return { problem: `${letter} expected a whole number, got ${quote(line.slice(word.length).trim())}` };
    }
    limits.push({ letter, value: Number(value) });
  }
  return { value: { limits } };
}

const BACKOFF_WORDS = {
  initialMs: { min: 1, max: 3_600_000 },
  capMs: { min: 1, max: 86_400_000 },
  jitter: { min: 0, max: 1 },
  resetMs: { min: 0, max: 86_400_000 },
} as const satisfies Record<keyof Backoff, { min: number; max: number }>;

function parseBackoff(text: string): Parsed {
  const backoff = { initialMs: 1000, capMs: 60_000, jitter: 0.2, resetMs: 60_000 };
  for (const line of lines(text)) {
    const [word = '', value = '', ...rest] = line.split(/\s+/);
    if (!isBackoffWord(word)) {
      return { problem: `unknown word ${quote(word)}, expected ${Object.keys(BACKOFF_WORDS).join(', ')}` };
    }
    const { min, max } = BACKOFF_WORDS[word];
    const number = Number(value);
    if (rest.length > 0 || !/^\d+(\.\d+)?$/.test(value) || number < min || number > max) {
      return {
        problem: `${word} expected a number from ${min} to ${max}, got ${quote(line.slice(word.length).trim())}`,
      };
    }
    backoff[word] = number;
  }
  return { value: { backoff } };
}

function isBackoffWord(word: string): word is keyof Backoff {
  return Object.hasOwn(BACKOFF_WORDS, word);
}

/** What the shell found where a run file should be. */
export type ScriptFacts =
  | { readonly kind: 'missing' | 'dangling' | 'directory' | 'special' | 'loop' }
  | { readonly kind: 'unreadable'; readonly why: string }
  | {
      readonly kind: 'file';
      readonly isExecutable: boolean;
      /** First bytes as text; empty where the file may be executed but not read. */
      readonly head: string;
      /** Of the program that the #! line names; undefined where there is no #! line. */
      readonly interpreterExists: boolean | undefined;
    };

/** Why a script cannot be started, with what to do; undefined = it can. */
export function refusalOf(name: string, facts: ScriptFacts): string | undefined {
  switch (facts.kind) {
    case 'missing':
      return `${name} is missing; make an executable file of that name`;
    case 'dangling':
      return `${name} is a link to nothing`;
    case 'loop':
      return `${name} is a link in a circle`;
    case 'directory':
      return `${name} is a directory, not a program`;
    case 'special':
      return `${name} is not a regular file`;
    case 'unreadable':
      return `${name} cannot be looked at: ${facts.why}`;
    case 'file':
      if (!facts.isExecutable) return `${name} is not executable; chmod +x it`;
      if (facts.head.startsWith('#!') && facts.interpreterExists === false) {
        return `${name} names ${interpreterOf(facts.head) ?? 'a program'} in its first line, which does not exist`;
      }
      return undefined;
  }
}

/** The program of a #! line; undefined where there is none. */
export function interpreterOf(head: string): string | undefined {
  return /^#![ \t]*(\S+)/.exec(head.split('\n')[0] ?? '')?.[1];
}
