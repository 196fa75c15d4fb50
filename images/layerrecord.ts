// images/layerrecord.ts - what is known of a layer beside its octets: what is in it, from whom, and what it would replace.
//
// Owns: what the cache remembers of a layer and for how long, sizes by owner, conflicts between layers. Does not own: the files of
// one layer (layout.ts, role.ts), refusals (chain.ts), what a manifest says of the layers (describeimage.ts). Pure.

import { z } from 'zod';
import { matcherOf } from './glob.ts';
import type { OwnedEntry } from './layout.ts';
import { type Layer, LayerSchema } from './manifest.ts';
import { GENERATED_PATHS } from './role.ts';

/** Raised whenever the same inputs give other layers than before: everything cached is built anew then. */
export const BUILDER_VERSION = 4;

/** What is remembered of a layer that was built, so that it need not be built again to know it. */
export type LayerRecord = {
  readonly layer: Layer;
  /** Paths of everything in it but folders, without leading slash. */
  readonly paths: readonly string[];
  /** Bytes of kept files by owner (package or role). */
  readonly bytesByOwner: Readonly<Record<string, number>>;
};

/** A layer under way: what is in it is known before it is compressed. */
export type LayerDraft = Omit<LayerRecord, 'layer'> & { readonly name: string; readonly layer: Promise<Layer> };

/** What is remembered of a layer's files. */
export function contentsOf(files: readonly OwnedEntry[]): Omit<LayerRecord, 'layer'> {
  const paths = files.flatMap(({ entry }) => (entry.kind === 'directory' ? [] : [entry.path])).sort();
  return { paths, bytesByOwner: bytesByOwner(files) };
}

/** Sums sizes by owner, owners in order. */
function bytesByOwner(files: readonly OwnedEntry[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const { entry, owner } of files) {
    // A package of which only a folder is left has nothing in the image.
    if (entry.kind === 'directory') continue;
    sums.set(owner, (sums.get(owner) ?? 0) + (entry.kind === 'file' ? entry.data.length : 0));
  }
  return Object.fromEntries([...sums].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Paths of a layer that replace a file of an earlier layer without leave.
 *
 * @param paths what the layer holds but folders, without leading slash.
 * @param below what earlier layers hold, by path: the layer's name.
 * @param override patterns of the recipe.
 */
export function conflicts(
  paths: readonly string[],
  below: ReadonlyMap<string, string>,
  override: readonly string[],
): { path: string; layer: string }[] {
  const allowed = matcherOf(override);
  return paths.flatMap((path) => {
    const layer = below.get(path);
    if (layer === undefined || GENERATED_PATHS.includes(path) || allowed(`/${path}`)) return [];
    return [{ path, layer }];
  });
}

/** Whether a value is a layer record, as read back from a cache. */
export function isLayerRecord(value: unknown): value is LayerRecord {
  return LayerRecordSchema.safeParse(value).success;
}

const LayerRecordSchema = z.strictObject({
  layer: LayerSchema,
  paths: z.array(z.string()),
  bytesByOwner: z.record(z.string(), z.int().nonnegative()),
}) satisfies z.ZodType<LayerRecord>;
