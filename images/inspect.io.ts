// images/inspect.io.ts - taking a joined initrd apart.
//
// Owns: reading the file, decompression of one archive at a time, hashes. Does not own: the forms (inspect.ts, cpio.ts).
// What is in the file goes by, however large it is; what is kept is names, sizes and hashes.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from 'node:zlib';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { Peek } from './content.ts';
import { peekAt, wholeFile } from './content.io.ts';
import { concat } from './cpio.ts';
import { type CpioReading, readArchive } from './cpioread.ts';
import {
  crossProblems,
  type InspectedLayer,
  type Inspection,
  markerOf,
  nextSegment,
  type Passed,
  zstdFrameBytes,
} from './inspect.ts';
import { through } from './layers.io.ts';
import type { Layer } from './manifest.ts';

/** Everything in a file of archives, and what is wrong with it. @throws Fault E_NOT_FOUND where there is no such file. */
export async function inspectFile(path: string): Promise<Inspection> {
  let file: Peek;
  try {
    file = peekAt(wholeFile(path));
    file.read(0, 1);
  } catch (error) {
    throw new Fault('E_NOT_FOUND', { what: `cannot read ${path}`, why: reasonOf(error) });
  }
  const layers: InspectedLayer[] = [];
  const problems: string[] = [];
  for (let from = 0; ; ) {
    const { at, segment } = nextSegment(file, from);
    if (segment.kind === 'end') break;
    if (segment.kind === 'unknown') {
      problems.push(
        `at byte ${at}: neither cpio, zstd nor gzip (${segment.found}); a kernel ignores everything from here`,
      );
      break;
    }
    if (segment.compression === 'none' && at % 4 !== 0) {
      problems.push(
        `at byte ${at}: an uncompressed archive that does not start at a multiple of 4; a kernel drops it in silence`,
      );
    }
    const unpacked = await unpackSegment(path, file, at, segment.compression);
    if (typeof unpacked === 'string') {
      problems.push(`at byte ${at}: ${unpacked}`);
      break;
    }
    from = at + unpacked.storedBytes;
    layers.push({ offset: at, compression: segment.compression, ...unpacked });
  }
  return { layers, problems: [...problems, ...crossProblems(layers)] };
}

/** Uncompressed archives are read as they lie. */
const DECOMPRESSORS: Readonly<Record<Layer['compression'], (() => Gunzip | ZstdDecompress) | undefined>> = {
  none: undefined,
  zstd: createZstdDecompress,
  gzip: createGunzip,
};

type Unpacked = Omit<InspectedLayer, 'offset' | 'compression'>;

async function unpackSegment(
  path: string,
  file: Peek,
  at: number,
  compression: Layer['compression'],
): Promise<Unpacked | string> {
  const frameBytes = compression === 'zstd' ? zstdFrameBytes(file, at) : undefined;
  if (compression === 'zstd' && frameBytes === undefined) return 'a zstd frame that is cut off or damaged';
  const stored = createReadStream(path, {
    start: at,
    ...(frameBytes === undefined ? {} : { end: at + frameBytes - 1 }),
  });
  const engine = DECOMPRESSORS[compression]?.();
  let read: Awaited<ReturnType<typeof readPlain>>;
  try {
    read = await readPlain(engine === undefined ? stored : through(stored, engine), engine !== undefined);
  } catch (error) {
    return `${compression === 'none' ? 'cpio' : compression} does not unpack: ${reasonOf(error)}`;
  } finally {
    stored.destroy();
  }
  const { reading, sha256 } = read;
  if (!reading.ok) return `the archive ${reading.reason}`;
  const marker = markerOf(reading.entries);
  return {
    storedBytes: frameBytes ?? engine?.bytesWritten ?? reading.end,
    entries: reading.entries,
    marker,
    sha256: marker === undefined ? undefined : sha256,
  };
}

/**
 * Reads the archive that octets begin with.
 *
 * @param toTheEnd also what is behind it: whether a compressed stream is whole is known only then.
 * @returns also the hash of all before its last entry, which in a layer is its marker.
 */
async function readPlain(
  octets: AsyncIterable<Uint8Array>,
  toTheEnd: boolean,
): Promise<{ reading: CpioReading<Passed>; sha256: string }> {
  const incoming = octets[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array(0);
  /** Hands on the next octets, piece by piece. */
  const pass = async (bytes: number, take: (piece: Uint8Array) => void): Promise<void> => {
    for (let left = bytes; left > 0; ) {
      if (held.length === 0) {
        const next = await incoming.next();
        if (next.done === true) return;
        held = next.value;
      }
      const piece = held.subarray(0, left);
      held = held.subarray(piece.length);
      left -= piece.length;
      take(piece);
    }
  };
  const all = createHash('sha256');
  // Before the entry that is being read, and before the one that was read last: the trailer follows the marker.
  let before = all.copy();
  let beforeLast = before;
  const reader = readArchive<Passed>();
  let step = reader.next(new Uint8Array(0));
  while (step.done !== true) {
    const { kind, bytes } = step.value;
    if (kind === 'entry') {
      beforeLast = before;
      before = all.copy();
    }
    if (kind === 'content') {
      const content = createHash('sha256');
      let length = 0;
      await pass(bytes, (piece) => {
        all.update(piece);
        content.update(piece);
        length += piece.length;
      });
      step = reader.next({ length, sha256: content.digest('hex') });
    } else {
      const pieces: Uint8Array[] = [];
      await pass(bytes, (piece) => void pieces.push(piece));
      const answer = concat(pieces);
      all.update(answer);
      step = reader.next(answer);
    }
  }
  if (toTheEnd) for (let rest = await incoming.next(); rest.done !== true; ) rest = await incoming.next();
  await incoming.return?.();
  return { reading: step.value, sha256: beforeLast.digest('hex') };
}
