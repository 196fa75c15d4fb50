// images/publishgeneration.io.ts - the end of a build: what was made becomes a generation, with all that it can be built from again.
//
// Owns: keeping the packages, their licences. Does not own: whether there is anything new to publish (describeimage.ts), the
// store (store.io.ts).

import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { ArchivePackage } from './apt.ts';
import { isSameImage } from './describeimage.ts';
import { readKernelDocs } from './kernel.io.ts';
import { readLicences } from './licences.io.ts';
import type { Workshop } from './makelayers.io.ts';
import type { Manifest } from './manifest.ts';

/**
 * Publishes the draft unless the newest generation says the same already.
 *
 * @param used every package that has a file in the image, and the kernel's. @returns whether it is a new one.
 */
export async function publishGeneration(
  workshop: Workshop,
  used: readonly ArchivePackage[],
  draft: Omit<Manifest, 'generation'>,
): Promise<{ manifest: Manifest; built: boolean }> {
  const { store, onEvent } = workshop;
  const before = await store.newest(draft.image);
  if (before !== undefined && isSameImage(before, draft)) {
    // One that no node would boot, of a builder that did not sign or whose key is not trusted any more, counts for nothing.
    if ((await store.problems(draft.image, before.generation)).length === 0) return { manifest: before, built: false };
  }
  onEvent({ kind: 'step', step: 'publish', detail: draft.image });
  const licences = await keepPackages(workshop, used);
  const packages = draft.packages.map((one) => ({ ...one, licences: [...(licences.get(one.name) ?? [])] }));
  return { manifest: await store.publish({ ...draft, packages }), built: true };
}

/** Keeps the packages beside the generation. @returns their licences. */
async function keepPackages(
  { store, apt, debs, cacheDir, onEvent }: Workshop,
  used: readonly ArchivePackage[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  try {
    const isKept = await Promise.all(used.map(store.hasPackage));
    const missing = used.filter((_, index) => isKept[index] === false);
    await apt.fetch(missing);
    for (const one of missing) await store.keepPackage(one.sha256, await apt.file(one));
    // A kernel is large, and unpacked already.
    const read: typeof debs.load = async (one, wanted) =>
      (await readKernelDocs(join(cacheDir, 'kernels'), one, wanted)) ?? debs.load(one, wanted);
    return await readLicences(cacheDir, read, used);
  } catch (error) {
    // Its layers came from the cache, and its packages are nowhere any more.
    if (!(error instanceof Fault)) throw error;
    onEvent({ kind: 'note', text: `${error.message}; this generation can be booted, but not built again` });
    return new Map();
  }
}
