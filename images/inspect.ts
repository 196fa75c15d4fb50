// images/inspect.ts - what a file made of joined layers holds, as the kernel would find it.
//
// Owns: splitting a stream into its archives, the frames of zstd, faults that a kernel would pass over in silence.
// Does not own: decompression (inspect.io.ts). GNU cpio and zstd cannot read such a file: it changes its form midway.
//
// Sources: Linux init/initramfs.c (unpack_to_rootfs: NULs between archives, an uncompressed one only at multiples of 4),
// RFC 8878 (zstd frames), RFC 1952. Pure.

import type { Peek } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import { MARKER_FOLDER } from './layers.ts';
import type { Layer } from './manifest.ts';
import { GENERATED_PATHS } from './role.ts';

/** How the octets at a place go on. */
export type Segment =
  | { readonly kind: 'archive'; readonly compression: Layer['compression'] }
  | { readonly kind: 'end' }
  | { readonly kind: 'unknown'; readonly found: string };

/** What an archive begins with, in hexadecimal digits: "070701" or "070702" of cpio, and the magic numbers. */
const FORMS: Readonly<Record<Layer['compression'], readonly string[]>> = {
  none: ['303730373031', '303730373032'],
  zstd: ['28b52ffd'],
  gzip: ['1f8b08'],
};
const COMPRESSIONS = Object.keys(FORMS) as Layer['compression'][];

const BLOCK_BYTES = 65_536;

/** The form of what starts here, and where it starts: NULs before it are padding. */
export function nextSegment({ length, read }: Peek, from: number): { at: number; segment: Segment } {
  let at = from;
  for (let found = -1; found === -1; ) {
    const block = read(at, BLOCK_BYTES);
    if (block.length === 0) return { at: length, segment: { kind: 'end' } };
    found = block.findIndex((octet) => octet !== 0);
    at += found === -1 ? block.length : found;
  }
  const hex = Array.from(read(at, 6), (octet) => octet.toString(16).padStart(2, '0')).join('');
  const [compression] = COMPRESSIONS.filter((one) => FORMS[one].some((magic) => hex.startsWith(magic)));
  return {
    at,
    segment: compression === undefined ? { kind: 'unknown', found: hex } : { kind: 'archive', compression },
  };
}

/**
 * The length of one zstd frame, read from its headers: node:zlib decodes the first frame of several and says nothing of
 * the others.
 *
 * @returns octets of the frame, checksum included; undefined where it is cut off or malformed.
 * @throws never.
 */
export function zstdFrameBytes({ length, read }: Peek, start: number): number | undefined {
  const [descriptor] = read(start + 4, 1);
  if (descriptor === undefined) return undefined;
  const sizeFlag = descriptor >> 6;
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = start + 5 + (singleSegment ? 0 : 1) + dictionaryBytes + contentBytes;
  for (;;) {
    const [low, middle, high] = read(at, 3);
    if (low === undefined || middle === undefined || high === undefined) return undefined;
    const header = low | (middle << 8) | (high << 16);
    const type = (header >> 1) & 3;
    if (type === 3) return undefined;
    // A run-length block has one octet, however long it becomes.
    at += 3 + (type === 1 ? 1 : header >> 3);
    if (at > length) return undefined;
    if ((header & 1) === 1) break;
  }
  if ((descriptor & 4) !== 0) at += 4;
  return at > length ? undefined : at - start;
}

/** What is kept of a file's content when it has gone by. */
export type Passed = { readonly length: number; readonly sha256: string };

/** One archive of the file. */
export type InspectedLayer = {
  /** Where it starts, and how many octets it takes there. */
  readonly offset: number;
  readonly storedBytes: number;
  readonly compression: Layer['compression'];
  readonly entries: readonly CpioEntry<Passed>[];
  /** The hash that its marker names; undefined for archives without one. */
  readonly marker: string | undefined;
  /** The hash of its entries before the marker. */
  readonly sha256: string | undefined;
};

export type Inspection = {
  readonly layers: readonly InspectedLayer[];
  /** What is wrong, in order of place; empty where a kernel unpacks all of it. */
  readonly problems: readonly string[];
};

/** The hash that an archive's marker names. */
export function markerOf(entries: readonly CpioEntry<Passed>[]): string | undefined {
  const last = entries.at(-1);
  if (last?.kind !== 'file' || !last.path.startsWith(`${MARKER_FOLDER}/`)) return undefined;
  const name = last.path.slice(MARKER_FOLDER.length + 1);
  return /^[0-9a-f]{64}$/.test(name) ? name : undefined;
}

/** Problems between archives: files that a later one replaces, markers that do not tell the truth. */
export function crossProblems(layers: readonly InspectedLayer[]): string[] {
  const problems: string[] = [];
  const owner = new Map<string, number>();
  for (const [index, { entries, marker, sha256 }] of layers.entries()) {
    if (marker !== undefined && sha256 !== undefined && marker !== sha256) {
      problems.push(`layer ${index + 1} is marked ${marker.slice(0, 12)} but its content is ${sha256.slice(0, 12)}`);
    }
    for (const { kind, path } of entries) {
      if (kind === 'directory' || GENERATED_PATHS.includes(path)) continue;
      const before = owner.get(path);
      if (before === index) problems.push(`/${path} is twice in layer ${index + 1}`);
      else if (before !== undefined) {
        problems.push(`/${path} of layer ${before + 1} is replaced by layer ${index + 1}`);
      }
      owner.set(path, index);
    }
  }
  return problems;
}
