// images/keptlayers.io.ts - layers that took long to compress, kept in the cache: another store need not wait for them again.
//
// Owns: cache/layers/SERVEDSHA256, as served, and how many of them there are. Does not own: what a layer was made from
// (layercache.io.ts), whether what is read is still the layer: who takes it checks its hash (store.io.ts).

import { createReadStream } from 'node:fs';
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { publishFile } from './files.io.ts';
import type { Layer } from './manifest.ts';

/** A tenth of a second of compression. */
const KEPT_FROM_BYTES = 500_000;
/** Some 300 MB: what was not used for longest goes. */
const MOST_KEPT = 40;

/** Where a layer is kept, if it is. */
export async function findKept(folder: string, layer: Layer): Promise<string | undefined> {
  const path = join(folder, layer.servedSha256);
  if ((await stat(path).catch(() => undefined))?.size !== layer.servedBytes) return undefined;
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
  return path;
}

/** Keeps a layer, if it was worth the time. @param from the file as it is served. */
export async function keepLayer(folder: string, layer: Layer, from: string): Promise<void> {
  if (layer.servedBytes < KEPT_FROM_BYTES) return;
  await publishFile(join(folder, layer.servedSha256), createReadStream(from));
  // With an ending: of a builder before this one, which nobody looks for; they go as all do that are not used.
  const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}(?:\.zst)?$/.test(name));
  const used = await Promise.all(
    names.map(async (name) => ({ name, atMs: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
  );
  const old = used.sort((a, b) => b.atMs - a.atMs).slice(MOST_KEPT);
  await Promise.all(old.map(({ name }) => rm(join(folder, name), { force: true })));
}
