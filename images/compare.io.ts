// images/compare.io.ts - two generations of an image held against each other.
//
// Owns: reading the files of their layers. Does not own: the forms (inspect.ts), the comparison (compare.ts).

import { compareImages, factsOf, type FileFacts, type ImageDifference } from './compare.ts';
import { inspectFile } from './inspect.io.ts';
import type { Manifest } from './manifest.ts';
import type { Store } from './store.io.ts';

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
