// supervise/logwriter/rotate.ts - when a log folder begins a new file, and which old ones go.
//
// Owns: multilog's rules of sizes, of numbers of files and of what is found at the start.
// Does not own: the files themselves (folder.io.ts).
// Source: daemontools 0.76 multilog.c: c_write, fullcurrent, filesfit, c_init; facts of its folder in multilog(8). Pure.

/** A file is as good as full this far below its size: multilog then rotates after the next newline. */
const MARGIN_BYTES = 2000;
const NEWLINE = 0x0a;
/** "@" and the 24 digits of a TAI64N label. */
const OLD_NAME_BYTES_MIN = 25;

export type Fill = { readonly bytes: number; readonly sizeBytes: number };

/**
 * How much of the octets goes into the file before it is looked at again: all of them, or up to the last newline before it
 * would be too long. 0: the file is full as it is.
 */
export function roomFor({ bytes, sizeBytes }: Fill, octets: Uint8Array): number {
  if (bytes >= sizeBytes) return 0;
  const length = Math.min(octets.length, sizeBytes - bytes);
  if (bytes + length < sizeBytes - MARGIN_BYTES) return length;
  const newline = octets.subarray(0, length).lastIndexOf(NEWLINE);
  return newline === -1 ? length : newline + 1;
}

/** Whether a new file begins after these octets were written. @param bytes of the file, with them. */
export function isFull({ bytes, sizeBytes }: Fill, written: Uint8Array): boolean {
  return bytes >= sizeBytes - MARGIN_BYTES && written[written.length - 1] === NEWLINE;
}

/** Names of the old files of a folder, oldest first. */
export function oldNames(names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith('@') && name.length >= OLD_NAME_BYTES_MIN).sort();
}

const LABEL = /^@[0-9a-f]{24}/;
const NANOSECONDS_MAX = 999_999_999n;

/**
 * The label that an old file begins with: the time, or just after the newest of the others where the clock was set back.
 * Files are deleted and read by the order of their names, so a name that is too early would cost the newest lines.
 *
 * @param now as renderTai64n writes it. @param names of the folder.
 */
export function labelAfter(now: string, names: readonly string[]): string {
  const newest = oldNames(names.filter((name) => LABEL.test(name)))
    .at(-1)
    ?.slice(0, OLD_NAME_BYTES_MIN);
  if (newest === undefined || newest < now) return now;
  const label = BigInt(`0x${newest.slice(1)}`);
  const isLastOfSecond = (label & 0xffffffffn) >= NANOSECONDS_MAX;
  const next = isLastOfSecond ? ((label >> 32n) + 1n) << 32n : label + 1n;
  return `@${next.toString(16).padStart(24, '0')}`;
}

/** Old files to delete, so that there are fewer than `files` of them: with `current` no more than that. */
export function surplusOf(names: readonly string[], files: number): string[] {
  const old = oldNames(names);
  return old.slice(0, Math.max(0, old.length - (files - 1)));
}

/** u+x on `current` says that its writer ended as it should. */
export function isClean(mode: number): boolean {
  return (mode & 0o100) !== 0;
}

/** The line that the next writer puts where lines may be missing. */
export const GAP_LINE =
  'rouse: the log writer before this one was killed; what it had read and not written, up to 64 KiB, is missing here\n';

export function droppedLine(bytes: number): string {
  return `rouse: ${bytes} bytes were thrown away here: the disk was full, and onFull says drop\n`;
}
