// images/audit.io.ts - reading what is published again: is it whole, and how do two generations differ.
//
// Owns: reading layers and kernels of the store. Does not own: the forms (inspect.ts), the comparison (compare.ts).

import { readFile, writeFile } from 'node:fs/promises';
import { reasonOf } from '../formats/errors.ts';
import { compareImages, factsOf, type FileFacts, type ImageDifference } from './compare.ts';
import { sha256Of } from './files.io.ts';
import { inspectOctets } from './inspect.io.ts';
import type { Layer, Manifest } from './manifest.ts';
import type { Store } from './store.io.ts';

/**
 * Reads every file that an image's generations name.
 *
 * @returns one sentence for each thing that is wrong; none where every generation can be booted as it was built.
 */
export async function verifyImage(store: Store, image: string): Promise<string[]> {
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const generation of (await store.summary(image)).generations) {
    const say = (problem: string): void => void problems.push(`${image} generation ${generation}: ${problem}`);
    let manifest: Manifest;
    try {
      manifest = await store.manifest(image, generation);
    } catch (error) {
      say(reasonOf(error));
      continue;
    }
    const { kernel, layers } = manifest;
    if (!seen.has(kernel.sha256)) {
      seen.add(kernel.sha256);
      const octets = await readFile(store.kernelPath(kernel.sha256)).catch(() => undefined);
      if (octets === undefined) say(`the kernel ${kernel.release} is gone`);
      else if (sha256Of(octets) !== kernel.sha256) say(`the kernel ${kernel.release} is damaged`);
    }
    for (const layer of layers) {
      if (seen.has(layer.sha256)) continue;
      seen.add(layer.sha256);
      const problem = await layerProblem(store, layer);
      if (problem !== undefined) say(`the layer ${layer.name} ${layer.sha256.slice(0, 12)} ${problem}`);
    }
  }
  return problems;
}

async function layerProblem(store: Store, layer: Layer): Promise<string | undefined> {
  const octets = await readFile(store.layerPath(layer)).catch(() => undefined);
  if (octets === undefined) return 'is gone';
  if (sha256Of(octets) !== layer.servedSha256) return 'is not the file that was published';
  const { layers, problems } = inspectOctets(octets);
  if (problems.length > 0) return problems[0];
  return layers.length === 1 && layers[0]?.sha256 === layer.sha256 ? undefined : 'does not hold what its name says';
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
    for (const { entries } of inspectOctets(await readFile(store.layerPath(layer))).layers) {
      // The last entry is the layer's marker, which differs whenever anything does.
      for (const entry of entries.slice(0, -1)) {
        files.set(entry.path, factsOf(entry, entry.kind === 'file' ? sha256Of(entry.data) : ''));
      }
    }
  }
  return files;
}

/** Writes all layers of a generation as one file, for loaders that take one initrd. @returns its size in bytes. */
export async function flattenImage(store: Store, { layers }: Manifest, path: string): Promise<number> {
  const parts = await Promise.all(layers.map((layer) => readFile(store.layerPath(layer))));
  const whole = Buffer.concat(parts);
  await writeFile(path, whole);
  return whole.length;
}
