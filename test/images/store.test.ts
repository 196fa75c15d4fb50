// The store: generations, promotion, and what verify and diff say of it. Real files in a folder of this test.

import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withBuildLock } from '../../images/buildlock.io.ts';
import { diffImages } from '../../images/compare.io.ts';
import { renderBillOfMaterials, renderDifference } from '../../images/compare.ts';
import type { CpioEntry } from '../../images/cpio.ts';
import { flattenImage } from '../../images/flatten.io.ts';
import { inspectFile } from '../../images/inspect.io.ts';
import { packLayer } from '../../images/layers.io.ts';
import type { Layer, Manifest } from '../../images/manifest.ts';
import { renderManifest } from '../../images/report.ts';
import { openStore, type Store } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { file, publishTiny } from './tiny.ts';

/** Digits that different levels compress differently. */
const DIGITS = Array.from({ length: 5000 }, (_, index) =>
  (Math.imul(index + 1, 2_654_435_761) >>> 28).toString(16),
).join('');

let lib = '';
let store: Store;
beforeEach(() => {
  lib = mkdtempSync(join(tmpdir(), 'rouse-store-'));
  store = openStore(lib);
});
afterEach(() => rmSync(lib, { recursive: true, force: true }));

const publish = (files: readonly CpioEntry[], packages: Manifest['packages'] = []): Promise<Manifest> =>
  publishTiny(store, files, { packages });

test('the first generation is what nodes boot; a later one waits for promote; rollback goes back to what was', async () => {
  expect((await publish([file('a', '1')])).generation).toBe(1);
  expect((await publish([file('a', '2')])).generation).toBe(2);
  expect((await publish([file('a', '3')])).generation).toBe(3);
  expect((await store.manifest('web')).generation).toBe(1);
  expect(readlinkSync(join(lib, 'images/web/current'))).toBe('1.json');
  expect(await store.promote('web', 3)).toBe(1);
  expect((await store.manifest('web')).generation).toBe(3);
  // Generation 2 was never what nodes booted.
  expect(await store.rollback('web')).toBe(1);
  expect(await store.rollback('web')).toBe(3);
  expect(await store.summary('web')).toMatchObject({ generations: [1, 2, 3], current: 3, previous: 1 });
  expect(readdirSync(join(lib, 'images/web')).filter((name) => name.startsWith('.'))).toEqual([]);
});

