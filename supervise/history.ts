// supervise/history.ts - why did it restart: what is remembered of a service's life.
//
// Owns: which events are worth a line, the line's form in supervise/history, and how people read it.
// Does not own: the file (unit.io.ts), which is kept over the supervisor's death and cut when it grows.
// To remember another kind of event, add a row to WORDS. Pure.

import { renderDeath } from './machine.ts';
import { printable } from '../formats/printable.ts';
import type { Event, Service } from './service.ts';

export type HistoryEntry = {
  /** Wall clock, milliseconds since 1970. */
  readonly atMs: number;
  readonly what: keyof typeof WORDS;
  readonly pid: number;
  /** How it died, why it failed, what was ordered. */
  readonly detail: string;
};

const WORDS = {
  started: 'started',
  adopted: 'taken over from an earlier supervisor',
  traced: 'found in the background',
  died: 'died',
  finished: './finish ended',
  failed: 'could not be started',
  unhealthy: 'told to restart',
  ordered: 'ordered',
} as const;

/** Before the file is cut; the half before that is kept too. About 600 lines each. */
export const HISTORY_BYTES_MAX = 65_536;

/** What to remember of an event; undefined = nothing. */
export function entryOf(before: Service, event: Event, after: Service, atMs: number): HistoryEntry | undefined {
  const entry = (what: HistoryEntry['what'], detail: string): HistoryEntry => ({ atMs, what, pid: after.pid, detail });
  switch (event.kind) {
    case 'started':
      return before.phase === 'starting' ? entry('started', '') : undefined;
    case 'adopt':
      return after.pid === 0 ? undefined : entry('adopted', '');
    case 'traced':
      return after.pid === 0 || after.phase !== 'up' ? undefined : entry('traced', '');
    case 'died':
      // fghack: a process that hands over has not failed.
      if (event.pid !== before.pid || event.pid === 0 || after.phase === 'tracing') return undefined;
      return {
        ...entry(before.phase === 'finishing' ? 'finished' : 'died', renderDeath(event.death)),
        pid: event.pid,
      };
    case 'failed':
      // Tried again each second: said once.
      return after.trouble === before.trouble ? undefined : entry('failed', event.why);
    case 'signal':
      return entry('ordered', event.signal);
    case 'up':
    case 'down':
    case 'once':
    case 'exit':
    case 'restart':
    case 'reload':
    case 'pause':
    case 'continue':
      return entry('ordered', event.kind);
    case 'probed':
      return before.ready && !after.ready ? entry('unhealthy', after.trouble ?? '') : undefined;
    case 'begin':
    case 'swept':
    case 'notified':
    case 'checked':
    case 'tick':
    case 'dependencies':
      return undefined;
  }
}

/** One line of the file. */
export function encodeEntry(entry: HistoryEntry): string {
  return `${JSON.stringify(entry)}\n`;
}

/** The entries of a text, oldest first; lines that are none (cut short by a full disk) are left out. Never throws. */
export function decodeEntries(text: string): HistoryEntry[] {
  return text.split('\n').flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return isEntry(value) ? [value] : [];
    } catch {
      return [];
    }
  });
}

function isEntry(value: unknown): value is HistoryEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { atMs, what, pid, detail } = value as Partial<Record<string, unknown>>;
  return (
    typeof atMs === 'number' &&
    Number.isFinite(atMs) &&
    Math.abs(atMs) <= 8.64e15 &&
    typeof what === 'string' &&
    Object.hasOwn(WORDS, what) &&
    typeof pid === 'number' &&
    typeof detail === 'string'
  );
}

/** "2026-11-21 14:02:19.123Z  died  killed by SIGKILL (pid 42)". */
export function renderEntry({ atMs, what, pid, detail }: HistoryEntry): string {
  const time = new Date(atMs).toISOString().replace('T', ' ');
  // "died died, the kernel did not say how" says it twice.
  const parts = [
    WORDS[what],
    what === 'died' ? detail.replace(/^died, /, '') : detail,
    pid === 0 ? '' : `(pid ${pid})`,
  ].filter((part) => part !== '');
  return `${time}  ${printable(parts.join(' '))}`;
}
