// Layers kept in the cache: found again, and bounded in number. That a damaged one is not taken: store.test.ts.

import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256Of } from '../../images/files.io.ts';
import { findKept, keepLayer } from '../../images/keptlayers.io.ts';
import type { Layer } from '../../images/manifest.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-kept-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A layer of that many octets, and a file that holds it. */
const served = (seed: number, bytes = 500_000): [Layer, string] => {
  const octets = Buffer.alloc(bytes, seed);
  const servedSha256 = sha256Of(octets);
  const path = join(folder, 'served');
  writeFileSync(path, octets);
  return [
    {
      name: 'x',
      sha256: servedSha256,
      compression: 'zstd',
      servedSha256,
      servedBytes: bytes,
      unpackedBytes: 0,
      files: 0,
    },
    path,
  ];
};
const kept = (): string[] => readdirSync(folder).filter((name) => /^[0-9a-f]{64}/.test(name));

test('what was kept is found, a small layer is not kept, one that is cut off is none', async () => {
  const [layer, path] = served(1);
  await keepLayer(folder, layer, path);
  const found = await findKept(folder, layer);
  expect(readFileSync(found ?? '')).toEqual(readFileSync(path));
  await keepLayer(folder, ...served(2, 499_999));
  expect(kept()).toHaveLength(1);
  truncateSync(found ?? '', 400_000);
  expect(await findKept(folder, layer)).toBeUndefined();
});

test('those not used for longest make room', async () => {
  const [used, path] = served(0);
  await keepLayer(folder, used, path);
  const ofBefore = join(folder, `${'b'.repeat(64)}.zst`);
  writeFileSync(ofBefore, 'as builders named them before');
  utimesSync(ofBefore, 1, 1);
  for (let seed = 1; seed <= 40; seed += 1) {
    const [layer, from] = served(seed);
    await keepLayer(folder, layer, from);
    utimesSync(join(folder, layer.servedSha256), seed, seed);
    if (seed === 39) expect(await findKept(folder, used)).toBeDefined();
  }
  expect(kept()).toHaveLength(40);
  expect(kept().filter((name) => name.includes('.'))).toEqual([]);
  expect(await findKept(folder, used)).toBeDefined();
  expect(await findKept(folder, served(1)[0])).toBeUndefined();
});
