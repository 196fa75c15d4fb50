// Pruning: what stays and why, and that nothing goes which a generation that stays needs.

import { mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withBuildLock } from '../../images/buildlock.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { pruneStore } from '../../images/prune.io.ts';
import { filesOf, type InUse, judgeGenerations } from '../../images/prune.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { imagesInUse } from '../../netboot/fleet/inuse.ts';
import type { NodeState } from '../../netboot/fleet/nodestate.ts';
import type { StoredBoot } from '../../netboot/store/records.ts';
import { publishTiny } from './tiny.ts';

let lib = '';
beforeEach(() => (lib = mkdtempSync(join(tmpdir(), 'rouse-prune-'))));
afterEach(() => rmSync(lib, { recursive: true, force: true }));

const files = (folder: string): string[] => readdirSync(join(lib, 'images', folder)).sort();
const prune = (inUse: readonly InUse[] = [], over: { newest?: number; isDryRun?: boolean } = {}) =>
  pruneStore({
    libDir: lib,
    askInUse: async () => inUse,
    newest: 1,
    isDryRun: false,
    onEvent: () => undefined,
    ...over,
  });
const layerNames = (manifest: Manifest): string[] => manifest.layers.map(({ sha256 }) => `${sha256}.zst`);

test('each reason to stay is said; what has none may go', () => {
  const images = [{ image: 'web', generations: [1, 2, 3, 4, 5, 6], current: 3, previous: 2 }];
  const inUse = [{ image: 'web', generation: 1, files: [], why: 'web7 runs it' }];
  expect(judgeGenerations(images, inUse, 1).map(({ generation, reasons }) => [generation, ...reasons])).toEqual([
    [1, 'web7 runs it'],
    [2, 'rollback leads to it'],
    [3, 'nodes boot it'],
    [4],
    [5],
    [6, 'the newest'],
  ]);
  expect(judgeGenerations(images, [], 3)[3]?.reasons).toEqual(['one of the newest 3']);
});

test('a generation goes with its own layers; what others share stays, and all that stays is whole', async () => {
  const store = openStore(lib);
  const made = [];
  for (const text of ['one', 'two', 'three']) made.push(await publishTiny(store, text));
  await store.promote('web', 3);
  await publishTiny(store, 'of another image', { image: 'lb' });
  const dry = await prune([], { isDryRun: true });
  expect(dry.verdicts.filter(({ reasons }) => reasons.length === 0)).toMatchObject([{ image: 'web', generation: 2 }]);
  expect((await store.summary('web')).generations).toEqual([1, 2, 3]);
  const result = await prune();
  expect({ files: result.files, bytes: result.bytes }).toEqual({ files: dry.files, bytes: dry.bytes });
  expect(result.files).toBe(1);
  expect((await store.summary('web')).generations).toEqual([1, 3]);
  const [, two] = made;
  expect(files('layers')).not.toContain(two === undefined ? '' : layerNames(two)[1]);
  expect([...(await verifyImage(store, 'web')), ...(await verifyImage(store, 'lb'))]).toEqual([]);
});

test('what a node runs or would go back to stays, even where its manifest is gone', async () => {
  const store = openStore(lib);
  const made: Manifest[] = [];
  for (const text of ['one', 'two', 'three', 'four', 'five']) made.push(await publishTiny(store, text));
  await store.promote('web', 4);
  await store.promote('web', 5);
  const target = (generation: number) => ({ kind: 'linux', image: 'web', ...made[generation - 1], generation });
  const plan = (generation: number) => ({ node: { name: 'web1' }, target: target(generation) });
  const boots = [
    { mac: 'a', plan: plan(1) },
    { mac: 'a', plan: plan(5) },
  ] as unknown as StoredBoot[];
  const states = [{ node: 'web1', boot: { plan: plan(2) }, lastGood: { plan: plan(3) } }] as unknown as NodeState[];
  const inUse = imagesInUse(boots, states);
  expect(inUse.map(({ generation, why }) => [generation, why])).toEqual([
    [5, 'web1 booted it last'],
    [2, 'web1 runs it'],
    [3, 'web1 would go back to it'],
  ]);
  rmSync(join(lib, 'images/web/2.json'));
  await prune(inUse);
  expect((await store.summary('web')).generations).toEqual([3, 4, 5]);
  for (const generation of [2, 3, 4, 5]) {
    const manifest = made[generation - 1];
    expect(files('layers')).toEqual(expect.arrayContaining(manifest === undefined ? [] : layerNames(manifest)));
  }
  const [one] = made;
  expect(files('layers')).not.toContain(one === undefined ? '' : layerNames(one)[1]);
});

