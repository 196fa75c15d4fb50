// images/flatten.io.ts - a generation as one file, for loaders that take one initrd.
//
// Owns: joining the layers as they are served. Does not own: whether nodes should boot them (store.io.ts).

import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Fault } from '../formats/errors.ts';
import type { Manifest } from './manifest.ts';
import type { Store } from './store.io.ts';

/**
 * Writes all layers of a generation as one file.
 *
 * @returns its size in bytes. @throws Fault E_UNTRUSTED where a node should not boot it.
 */
export async function flattenImage(store: Store, manifest: Manifest, path: string): Promise<number> {
  const [problem] = await store.problems(manifest.image, manifest.generation);
  if (problem !== undefined) {
    const what = `cannot flatten generation ${manifest.generation} of ${manifest.image}`;
    throw new Fault('E_UNTRUSTED', { what, why: problem, todo: `build ${manifest.image} again` });
  }
  const parts = manifest.layers.map((layer) => createReadStream(store.layerPath(layer)));
  await pipeline(async function* () {
    for (const part of parts) yield* part;
  }, createWriteStream(path));
  return manifest.layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0);
}
