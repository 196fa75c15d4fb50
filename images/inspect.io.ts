// images/inspect.io.ts - taking a joined initrd apart.
//
// Owns: decompression of one archive at a time, hashes. Does not own: the forms (inspect.ts, cpio.ts).

import { readFile } from 'node:fs/promises';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { Fault, reasonOf } from '../formats/errors.ts';
import { sha256Of } from './files.io.ts';
import {
  crossProblems,
  type InspectedLayer,
  type Inspection,
  markerOf,
  nextSegment,
  zstdFrameBytes,
} from './inspect.ts';
import { concat, type CpioEntry, decodeArchive } from './cpio.ts';
import { markerChunks } from './layers.ts';

/** Archives unpack to at most this; a damaged or hostile file must not take all memory. */
const UNPACKED_LIMIT_BYTES = 2_000_000_000;

/** @throws Fault E_NOT_FOUND where there is no such file. */
export async function inspectFile(path: string): Promise<Inspection> {
  let octets: Buffer;
  try {
    octets = await readFile(path);
  } catch (error) {
    throw new Fault('E_NOT_FOUND', { what: `cannot read ${path}`, why: reasonOf(error) });
  }
  return inspectOctets(octets);
}

/** Everything in a stream of archives, and what is wrong with it. Never throws for any content. */
export function inspectOctets(octets: Uint8Array): Inspection {
  const layers: InspectedLayer[] = [];
  const problems: string[] = [];
  for (let from = 0; ; ) {
    const { at, segment } = nextSegment(octets, from);
    if (segment.kind === 'end') break;
    if (segment.kind === 'unknown') {
      problems.push(
        `at byte ${at}: neither cpio, zstd nor gzip (${segment.found}); a kernel ignores everything from here`,
      );
      break;
    }
    if (segment.kind === 'cpio' && at % 4 !== 0) {
      problems.push(
        `at byte ${at}: an uncompressed archive that does not start at a multiple of 4; a kernel drops it in silence`,
      );
    }
    const unpacked = unpackSegment(octets, at, segment.kind);
    if (typeof unpacked === 'string') {
      problems.push(`at byte ${at}: ${unpacked}`);
      break;
    }
    from = at + unpacked.storedBytes;
    layers.push({ offset: at, compression: segment.kind === 'cpio' ? 'none' : segment.kind, ...unpacked });
  }
  return { layers, problems: [...problems, ...crossProblems(layers)] };
}

type Unpacked = {
  storedBytes: number;
  entries: readonly CpioEntry[];
  marker: string | undefined;
  sha256: string | undefined;
};

function unpackSegment(octets: Uint8Array, at: number, kind: 'cpio' | 'zstd' | 'gzip'): Unpacked | string {
  let plain = octets;
  let storedBytes = 0;
  try {
    if (kind === 'zstd') {
      const frameBytes = zstdFrameBytes(octets, at);
      if (frameBytes === undefined) return 'a zstd frame that is cut off or damaged';
      storedBytes = frameBytes;
      plain = zstdDecompressSync(octets.subarray(at, at + frameBytes), { maxOutputLength: UNPACKED_LIMIT_BYTES });
    } else if (kind === 'gzip') {
      const { buffer, engine } = gunzipSync(octets.subarray(at), {
        maxOutputLength: UNPACKED_LIMIT_BYTES,
        info: true,
      }) as unknown as {
        buffer: Buffer;
        engine: { bytesWritten: number };
      };
      plain = buffer;
      storedBytes = engine.bytesWritten;
    }
  } catch (error) {
    return `${kind} does not unpack: ${reasonOf(error)}`;
  }
  const start = kind === 'cpio' ? at : 0;
  const reading = decodeArchive(plain, start);
  if (!reading.ok) return `the archive ${reading.reason}`;
  const marker = markerOf(reading.entries);
  const markerBytes = marker === undefined ? 0 : concat(markerChunks(marker)).length;
  const sha256 = marker === undefined ? undefined : sha256Of(plain.subarray(start, reading.end - markerBytes));
  return { storedBytes: kind === 'cpio' ? reading.end - at : storedBytes, entries: reading.entries, marker, sha256 };
}
