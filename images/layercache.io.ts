// images/layercache.io.ts - layers by what they are made from: a layer is made only if something that goes into it changed.
//
// Owns: cache/layers/KEY.json (what was made of which inputs), and the turns of compression: two layers at a time, each in a
// thread of Node's pool. Does not own: the inputs (plan.ts), the layers' files (store.io.ts), the octets kept for other
// stores (keptlayers.io.ts).

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { OnBuildEvent } from './event.ts';
import { publishFile, readCached, sha256Of } from './files.io.ts';
import { findKept, keepLayer } from './keptlayers.io.ts';
import { BUILDER_VERSION, contentsOf, isLayerRecord, type LayerDraft, type LayerRecord } from './layerrecord.ts';
import type { PackOptions } from './layers.io.ts';
import type { OwnedEntry } from './layout.ts';
import type { Store } from './store.io.ts';
import { takeTurns } from './turns.ts';

/** While it compresses each holds some 50 MB at level 12, and 90 MB at Node's 19. */
const LAYERS_AT_ONCE = 2;

export type LayerCache = {
  /**
   * Takes a layer from the cache, or makes it: what is in it is known at once, the layer itself when its turn has come.
   *
   * @param inputs JSON of everything that the layer is made from.
   */
  readonly draft: (
    inputs: unknown,
    make: () => Promise<{ name: string; files: readonly OwnedEntry[] } & Pick<PackOptions, 'compression' | 'effort'>>,
  ) => Promise<LayerDraft>;
  /** Ends what is under way, and waits for its end. */
  readonly abandon: () => Promise<void>;
};

/** @param cacheDir cache/ of ARCHITECTURE.md. */
export function openLayerCache(store: Store, cacheDir: string, onEvent: OnBuildEvent): LayerCache {
  const folder = join(cacheDir, 'layers');
  const inTurn = takeTurns(LAYERS_AT_ONCE);
  const stop = new AbortController();
  const underWay: Promise<unknown>[] = [];

  const reuse = async (before: LayerRecord): Promise<LayerRecord | undefined> => {
    if (await store.hasLayer(before.layer)) return before;
    const kept = await findKept(folder, before.layer);
    const layer = kept === undefined ? undefined : await store.takeLayer(before.layer, createReadStream(kept));
    return layer === undefined ? undefined : { ...before, layer };
  };
  return {
    async draft(inputs, make) {
      const path = join(folder, `${sha256Of(JSON.stringify([BUILDER_VERSION, inputs]))}.json`);
      const before = await readCached(path, isLayerRecord);
      const reused = before === undefined ? undefined : await reuse(before);
      if (reused !== undefined) return { ...reused, name: reused.layer.name, layer: Promise.resolve(reused.layer) };
      const { name, files, ...options } = await make();
      const contents = contentsOf(files);
      const layer = inTurn(async () => {
        stop.signal.throwIfAborted();
        onEvent({ kind: 'step', step: 'compress', detail: name });
        const entries = files.map(({ entry }) => entry);
        const made = await store.makeLayer(name, entries, { ...options, signal: stop.signal });
        await keepLayer(folder, made, store.layerPath(made));
        const record: LayerRecord = { layer: made, ...contents };
        await publishFile(path, JSON.stringify(record));
        return made;
      });
      underWay.push(layer);
      // A refusal may come before anybody waits for it.
      layer.catch(() => undefined);
      return { ...contents, name, layer };
    },
    async abandon() {
      stop.abort();
      await Promise.allSettled(underWay);
    },
  };
}