test('packages and lock stay with the generation that was built from them, and go with it', async () => {
  const store = openStore(lib);
  const lockWith = (sha256: string) =>
    store.putLock({
      version: 1,
      architecture: 'amd64',
      sources: '',
      asked: ['p'],
      packages: [{ name: 'p', version: '1', architecture: 'all', sha256, bytes: 1, depends: [], provides: [] }],
    });
  for (const digit of ['a', 'b', 'c']) {
    const sha256 = digit.repeat(64);
    writeFileSync(join(lib, digit), digit);
    await store.keepPackage(sha256, join(lib, digit));
    await publishTiny(store, digit, { lock: await lockWith(sha256) });
  }
  await store.promote('web', 3);
  await prune();
  expect(files('packages')).toEqual([`${'a'.repeat(64)}.deb`, `${'c'.repeat(64)}.deb`]);
  expect(files('locks')).toHaveLength(2);
  // A lock that is damaged tells nothing of the packages that must stay: nothing goes.
  await publishTiny(store, 'd');
  const [lock = ''] = files('locks');
  rmSync(join(lib, 'images/locks', lock));
  await expect(prune()).rejects.toThrow(/^cannot tell which packages generation \d of web was built from/);
  expect((await store.summary('web')).generations).toEqual([1, 3, 4]);
  expect(files('packages')).toHaveLength(2);
});

test('what killed builds and prunes left behind is cleared away, and a manifest that was moved aside is judged again', async () => {
  const store = openStore(lib);
  for (const text of ['one', 'two', 'three']) await publishTiny(store, text);
  writeFileSync(join(lib, 'images/layers/.x.zst.0123.new'), 'half');
  writeFileSync(join(lib, 'images/web/.4.json.0123.new'), 'half');
  renameSync(join(lib, 'images/web/1.json'), join(lib, 'images/web/.1.json.pruned'));
  renameSync(join(lib, 'images/web/2.json'), join(lib, 'images/web/.2.json.pruned'));
  await prune();
  expect(files('web')).toEqual(['1.json', '3.json', 'current']);
  expect(files('layers').filter((name) => name.endsWith('.new'))).toEqual([]);
  expect(await verifyImage(store, 'web')).toEqual([]);
});

test('the files of a generation are its kernel, layers, lock and packages', async () => {
  const manifest = await publishTiny(openStore(lib), 'one');
  expect(filesOf({ ...manifest, lock: 'L' }, ['P'])).toEqual([
    `kernels/${manifest.kernel.sha256}`,
    ...layerNames(manifest).map((name) => `layers/${name}`),
    'locks/L.json',
    'packages/P.deb',
  ]);
});

test('what a node boots while prune waits for a build, or while it is at work, stays', async () => {
  const store = openStore(lib);
  for (const text of ['one', 'two', 'three', 'four', 'five']) await publishTiny(store, text);
  const booting: InUse[] = [];
  let asked = 0;
  const boots = (generation: number, why: string) => booting.push({ image: 'web', generation, files: [], why });
  const askInUse = async (): Promise<readonly InUse[]> => {
    asked += 1;
    // Two booted before it is asked; another node begins with three when that one is moved aside already.
    if (asked === 2) boots(3, 'web2 booted it last');
    return [...booting];
  };
  let isWaiting: () => void = () => undefined;
  const waits = new Promise<void>((resolve) => (isWaiting = resolve));
  let pruned: ReturnType<typeof pruneStore> | undefined;
  await withBuildLock(
    lib,
    () => undefined,
    async () => {
      pruned = pruneStore({ libDir: lib, askInUse, newest: 1, isDryRun: false, onEvent: () => isWaiting() });
      await waits;
      boots(2, 'web1 booted it last');
    },
  );
  const result = await pruned;
  expect(result?.verdicts.map(({ generation, reasons }) => [generation, ...reasons])).toEqual([
    [1, 'nodes boot it'],
    [2, 'web1 booted it last'],
    [3, 'web2 booted it last'],
    [4],
    [5, 'the newest'],
  ]);
  expect(files('web')).toEqual(['1.json', '2.json', '3.json', '5.json', 'current']);
  for (const generation of [1, 2, 3, 5]) expect(await store.problems('web', generation)).toEqual([]);
});
