// supervise/logwriter/pace.ts - when a log is read again.
//
// Owns: telling a steady stream of lines, which is left to gather, from a line alone and from bulk, which are not.
// Does not own: reading, timers (log.io.ts). Pure.
//
// A wakeup of Node costs some ten microseconds whatever it brings, and one for each line is thrice what multilog spends on
// it. Whoever follows a log sees a stream in steps of REST_MS; its stamps are of the moment of reading, so they are late by at
// most as much. What is left in the FIFO is as safe as can be.

/** How long lines gather. */
export const REST_MS = 10;
/** A FIFO holds 64 KiB: to wait with more than this arriving would have it full, and the service stand still. */
const BULK_BYTES = 32_768;

/** What is known of a stream: its last read, and the bytes lately read, of which half are forgotten every REST_MS. */
export type Pace = { readonly readMs: number; readonly lateBytes: number };

export const UNREAD: Pace = { readMs: Number.NEGATIVE_INFINITY, lateBytes: 0 };

/** After a read: the pace it makes, and whether to let lines gather before the next. @param atMs monotonic. */
export function paced(pace: Pace, bytes: number, atMs: number): { readonly pace: Pace; readonly isSteady: boolean } {
  const sinceMs = atMs - pace.readMs;
  const lateBytes = pace.lateBytes * 0.5 ** (sinceMs / REST_MS) + bytes;
  return { pace: { readMs: atMs, lateBytes }, isSteady: sinceMs < 2 * REST_MS && lateBytes < BULK_BYTES };
}
