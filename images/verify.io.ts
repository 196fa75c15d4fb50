// images/verify.io.ts - reading what is published again: is it whole.
//
// Owns: reading every generation of an image, its versions and its layers' content. Does not own: signatures and the hashes of
// files (store.io.ts, sealed.io.ts), the form of a layer (layers.io.ts).

import { createReadStream } from 'node:fs';
import { describeStored } from './layers.io.ts';
import type { Layer } from './manifest.ts';
import type { Store } from './store.io.ts';

/**
 * Reads every file that an image's generations name, and asks every signature.
 *
 * @returns one sentence for each thing that is wrong; none where every generation can be booted as it was built.
 */
export async function verifyImage(store: Store, image: string): Promise<string[]> {
  const found: string[] = [];
  const seen = new Set<string>();
  for (const generation of (await store.summary(image)).generations) {
    // A file that several generations share is told once.
    for (const problem of await store.problems(image, generation)) {
      if (!seen.has(problem) || problem.startsWith('the manifest'))
        found.push(`${image} generation ${generation}: ${problem}`);
      seen.add(problem);
    }
    const manifest = await store.manifest(image, generation).catch(() => undefined);
    if (manifest?.lock !== undefined && (await store.lockOf(manifest)) === undefined) {
      found.push(
        `${image} generation ${generation}: its versions are gone or damaged; it can be booted, but not built again`,
      );
    }
    for (const layer of manifest?.layers ?? []) {
      if (seen.has(layer.sha256)) continue;
      seen.add(layer.sha256);
      const problem = await contentProblem(store, layer);
      if (problem !== undefined) found.push(`${image} generation ${generation}: the layer ${layer.name} ${problem}`);
    }
  }
  return found;
}

/** Whether a file that is what was published also holds what its name says. One that is not was told before. */
async function contentProblem(store: Store, layer: Layer): Promise<string | undefined> {
  if (!(await store.hasLayer(layer))) return undefined;
  const described = await describeStored(layer, createReadStream(store.layerPath(layer)));
  return described === undefined ? 'does not hold what its name says' : undefined;
}
