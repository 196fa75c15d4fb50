// images/keptlayers.io.ts - layers that took long to compress, kept in the cache: another store need not wait for them again.
//
// Owns: cache/layers/SERVEDSHA256.zst, and how many of them there are. Does not own: what a layer was made from (build.io.ts).
// What is read is checked by its hash: a damaged file is as good as none.

import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { publishFile, readIfThere, sha256Of } from './files.io.ts';
import type { PackedLayer } from './layers.io.ts';
import type { Layer } from './manifest.ts';

/** A tenth of a second of compression. */
const KEPT_FROM_BYTES = 500_000;
/** Some 300 MB: what was not used for longest goes. */
const MOST_KEPT = 40;

/** The octets of a layer, where they are kept. */
export async function readKept(folder: string, layer: Layer): Promise<Uint8Array | undefined> {
  const path = join(folder, `${layer.servedSha256}.zst`);
  const octets = await readIfThere(path);
  if (octets === undefined || sha256Of(octets) !== layer.servedSha256) return undefined;
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
  return octets;
}

/** Keeps a layer, if it was worth the time. */
export async function keepLayer(folder: string, { layer, octets }: PackedLayer): Promise<void> {
  if (octets.length < KEPT_FROM_BYTES) return;
  await publishFile(join(folder, `${layer.servedSha256}.zst`), octets);
  const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}\.zst$/.test(name));
  const used = await Promise.all(
    names.map(async (name) => ({ name, atMs: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
  );
  const old = used.sort((a, b) => b.atMs - a.atMs).slice(MOST_KEPT);
  await Promise.all(old.map(({ name }) => rm(join(folder, name), { force: true })));
}
