// images/layers.io.ts - a layer as it is stored and served: hashed, marked, compressed (but for microcode), padded.
//
// Owns: hashing, compression, and the proof that what was compressed comes out again. Does not own: the form of a layer
// (layers.ts), where it is kept (store.io.ts).
//
// zstd of node:zlib is used in one shot and without worker threads: with ZSTD_c_nbWorkers the asynchronous forms lose data
// without an error (Node 24.21). The result is decompressed and compared before it counts.

import { promisify } from 'node:util';
import { constants, gunzipSync, gzip, zstdCompress, zstdDecompressSync } from 'node:zlib';
import { concat, type CpioEntry } from './cpio.ts';
import { sha256Of } from './files.io.ts';
import { layerChunks, markerChunks, paddingBytes, unpackedBytes, withParents } from './layers.ts';
import type { Layer } from './manifest.ts';

export type Compression = Layer['compression'];

/** Packages are compressed once and served many times; what is made per boot must not keep a node waiting. */
export type Effort = 'smallest' | 'quick';

const ZSTD_LEVELS = { smallest: 19, quick: 3 } as const satisfies Record<Effort, number>;
const GZIP_LEVELS = { smallest: 9, quick: 6 } as const satisfies Record<Effort, number>;

const zstdAsync = promisify(zstdCompress);
const gzipAsync = promisify(gzip);

/** A layer ready to be served. */
export type PackedLayer = { readonly layer: Layer; readonly octets: Uint8Array };

/**
 * Packs files into a layer.
 *
 * @param files each path once; parents are added.
 * @returns the octets to serve, a multiple of 512 of them, and what a manifest says of them.
 */
export async function packLayer(
  name: string,
  files: readonly CpioEntry[],
  compression: Compression = 'zstd',
  effort: Effort = 'smallest',
): Promise<PackedLayer> {
  const chunks = layerChunks(files);
  const sha256 = sha256Of(...chunks);
  const plain = concat([...chunks, ...markerChunks(sha256)]);
  const squeezed = await compress(plain, compression, effort);
  const octets = concat([squeezed, new Uint8Array(paddingBytes(squeezed.length))]);
  const layer: Layer = {
    name,
    sha256,
    compression,
    servedSha256: sha256Of(octets),
    servedBytes: octets.length,
    unpackedBytes: unpackedBytes(files),
    files: withParents(files).length,
  };
  return { layer, octets };
}

/**
 * What a manifest says of a layer file that is in the store already: another zlib may have compressed it differently.
 *
 * @returns undefined where the file does not hold the layer, and so may be replaced.
 */
export function describeStored(layer: Layer, stored: Uint8Array): Layer | undefined {
  try {
    const marker = concat(markerChunks(layer.sha256));
    const plain = expand(stored, layer.compression, marker);
    const entries = plain.subarray(0, plain.length - marker.length);
    if (sha256Of(entries) !== layer.sha256 || Buffer.compare(plain.subarray(entries.length), marker) !== 0)
      return undefined;
  } catch {
    return undefined;
  }
  return { ...layer, servedSha256: sha256Of(stored), servedBytes: stored.length };
}

/** The archive in a stored layer, without the padding. @throws where it does not unpack. */
function expand(stored: Uint8Array, compression: Compression, marker: Uint8Array): Uint8Array {
  if (compression === 'zstd') return zstdDecompressSync(stored);
  if (compression === 'gzip') return gunzipSync(stored);
  const end = Buffer.from(stored.buffer, stored.byteOffset, stored.length).lastIndexOf(marker) + marker.length;
  return stored.subarray(end).some((octet) => octet !== 0) ? new Uint8Array(0) : stored.subarray(0, end);
}

async function compress(plain: Uint8Array, compression: Compression, effort: Effort): Promise<Uint8Array> {
  if (compression === 'none') return plain;
  const squeezed =
    compression === 'zstd'
      ? await zstdAsync(plain, {
          params: {
            [constants.ZSTD_c_compressionLevel]: ZSTD_LEVELS[effort],
            [constants.ZSTD_c_checksumFlag]: 1,
          },
        })
      : await gzipAsync(plain, { level: GZIP_LEVELS[effort] });
  const back = compression === 'zstd' ? zstdDecompressSync(squeezed) : gunzipSync(squeezed);
  if (Buffer.compare(back, plain) !== 0) throw new Error(`${compression} gave back other octets than it was given`);
  return squeezed;
}
