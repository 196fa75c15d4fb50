// supervise/logwriter/read.ts - reading log files: stamps, times, the last lines.
//
// Owns: what a stamp says to people, what --since means, which lines and files are asked for.
// Does not own: files (read.io.ts). Stamps are shown in UTC, as `rouse history` does. Pure.

import { unpackTai64n, wallTimeToMs } from '../../formats/tai64n.ts';

const STAMP = /^@([0-9a-f]{24})(?=$|[ .])/;
const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds since 1970 of a stamped line, or of the name of an old log file; undefined without a stamp. */
function stampOf(text: string): number | undefined {
  const digits = STAMP.exec(text)?.[1];
  if (digits === undefined) return undefined;
  const octets = Uint8Array.from({ length: 12 }, (_, index) =>
    Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
  const time = unpackTai64n(octets);
  const atMs = time === undefined ? Number.NaN : wallTimeToMs(time);
  return Math.abs(atMs) <= 8.64e15 ? atMs : undefined;
}

/** A line with its stamp as people read it; other lines as they are. */
export function readableLine(line: string): string {
  const atMs = stampOf(line);
  return atMs === undefined ? line : `${new Date(atMs).toISOString().replace('T', ' ')}${line.slice(25)}`;
}

/** "90s", "10m", "2h", "3d" ago, or a date and time as ISO 8601. @returns milliseconds since 1970; undefined for neither. */
export function parseSince(text: string, nowMs: number): number | undefined {
  const ago = /^(\d{1,9})([smhd])$/.exec(text);
  if (ago !== null) return nowMs - Number(ago[1]) * (UNIT_MS[ago[2] ?? ''] ?? 0);
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : atMs;
}

export type Asked = {
  /** At most so many of the last lines; undefined = all. */
  readonly lines: number | undefined;
  readonly sinceMs: number | undefined;
};

/** Whether a file that ended then, by its name, may hold something asked for. */
export function mayHold(name: string, { sinceMs }: Asked): boolean {
  const endMs = stampOf(name);
  return sinceMs === undefined || endMs === undefined || endMs >= sinceMs;
}

/** Of the lines of a log, oldest first, those asked for. A line without a stamp goes with the stamped one before it. */
export function choose(lines: readonly string[], { lines: limit, sinceMs }: Asked): string[] {
  let from = 0;
  if (sinceMs !== undefined && lines.some((line) => stampOf(line) !== undefined)) {
    const first = lines.findIndex((line) => (stampOf(line) ?? Number.NEGATIVE_INFINITY) >= sinceMs);
    from = first === -1 ? lines.length : first;
  }
  return lines.slice(limit === undefined ? from : Math.max(from, lines.length - limit));
}
