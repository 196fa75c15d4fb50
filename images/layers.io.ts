// images/layers.io.ts - a layer as it is stored and served: hashed, marked, compressed (but for microcode), padded, in one stream.
//
// Owns: hashing, compression, and the proof that what was compressed comes out again. Does not own: the form of a layer
// (layers.ts), where it is kept (store.io.ts).
//
// However large a layer is, it is never in memory: files are read when their turn comes, what is compressed goes to disk, and the
// proof reads it from there. The marker, which carries the hash of all before it, stands at the end for that reason.
//
// zstd of node:zlib is used without worker threads: with ZSTD_c_nbWorkers the asynchronous forms lose data without an error
// (Node 24.21). It is told the length beforehand: its tables, its window and so its octets depend on that, and on nothing else.
// The window is at most 8 MiB (level 19): what a node's kernel holds of a layer beside the layer itself while it unpacks it.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type Duplex, Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { constants, createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import type { Content } from './content.ts';
import { octetsOf } from './content.io.ts';
import { concat, type CpioEntry } from './cpio.ts';
import { Gauge, type Octets, stageFile } from './files.io.ts';
import {
  LAYER_ALIGNMENT_BYTES,
  layerChunks,
  markerChunks,
  paddingBytes,
  unpackedBytes,
  withParents,
} from './layers.ts';
import type { Layer } from './manifest.ts';

export type Compression = Layer['compression'];

/**
 * smallest: for what is made once and is large. small: while an operator waits. quick: while a node waits.
 * The web image, 13.3 MB: 4.88 MB at level 12, 4.71 at 16, 4.39 at 19, in 1, 4 and 7 seconds of one processor.
 */
export type Effort = 'smallest' | 'small' | 'quick';

const ZSTD_LEVELS = { smallest: 19, small: 12, quick: 3 } as const satisfies Record<Effort, number>;
const GZIP_LEVELS = { smallest: 9, small: 9, quick: 6 } as const satisfies Record<Effort, number>;
const BLOCK_BYTES = 1 << 18;

const ENGINES = {
  zstd: {
    squeeze: (effort: Effort, plainBytes: number): Duplex =>
      createZstdCompress({
        pledgedSrcSize: plainBytes,
        chunkSize: BLOCK_BYTES,
        params: {
          [constants.ZSTD_c_compressionLevel]: ZSTD_LEVELS[effort],
          [constants.ZSTD_c_checksumFlag]: 1,
        },
      }),
    unsqueeze: (): Duplex => createZstdDecompress({ chunkSize: BLOCK_BYTES }),
  },
  gzip: {
    squeeze: (effort: Effort): Duplex => createGzip({ level: GZIP_LEVELS[effort], chunkSize: BLOCK_BYTES }),
    unsqueeze: (): Duplex => createGunzip({ chunkSize: BLOCK_BYTES }),
  },
  none: { squeeze: copied, unsqueeze: copied },
} as const satisfies Record<
  Compression,
  { squeeze: (effort: Effort, plainBytes: number) => Duplex; unsqueeze: () => Duplex }
>;

/** As they are, in memory of their own: what is written to an engine is written over once the engine is done with it. */
function copied(): Duplex {
  return new Transform({ transform: (octets: Uint8Array, _, done) => done(null, Buffer.from(octets)) });
}

/** A layer ready to be served, in memory: for the small ones. */
export type PackedLayer = { readonly layer: Layer; readonly octets: Uint8Array };

export type PackOptions = {
  readonly compression?: Compression;
  readonly effort?: Effort;
  /** Ends the work early: what is written so far is removed. */
  readonly signal?: AbortSignal;
};

/**
 * Packs files into a layer.
 *
 * @param files each path once; parents are added.
 * @returns the octets to serve, a multiple of 512 of them, and what a manifest says of them.
 */
export async function packLayer(
  name: string,
  files: readonly CpioEntry<Content>[],
  compression: Compression = 'zstd',
  effort: Effort = 'small',
): Promise<PackedLayer> {
  const packing = pack(name, files, { compression, effort });
  const octets = await buffer(packing.octets);
  const layer = packing.layer();
  await prove(layer, [octets]);
  return { layer, octets };
}

/**
 * Writes a layer to disk.
 *
 * @param folder on the disk where it will stay. @param files as of packLayer.
 * @returns its path for the time being (see stageFile), and what a manifest says of it.
 */
