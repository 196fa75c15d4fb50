// netboot/store/salvage.ts - what is still sound in a damaged store, read from its raw octets.
//
// Owns: noticing that the write-ahead log is broken in the middle, and finding leases by their own text and checksum wherever
// they lie. Does not own files or SQL (tables.io.ts).
//
// SQLite takes the first frame of its log whose checksum is wrong for the log's end. After a crash that is right, for
// behind a torn tail there is nothing; where bits were flipped, every commit behind them vanishes without a word. And a page
// of the file itself that does not make sense ends all reading of its table. A lease needs neither to be recognised: it is
// JSON that is followed by its CRC-32.
//
// Sources: sqlite.org/fileformat2.html sections 2.1 (record format), 4.1 and 4.2 (WAL header, frames, checksums). Pure.

import type { Lease } from './leases.ts';

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;
const DEFAULT_PAGE_BYTES = 4096;

export type WalReading = {
  /** Pages of commits that SQLite replays, in the order of the log. */
  readonly sound: readonly Uint8Array[];
  /** Pages behind a break, of commits that SQLite passes over. */
  readonly lost: readonly Uint8Array[];
  /** How many commits those are; 0 where the log merely ends, torn or not. */
  readonly lostCommits: number;
};

/** Reads a write-ahead log as SQLite would, and beyond. Never throws, whatever the octets. */
export function readWal(wal: Uint8Array): WalReading {
  const view = new DataView(wal.buffer, wal.byteOffset, wal.byteLength);
  const nothing: WalReading = { sound: [], lost: [], lostCommits: 0 };
  if (wal.length < WAL_HEADER_BYTES + FRAME_HEADER_BYTES) return nothing;
  const said = view.getUint32(8);
  const pageBytes = said >= 512 && said <= 65_536 && (said & (said - 1)) === 0 ? said : DEFAULT_PAGE_BYTES;
  const isLittle = view.getUint32(0) === MAGIC;
  let sums = walSums(view, 0, 24, isLittle, [0, 0]);
  let isBroken = sums[0] !== view.getUint32(24) || sums[1] !== view.getUint32(28);
  // Frames of an earlier round of the log have other salts; where the header is broken, the first frame's are taken.
  const saltAt = isBroken ? WAL_HEADER_BYTES + 8 : 16;
  const salt = [view.getUint32(saltAt), view.getUint32(saltAt + 4)];
  const sound: Uint8Array[] = [];
  const open: Uint8Array[] = [];
  const lost: Uint8Array[] = [];
  let lostCommits = 0;
  const frameBytes = FRAME_HEADER_BYTES + pageBytes;
  for (let at = WAL_HEADER_BYTES; at + frameBytes <= wal.length; at += frameBytes) {
    const isCurrent = view.getUint32(at + 8) === salt[0] && view.getUint32(at + 12) === salt[1];
    const page = wal.subarray(at + FRAME_HEADER_BYTES, at + frameBytes);
    if (!isBroken) {
      sums = walSums(view, at, 8, isLittle, sums);
      sums = walSums(view, at + FRAME_HEADER_BYTES, pageBytes, isLittle, sums);
      isBroken = !isCurrent || sums[0] !== view.getUint32(at + 16) || sums[1] !== view.getUint32(at + 20);
    }
    const isCommit = view.getUint32(at + 4) !== 0;
    if (!isBroken) {
      open.push(page);
      if (isCommit) sound.push(...open.splice(0));
    } else if (isCurrent) {
      lost.push(page);
      if (isCommit) lostCommits += 1;
    }
  }
  return lostCommits === 0 ? { ...nothing, sound } : { sound, lost: [...open, ...lost], lostCommits };
}

/** The running checksum over a stretch of 32-bit words: section 4.2. */
function walSums(
  view: DataView,
  start: number,
  lengthBytes: number,
  isLittle: boolean,
  [first, second]: readonly [number, number],
): [number, number] {
  let s0 = first;
  let s1 = second;
  for (let at = start; at < start + lengthBytes; at += 8) {
    s0 = (s0 + view.getUint32(at, isLittle) + s1) >>> 0;
    s1 = (s1 + view.getUint32(at + 4, isLittle) + s0) >>> 0;
  }
  return [s0, s1];
}

const BEGINNING = Uint8Array.from('{"address":"', (character) => character.charCodeAt(0));
const BRACE = '}'.charCodeAt(0);
/** Longer than any lease's text. */
const MOST_TEXT_BYTES = 2500;
/** The sizes in which SQLite stores an integer. */
const INTEGER_BYTES = [4, 6, 3, 2, 1];

/**
 * Every lease that stands in the octets with its checksum behind it, in order: a later one of the same address is newer.
 *
 * @param crc32 of a text's UTF-8.
 */
export function leasesIn(octets: Uint8Array, crc32: (text: string) => number): Lease[] {
  const found: Lease[] = [];
  for (let at = octets.indexOf(BEGINNING[0] ?? 0); at >= 0; at = octets.indexOf(BEGINNING[0] ?? 0, at + 1)) {
    if (!BEGINNING.every((octet, index) => octets[at + index] === octet)) continue;
    const end = octets.indexOf(BRACE, at) + 1;
    if (end === 0 || end - at > MOST_TEXT_BYTES) continue;
    const text = String.fromCharCode(...octets.subarray(at, end));
    const sum = crc32(text);
    const isFollowed = INTEGER_BYTES.some((size) => {
      let value = 0;
      for (let index = 0; index < size; index += 1) value = value * 256 + (octets[end + index] ?? 0);
      return end + size <= octets.length && value === sum;
    });
    if (isFollowed) found.push(JSON.parse(text) as Lease);
  }
  return found;
}
