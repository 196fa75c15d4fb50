// supervise/servicedir.ts - the files of a service directory: names, grammar, units, defaults.
//
// Owns: what each setting file may say, and why a run file cannot be started.
// Does not own: reading files (directory.io.ts), what settings do (machine.ts, launch.ts), the grammar that the image builder
// reads as well (formats/servicefiles.ts).
//
// One file per setting, in s6's and runit's style, all optional, s6's names in s6's unit (ms). A value that cannot be
// understood is an error that keeps the service from starting: a misread `user` or `limits` must not mean "root, no limits".
// To add a setting, add a row to SETTING_FILES, a field to Settings and a row to SETTINGS of images/lower.ts;
// docs/settings.md is made of the rows.
// Sources: s6 doc/servicedir.html, runit runsv(8). Pure.

import { LIMIT_LETTERS, linesOf, parseFghack, parseLimits, parseUser, quoteShort } from '../formats/servicefiles.ts';
import { CGROUP_LIMITS, parseCgroup } from './cgroup.ts';
import { TALLY_DEATHS_MAX } from './deathtally.ts';
import { DEFAULT_SETTINGS } from './service.ts';
import { parseHealth } from './health.ts';
import type { Backoff, Settings, SignalName } from './service.ts';

/** No setting is longer; more is refused, not cut. */
export const SETTING_BYTES_MAX = 4096;

const DAY_MS = 86_400_000;
/** s6's own number. */
const TALLY_DEATHS = 100;

type Parsed = { readonly value: Partial<Settings> } | { readonly problem: string };

type SettingRow = {
  readonly parse: (text: string) => Parsed;
  /** For docs/settings.md: what the file holds. */
  readonly form: string;
  /** For docs/settings.md: what it does, and what is so without it. */
  readonly help: string;
};