export async function writeLayer(
  folder: string,
  name: string,
  files: readonly CpioEntry<Content>[],
  options: PackOptions = {},
): Promise<{ layer: Layer; staged: string }> {
  const packing = pack(name, files, options);
  const staged = await stageFile(folder, packing.octets);
  try {
    const layer = packing.layer();
    await prove(layer, createReadStream(staged, { highWaterMark: BLOCK_BYTES }));
    return { layer, staged };
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
}

/**
 * What a manifest says of a layer file that is in the store already: another zlib may have compressed it differently.
 *
 * @returns undefined where the file does not hold the layer, and so may be replaced.
 */
export async function describeStored(layer: Layer, stored: Octets): Promise<Layer | undefined> {
  const served = new Gauge();
  if (!(await holds(layer, served.of(stored)))) return undefined;
  return { ...layer, servedSha256: served.sha256(), servedBytes: served.bytes };
}

type Packing = {
  readonly octets: AsyncGenerator<Uint8Array, void>;
  /** To be asked when the octets have passed. */
  readonly layer: () => Layer;
};

function pack(
  name: string,
  files: readonly CpioEntry<Content>[],
  { compression = 'zstd', effort = 'small', signal }: PackOptions,
): Packing {
  const chunks = layerChunks(files);
  const markerBytes = concat(markerChunks('0'.repeat(64))).length;
  const plainBytes = chunks.reduce((sum, { length }) => sum + length, markerBytes);
  const served = new Gauge();
  let sha256 = '';
  async function* marked(): AsyncGenerator<Uint8Array, void> {
    const hash = createHash('sha256');
    for (const block of gathered(chunks)) {
      signal?.throwIfAborted();
      hash.update(block);
      yield block;
    }
    sha256 = hash.digest('hex');
    yield concat(markerChunks(sha256));
  }
  async function* padded(): AsyncGenerator<Uint8Array, void> {
    let bytes = 0;
    for await (const piece of through(marked(), ENGINES[compression].squeeze(effort, plainBytes))) {
      bytes += piece.length;
      yield piece;
    }
    yield new Uint8Array(paddingBytes(bytes));
  }
  return {
    octets: served.of(padded()),
    layer: () => ({
      name,
      sha256,
      compression,
      servedSha256: served.sha256(),
      servedBytes: served.bytes,
      unpackedBytes: unpackedBytes(files),
      files: withParents(files).length,
    }),
  };
}

/** The octets in blocks of one size, all in the same memory: each holds only until the next one is asked for. */
function* gathered(chunks: readonly Content[]): Generator<Uint8Array, void> {
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  let filled = 0;
  for (const chunk of chunks) {
    for (const octets of octetsOf(chunk)) {
      for (let at = 0; at < octets.length; ) {
        const part = octets.subarray(at, at + block.length - filled);
        block.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled < block.length) continue;
        yield block;
        filled = 0;
      }
    }
  }
  yield block.subarray(0, filled);
}

/** What an engine of node:zlib makes of octets. A piece is asked for only when the engine is done with the one before. */
export async function* through(octets: Octets, engine: Duplex): AsyncGenerator<Uint8Array, void> {
  const feed = async (): Promise<void> => {
    try {
      for await (const piece of octets) {
        await new Promise<void>((resolve, reject) =>
          engine.write(piece, (error) => (error ? reject(error) : resolve())),
        );
      }
      engine.end();
    } catch (error) {
      engine.destroy(error as Error);
    }
  };
  void feed();
  yield* engine as AsyncIterable<Uint8Array>;
}

/**
 * The octets, the padding in one piece with the end of what it pads: zstd of node:zlib passes over NULs behind a frame, but takes
 * a piece that holds nothing else for the start of another one.
 */
async function* withTail(octets: Octets): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array = new Uint8Array(0);
  for await (const piece of octets) {
    const known = concat([held, piece]);
    const end = Math.max(0, known.length - LAYER_ALIGNMENT_BYTES);
    if (end > 0) yield known.subarray(0, end);
    held = known.subarray(end);
  }
  yield held;
}

/** Whether octets as they are served unpack to the layer, marker and all. */
async function holds({ sha256, compression }: Pick<Layer, 'sha256' | 'compression'>, octets: Octets): Promise<boolean> {
  const marker = concat(markerChunks(sha256));
  const hash = createHash('sha256');
  let tail: Uint8Array = new Uint8Array(0);
  try {
    for await (const piece of through(withTail(octets), ENGINES[compression].unsqueeze())) {
      const known = concat([tail, piece]);
      const end = Math.max(0, known.length - marker.length - LAYER_ALIGNMENT_BYTES);
      hash.update(known.subarray(0, end));
      tail = known.subarray(end);
    }
  } catch (error) {
    // A file that cannot be read says nothing of what is in it.
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    return false;
  }
  // What is not compressed has its padding still.
  const at = Buffer.from(tail).lastIndexOf(marker);
  if (at === -1 || tail.subarray(at + marker.length).some((octet) => octet !== 0)) return false;
  return hash.update(tail.subarray(0, at)).digest('hex') === sha256;
}

async function prove(layer: Layer, octets: Octets): Promise<void> {
  if (await holds(layer, octets)) return;
  throw new Error(`${layer.compression} gave back other octets than it was given`);
}