test('builds at the same moment get a generation each', async () => {
  const made = await Promise.all([1, 2, 3, 4, 5].map((n) => publish([file('a', String(n))])));
  expect(made.map(({ generation }) => generation).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
});

test('what is asked for and not there is said with what is', async () => {
  await expect(store.manifest('web')).rejects.toThrow('there is no image web: none is built; build it with');
  await publish([file('a', '1')]);
  await expect(store.manifest('wed')).rejects.toThrow('there is no image wed: built are: web');
  await expect(store.promote('web', 7)).rejects.toThrow('there is no generation 7 of web: there are: 1');
  await expect(store.rollback('web')).rejects.toThrow('no other generation has been promoted before');
});

test('a manifest that is damaged is told by its file, and its image is still listed', async () => {
  await publish([file('a', '1')]);
  writeFileSync(join(lib, 'images/web/1.json'), '{"version":1');
  await expect(store.manifest('web')).rejects.toMatchObject({ code: 'E_STORE' });
  expect(await store.list()).toHaveLength(1);
});

test('a layer that is there is never written again', async () => {
  const files = [file('a', DIGITS)];
  const first = await store.makeLayer('web', files, { effort: 'smallest' });
  const before = readFileSync(store.layerPath(first));
  const again = await store.makeLayer('web', files, { effort: 'quick' });
  expect(again).toEqual(first);
  expect((await packLayer('web', files, 'zstd', 'quick')).layer.servedSha256).not.toBe(first.servedSha256);
  expect(readFileSync(store.layerPath(first))).toEqual(before);
  expect(readdirSync(join(lib, 'images/layers'))).toHaveLength(1);
});

test('a layer that lies elsewhere is taken as it is served, and only that', async () => {
  const { layer, octets } = await packLayer('web', [file('a', 'x'.repeat(3000))]);
  expect(await store.takeLayer(layer, [octets.with(9, (octets[9] ?? 0) ^ 1)])).toBeUndefined();
  expect(readdirSync(join(lib, 'images/layers'))).toEqual([]);
  expect(await store.takeLayer(layer, [octets.subarray(0, 99), octets.subarray(99)])).toEqual(layer);
  expect(readFileSync(store.layerPath(layer))).toEqual(Buffer.from(octets));
});

test('verify finds what is gone, damaged, or not what its name says', async () => {
  const { layers, kernel } = await publish([file('a', '1')]);
  expect(await verifyImage(store, 'web')).toEqual([]);
  const [base, role] = layers.map((layer) => store.layerPath(layer));
  if (base === undefined || role === undefined) throw new Error('two layers');
  const octets = readFileSync(role);
  chmodSync(role, 0o644);
  octets[octets.length - 300] = (octets[octets.length - 300] ?? 0) ^ 1;
  writeFileSync(role, octets);
  rmSync(base);
  rmSync(store.kernelPath(kernel.sha256));
  const problems = await verifyImage(store, 'web');
  expect(problems).toHaveLength(3);
  expect(problems[0]).toBe('web generation 1: the kernel 6.1 is gone');
  expect(problems[1]).toContain('is gone');
  expect(problems[2]).toContain('is not the file that was published');
});

const flip = (path: string): void => {
  const octets = readFileSync(path);
  chmodSync(path, 0o644);
  octets[9] = (octets[9] ?? 0) ^ 1;
  writeFileSync(path, octets);
};

test('a damaged layer or kernel is not there: it is put in its place again, and nodes boot what they did', async () => {
  const { layers, kernel } = await publish([file('a', '1')]);
  for (const layer of layers) flip(store.layerPath(layer));
  flip(store.kernelPath(kernel.sha256));
  expect(await Promise.all([...layers.map(store.hasLayer), store.hasKernel(kernel)])).toEqual([false, false, false]);
  await publish([file('a', '2')]);
  // The layer that only the first generation has is still damaged; the rest was mended.
  expect(await verifyImage(store, 'web')).toEqual([expect.stringContaining('web generation 1: the layer web ')]);
  expect(await store.summary('web')).toMatchObject({ current: 2, previous: 1 });
  await publish([file('a', '1')]);
  expect(await verifyImage(store, 'web')).toEqual([]);
});

test('versions that are damaged are none, and are written down again; a pipe in their place keeps nobody waiting', async () => {
  const lock = { version: 1, architecture: 'amd64', sources: '', asked: [], packages: [] } as const;
  const name = await store.putLock(lock);
  const path = join(lib, 'images/locks', `${name}.json`);
  const damages = [
    () => flip(path),
    () => {
      rmSync(path);
      execFileSync('mkfifo', [path]);
    },
  ];
  for (const damage of damages) {
    expect(await store.lockOf({ lock: name })).toEqual(lock);
    damage();
    expect(await store.lockOf({ lock: name })).toBeUndefined();
    expect(await store.putLock(lock)).toBe(name);
  }
  expect(await store.lockOf({ lock: name })).toEqual(lock);
});

test('nothing is published that nodes would not boot', async () => {
  const before = await publish([file('a', '1')]);
  const { generation: _, ...draft } = before;
  const unreadable = { ...draft, kernel: { ...draft.kernel, bytes: -1 } };
  await expect(store.publish(unreadable)).rejects.toThrow(
    /^cannot publish web: its manifest cannot be trusted: kernel.bytes: /,
  );
  flip(store.layerPath(before.layers[1] as Layer));
  await expect(store.publish(draft)).rejects.toMatchObject({
    code: 'E_STORE',
    message: expect.stringMatching(
      /^cannot publish web: the layer web [0-9a-f]{12} is not the file that was published; /,
    ),
  });
  expect(await store.summary('web')).toMatchObject({ generations: [1], current: 1 });
});

test('a pipe or a device where a file belongs is told, and keeps nobody waiting', async () => {
  const { layers, kernel } = await publish([file('a', '1')]);
  const [base, role] = layers.map((layer) => store.layerPath(layer));
  if (base === undefined || role === undefined) throw new Error('two layers');
  for (const path of [base, role, store.kernelPath(kernel.sha256)]) rmSync(path);
  execFileSync('mkfifo', [base, store.kernelPath(kernel.sha256), join(lib, 'images/web/2.json')]);
  symlinkSync('/dev/zero', role);
  const told = await verifyImage(store, 'web');
  expect(told.filter((one) => one.endsWith(' is no regular file'))).toHaveLength(3);
  expect(told.at(-1)).toContain('EINVAL: no regular file');
  rmSync(join(lib, 'images/web/2.json'));
  expect((await publish([file('a', '1')])).generation).toBe(2);
  expect(await verifyImage(store, 'web')).toEqual([]);
});

test('a generation whose number JavaScript cannot tell from its neighbour is none; behind the last number nothing is published', async () => {
  await publish([file('a', '1')]);
  cpSync(join(lib, 'images/web/1.json'), join(lib, 'images/web/9007199254740993.json'));
  symlinkSync('9007199254740993.json', join(lib, 'images/web/previous'));
  expect(await store.summary('web')).toMatchObject({ generations: [1], previous: undefined });
  expect((await publish([file('a', '2')])).generation).toBe(2);
  cpSync(join(lib, 'images/web/1.json'), join(lib, 'images/web/9007199254740991.json'));
  await expect(publish([file('a', '3')])).rejects.toThrow(
    'no number is left behind generation 9007199254740991; remove ',
  );
  expect((await store.summary('web')).generations).toEqual([1, 2, 9007199254740991]);
});

test('diff tells packages and files, and not the markers', async () => {
  const nginx = { name: 'nginx', architecture: 'amd64' };
  const before = await publish(
    [file('etc/a', '1'), file('etc/gone', 'xx')],
    [{ ...nginx, version: '1.0', bytes: 100 }],
  );
  const after = await publish([file('etc/a', '22'), file('etc/new', '')], [{ ...nginx, version: '1.1', bytes: 90 }]);
  expect(renderDifference(await diffImages(store, before, after))).toEqual([
    'package nginx 1.0 -> 1.1 (-10 bytes)',
    'changed /etc/a (+1 bytes)',
    'removed /etc/gone (-2 bytes)',
    'added /etc/new (0 bytes)',
    'layers to load anew: web',
  ]);
  expect(renderDifference(await diffImages(store, before, before))).toEqual(['no difference']);
});

test('a flattened image is its layers, each where it can be unpacked', async () => {
  const manifest = await publish([file('a', '1')]);
  const path = join(lib, 'flat');
  const bytes = await flattenImage(store, manifest, path);
  expect(bytes).toBe(manifest.layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0));
  const { layers, problems } = await inspectFile(path);
  expect(problems).toEqual([]);
  expect(layers.map(({ marker }) => marker)).toEqual(manifest.layers.map(({ sha256: name }) => name));
});

