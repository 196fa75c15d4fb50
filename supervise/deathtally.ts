// supervise/deathtally.ts - supervise/death_tally: the last deaths of a service, as s6-permafailon reads them.
//
// Owns: the file's form, how many deaths it holds. Does not own: when a death is noted (unit.io.ts), what s6-permafailon
// makes of them in a finish script: exit 125 there is obeyed (machine.ts).
//
// Fourteen octets for each death, oldest first: the time as s6 packs it, exit code, signal number.
// Sources: s6 s6_dtally_pack.c; seen with s6 2.11 and skalibs 2.13. Pure.

import { packTai64n } from '../formats/tai64n.ts';
import type { WallTime } from '../formats/tai64n.ts';

/** s6's bound. */
export const TALLY_DEATHS_MAX = 4096;

const ENTRY_BYTES = 14;
/** skalibs counts leap seconds (37 since 2017), where daemontools' labels stop at the 10 of 1972. */
const LEAP_SECONDS_BEYOND_1972 = 27;

/**
 * The tally with one more death, without the oldest ones where it would hold more than `deaths`.
 *
 * @param tally the file so far; what is no whole number of entries is begun anew. @param exitCode undefined: a signal, or unknown.
 */
export function tallied(
  tally: Uint8Array,
  deaths: number,
  death: { readonly at: WallTime; readonly exitCode: number | undefined; readonly signalNumber: number },
): Uint8Array {
  const before = tally.length % ENTRY_BYTES === 0 ? tally : new Uint8Array();
  const { unixS, nanoseconds } = death.at;
  const entry = new Uint8Array(ENTRY_BYTES);
  entry.set(packTai64n({ unixS: unixS + LEAP_SECONDS_BEYOND_1972, nanoseconds }));
  entry[12] = (death.exitCode ?? 0) & 255;
  entry[13] = death.signalNumber & 255;
  const all = new Uint8Array(before.length + ENTRY_BYTES);
  all.set(before);
  all.set(entry, before.length);
  return all.slice(Math.max(0, all.length - deaths * ENTRY_BYTES));
}