export const SETTING_FILES = {
  'notification-fd': {
    parse: (text) => wholeNumber(text, 3, 20, (notificationFd) => ({ notificationFd })),
    form: 'a number from 3 to 20',
    help: 'The service is ready once it writes a newline to this descriptor. Without it: once `check` exits 0, and without that after running for 1 s.',
  },
  'timeout-kill': {
    parse: (text) => wholeNumber(text, 0, DAY_MS, (timeoutKillMs) => ({ timeoutKillMs })),
    form: 'ms',
    help: 'How long `down` and `restart` leave the process before SIGKILL. Without it, or 0: for ever.',
  },
  'timeout-finish': {
    parse: (text) => wholeNumber(text, 0, DAY_MS, (timeoutFinishMs) => ({ timeoutFinishMs })),
    form: 'ms',
    help: 'How long `finish` may run before SIGKILL. Without it 5000; 0: for ever.',
  },
  'down-signal': {
    parse: (text) => parseSignal(text, (downSignal) => ({ downSignal })),
    form: 'a signal, by name or number',
    help: 'What `down` and `restart` send instead of TERM (CONT follows).',
  },
  'reload-signal': {
    parse: (text) => parseSignal(text, (reloadSignal) => ({ reloadSignal })),
    form: 'a signal, by name or number',
    help: 'What `rouse reload` sends instead of HUP.',
  },
  'max-death-tally': {
    parse: (text) => wholeNumber(text, 0, TALLY_DEATHS_MAX, (maxDeathTally) => ({ maxDeathTally })),
    form: `a number from 0 to ${TALLY_DEATHS_MAX}`,
    help: 'How many deaths `supervise/death_tally` keeps for s6-permafailon in `finish`. Without it 100 where there is a `finish`, else none.',
  },
  backoff: {
    parse: parseBackoff,
    form: 'lines `initialMs N`, `capMs N`, `jitter 0…1`, `resetMs N`',
    help: 'Pauses between starts that double from initialMs (1000) to capMs (60000), jitter (0.2) of each being random, anew after a run of resetMs (60000). Without it: 1 s, always.',
  },
  depends: {
    parse: (text) => ({ value: { depends: linesOf(text) } }),
    form: 'names of services, one a line',
    help: 'Started after they are ready, stopped before they are.',
  },
  user: {
    parse: (text) => settingOf(parseUser(text)),
    form: 'the name of an account',
    help: 'Who `run` is started as, with the groups that /etc/group gives. Without it: who the supervisor is.',
  },
  limits: {
    parse: (text) => settingOf(parseLimits(text)),
    form: 'lines `LETTER N`, the letters of softlimit',
    help: `Soft limits of the process, in bytes, seconds or pieces: ${LIMIT_LETTERS.join(' ')}. Without it: as the supervisor has them, open files 1024.`,
  },
  cgroup: {
    parse: (text) => settingOf(parseCgroup(linesOf(text))),
    form: `lines ${Object.keys(CGROUP_LIMITS)
      .map((word) => `\`${word} N\``)
      .join(', ')}, or nothing`,
    help: 'A cgroup v2 of its own, with these limits for the whole tree of the service; all of it is ended with it. Where that cannot be had the service is not started, and says why.',
  },
  health: {
    parse: (text) => settingOf(parseHealth(linesOf(text))),
    form: 'lines `kind icmp|tcp|http|exec`, `target …`, `intervalMs N`, `timeoutMs N`, `threshold N`',
    help: 'Asked every intervalMs (10000) once it is ready; threshold (3) failures in a row, each after at most timeoutMs (5000), restart it.',
  },
  fghack: {
    parse: (text) => settingOf(parseFghack(text)),
    form: 'nothing',
    help: '`run` puts itself into the background: the service is what it leaves there.',
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
  /** Of each file that cannot be understood: which it is, and why. */
  | { readonly ok: false; readonly problems: readonly string[] };

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
  const maxDeathTally = scripts.hasFinish ? TALLY_DEATHS : 0;
  let settings: Settings = { ...DEFAULT_SETTINGS, ...scripts, maxDeathTally };
  const problems: string[] = [];
  for (const name of SETTING_FILE_NAMES) {
    const text = files[name];
    if (text === undefined) continue;
    const parsed: Parsed = SETTING_FILES[name].parse(text);
    if ('problem' in parsed) problems.push(`file ${name}: ${parsed.problem}`);
    else settings = { ...settings, ...parsed.value };
  }
  return problems.length === 0 ? { ok: true, settings } : { ok: false, problems };
}

function settingOf(parsed: Partial<Settings> | { readonly problem: string }): Parsed {
  return 'problem' in parsed ? parsed : { value: parsed };
}

function wholeNumber(text: string, min: number, max: number, make: (value: number) => Partial<Settings>): Parsed {
  const word = text.trim();
  const value = Number(word);
  if (!/^\d{1,9}$/.test(word) || value < min || value > max) {
    return { problem: `expected a whole number from ${min} to ${max}, got ${quoteShort(word)}` };
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
  return { problem: `expected one of ${Object.values(SIGNALS).join(' ')}, got ${quoteShort(text.trim())}` };
}

const BACKOFF_WORDS = {
  initialMs: { min: 1, max: 3_600_000 },
  capMs: { min: 1, max: 86_400_000 },
  jitter: { min: 0, max: 1 },
  resetMs: { min: 0, max: 86_400_000 },
} as const satisfies Record<keyof Backoff, { min: number; max: number }>;

function parseBackoff(text: string): Parsed {
  const backoff = { initialMs: 1000, capMs: 60_000, jitter: 0.2, resetMs: 60_000 };
  for (const line of linesOf(text)) {
    const [word = '', value = '', ...rest] = line.split(/\s+/);
    if (!isBackoffWord(word)) {
      return { problem: `unknown word ${quoteShort(word)}, expected ${Object.keys(BACKOFF_WORDS).join(', ')}` };
    }
    const { min, max } = BACKOFF_WORDS[word];
    const number = Number(value);
    if (rest.length > 0 || !/^\d+(\.\d+)?$/.test(value) || number < min || number > max) {
      return {
        problem: `${word} expected a number from ${min} to ${max}, got ${quoteShort(line.slice(word.length).trim())}`,
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
