// Layers by what they are made from: made once, taken from the cache for another store, never believed when damaged, two at a time.

import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Content } from '../../images/content.ts';
import { type LayerCache, openLayerCache } from '../../images/layercache.io.ts';
import { openStore } from '../../images/store.io.ts';
import { takeTurns } from '../../images/turns.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-layercache-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (lib: string): LayerCache => openLayerCache(openStore(join(folder, lib)), folder, () => undefined);
const files = (name: string): string[] => readdirSync(join(folder, name));
/** Octets that do not compress. */
const noise = (bytes: number): Uint8Array => {
  const octets = new Uint8Array(bytes);
  let state = 1;
  for (let index = 0; index < bytes; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    octets[index] = state >>> 24;
  }
  return octets;
};
const layerOf = (data: Content) => ({
  name: 'x',
  files: [{ entry: { kind: 'file', path: 'srv/x', mode: 0o644, uid: 0, gid: 0, data } as const, owner: 'x' }],
});

test('a layer is made once, and taken from the cache for another store; one that is damaged there is made anew', async () => {
  let made = 0;
  const draft = (lib: string) =>
    open(lib).draft(['inputs'], async () => {
      made += 1;
      return layerOf(noise(600_000));
    });
  const first = await draft('a');
  expect(first).toMatchObject({ name: 'x', paths: ['srv/x'], bytesByOwner: { x: 600_000 } });
  const layer = await first.layer;
  expect(await (await draft('a')).layer).toEqual(layer);
  expect(await (await draft('b')).layer).toEqual(layer);
  expect(files('b/images/layers')).toEqual([`${layer.sha256}.zst`]);
  expect(made).toBe(1);
  const kept = join(folder, 'layers', layer.servedSha256);
  writeFileSync(kept, noise(layer.servedBytes));
  expect(await (await draft('c')).layer).toEqual(layer);
  expect(made).toBe(2);
  expect(files('c/images/layers')).toEqual([`${layer.sha256}.zst`]);
});

test('what is under way when a build is refused ends early and leaves nothing behind', async () => {
  const layers = open('lib');
  const source = join(folder, 'source');
  writeFileSync(source, noise(4_000_000));
  const content = { file: source, offset: 0, length: 4_000_000 };
  const drafts = await Promise.all([1, 2, 3].map((input) => layers.draft(input, async () => layerOf(content))));
  await expect.poll(() => existsSync(join(folder, 'lib/images/layers')) && files('lib/images/layers')).toHaveLength(2);
  await layers.abandon();
  for (const { layer } of drafts) await expect(layer).rejects.toMatchObject({ name: 'AbortError' });
  expect(files('lib/images/layers')).toEqual([]);
  expect(files('.').filter((name) => name === 'layers')).toEqual([]);
});

test('a file that is edited while its layer is made is refused, and nothing is remembered of it', async () => {
  const source = join(folder, 'source');
  writeFileSync(source, 'after');
  const content = { file: source, offset: 0, length: 5, sha256: '0'.repeat(64) };
  const { layer } = await open('lib').draft(1, async () => layerOf(content));
  await expect(layer).rejects.toMatchObject({
    code: 'E_BUILD',
    message: `cannot take ${source} into an image: it was changed while it was read; build again`,
  });
  expect(files('lib/images/layers')).toEqual([]);
  const longer = { file: source, offset: 0, length: 6 };
  const cut = await open('lib').draft(2, async () => layerOf(longer));
  await expect(cut.layer).rejects.toThrow('it was changed while it was read');
});

test('work takes turns: never more at once than may be, in order, and a failure gives its turn on', async () => {
  const inTurn = takeTurns(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const work = [0, 1, 2, 3].map((index) =>
    inTurn(async () => {
      begun.push(index);
      await new Promise<void>((resolve) => void (ends[index] = resolve));
      if (index === 0) throw new Error('it failed');
      return index;
    }),
  );
  await expect.poll(() => begun).toEqual([0, 1]);
  ends[0]?.();
  await expect(work[0]).rejects.toThrow('it failed');
  await expect.poll(() => begun).toEqual([0, 1, 2]);
  ends[2]?.();
  await expect.poll(() => begun).toEqual([0, 1, 2, 3]);
  ends[1]?.();
  ends[3]?.();
  expect(await Promise.all(work.slice(1))).toEqual([1, 2, 3]);
});