test('show accounts for every byte: packages and the recipes themselves make the sum of the layers', async () => {
  const manifest = await publish(
    [file('a', 'x'.repeat(50))],
    [{ name: 'p', version: '1', architecture: 'all', bytes: 50 }],
  );
  const tables = renderManifest(manifest).map(({ rows }) => rows.map((row) => row.join(' ')));
  expect(tables[1]?.at(-1)).toMatch(/^all \d+ 60 /);
  expect(tables[2]).toEqual(['p 1 50', 'the recipes themselves  10', 'all  60']);
});

test('the bill of materials names each package once, with its package URL', async () => {
  const manifest = await publish([], [{ name: 'libstdc++6', version: '1:2~b', architecture: 'amd64', bytes: 1 }]);
  expect(renderBillOfMaterials(manifest)).toMatchObject({
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    components: [{ name: 'libstdc++6', purl: 'pkg:deb/debian/libstdc%2B%2B6@1%3A2~b?arch=amd64' }],
  });
});

test('a second build in the same cache waits for the first; a build that fails gives the lock back', async () => {
  const order: string[] = [];
  let noted: (text: string) => void = () => undefined;
  const secondWaits = new Promise<string>((resolve) => (noted = resolve));
  let begun: () => void = () => undefined;
  const firstWorks = new Promise<void>((resolve) => (begun = resolve));
  const first = withBuildLock(
    lib,
    () => undefined,
    async () => {
      begun();
      order.push(await secondWaits);
      order.push('first fails');
      throw new Error('failed');
    },
  );
  await firstWorks;
  const second = withBuildLock(
    lib,
    (event) => noted(event.kind === 'note' ? event.text : ''),
    async () => {
      order.push('second works');
    },
  );
  const both = await Promise.allSettled([first, second]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(order).toEqual([`another build is at work in ${lib}; waiting for it`, 'first fails', 'second works']);
});

test('the build lock holds between processes and namespaces, only its owner may open it, and it ends with its holder', async () => {
  const holder = (notes: string): string => `
    import { withBuildLock } from ${JSON.stringify(new URL('../../images/buildlock.io.ts', import.meta.url).href)};
    await withBuildLock(${JSON.stringify(lib)}, (event) => { console.log(event.text); process.exit(0); }, async () => { ${notes} });`;
  const inItsOwnNetwork = (script: string): string =>
    execFileSync('unshare', [
      '--user',
      '--map-root-user',
      '--net',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ]).toString();
  await withBuildLock(
    lib,
    () => undefined,
    async () => {
      expect(statSync(join(lib, '.build.lock')).mode & 0o777).toBe(0o600);
      expect(inItsOwnNetwork(holder('console.log("mine")'))).toBe(
        `another build is at work in ${lib}; waiting for it\n`,
      );
    },
  );
  expect(() => inItsOwnNetwork(holder('process.kill(process.pid, "SIGKILL")'))).toThrow();
  expect(inItsOwnNetwork(holder('console.log("mine")'))).toBe('mine\n');
});
