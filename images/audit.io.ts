// images/audit.io.ts - reading what is published again: is it whole, and how do two generations differ.
//
// Owns: reading layers and kernels of the store. Does not own: the forms (inspect.ts), the comparison (compare.ts).

import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Fault } from '../formats/errors.ts';
import { compareImages, factsOf, type FileFacts, type ImageDifference } from './compare.ts';
import { inspectFile } from './inspect.io.ts';
import { describeStored } from './layers.io.ts';
import type { Layer, Manifest } from './manifest.ts';
import { sha256OfFile } from './sealed.io.ts';
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
  const path = store.layerPath(layer);
  const served = await sha256OfFile(path).catch(() => undefined);
  if (served !== layer.servedSha256) return undefined;
  const described = await describeStored(layer, createReadStream(path));
  return described === undefined ? 'does not hold what its name says' : undefined;
}

/** How one generation differs from another. @throws Fault E_NOT_FOUND, E_STORE. */
export async function diffImages(store: Store, before: Manifest, after: Manifest): Promise<ImageDifference> {
  return compareImages(
    { manifest: before, files: await filesOf(store, before) },
    { manifest: after, files: await filesOf(store, after) },
  );
}

async function filesOf(store: Store, { layers }: Manifest): Promise<Map<string, FileFacts>> {
  const files = new Map<string, FileFacts>();
  for (const layer of layers) {
    for (const { entries } of (await inspectFile(store.layerPath(layer))).layers) {
      // The last entry is the layer's marker, which differs whenever anything does.
      for (const entry of entries.slice(0, -1)) {
        files.set(entry.path, factsOf(entry));
      }
    }
  }
  return files;
}

/**
 * Writes all layers of a generation as one file, for loaders that take one initrd.
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
