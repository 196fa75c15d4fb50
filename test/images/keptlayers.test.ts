// Layers kept in the cache: found again, never believed when damaged, and bounded in number.

import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256Of } from '../../images/files.io.ts';
import { keepLayer, readKept } from '../../images/keptlayers.io.ts';
import type { PackedLayer } from '../../images/layers.io.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-kept-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const packed = (seed: number, bytes = 500_000): PackedLayer => {
  const octets = Buffer.alloc(bytes, seed);
  const servedSha256 = sha256Of(octets);
  return {
    octets,
    layer: {
      name: 'x',
      sha256: servedSha256,
      compression: 'zstd',
      servedSha256,
      servedBytes: bytes,
      unpackedBytes: 0,
      files: 0,
    },
  };
};

test('what was kept is found, a small layer is not kept, a damaged one is none', async () => {
  const one = packed(1);
  await keepLayer(folder, one);
  expect(await readKept(folder, one.layer)).toEqual(one.octets);
  await keepLayer(folder, packed(2, 499_999));
  expect(readdirSync(folder)).toHaveLength(1);
  writeFileSync(join(folder, `${one.layer.servedSha256}.zst`), Buffer.alloc(500_000, 9));
  expect(await readKept(folder, one.layer)).toBeUndefined();
});

test('those not used for longest make room', async () => {
  const used = packed(0);
  await keepLayer(folder, used);
  for (let seed = 1; seed <= 40; seed += 1) {
    await keepLayer(folder, packed(seed));
    utimesSync(join(folder, `${packed(seed).layer.servedSha256}.zst`), seed, seed);
    if (seed === 39) expect(await readKept(folder, used.layer)).toBeDefined();
  }
  expect(readdirSync(folder)).toHaveLength(40);
  expect(await readKept(folder, used.layer)).toBeDefined();
  expect(await readKept(folder, packed(1).layer)).toBeUndefined();
});
