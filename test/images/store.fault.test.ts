// The store under kill -9 at any moment, and a generation that is built again without cache and without network.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { ImageReader } from '../../netboot/site/images.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const KILLS = 16;

let folder = '';
let roles = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-storm-'));
  roles = join(folder, 'services');
  cpSync(join(ROOT, 'services'), roles, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a build, a promotion or a prune that is killed before any change of the disk leaves what nodes boot whole', async () => {
  const libDir = join(folder, 'lib');
  mkdirSync(join(roles, 'base/files/etc'), { recursive: true });
  const round = (content: number, killBefore: number) =>
    execa(
      process.execPath,
      [join(ROOT, 'test/images/storm.ts'), roles, libDir, cacheDir, String(content), String(killBefore)],
      { reject: false },
    );
  await round(0, 0);
  await round(1, 0);
  const changes = Number((await round(2, 0)).stdout);
  expect(changes).toBeGreaterThan(30);
  const store = openStore(libDir);
  let next = 3;
  let kills = 0;
  // Spread over the build; and each of the last changes, which are the prune's, where the order is what keeps a generation
  // whole. A round that finds a layer in the cache has a few changes fewer, and may end before.
  const spread = Array.from({ length: KILLS / 2 }, (_, index) => Math.ceil(((index + 1) * changes) / (KILLS / 2 + 1)));
  const last = Array.from({ length: KILLS / 2 }, (_, index) => changes - index);
  for (const kill of [...spread, ...last]) {
    const killed = await round(next, kill);
    expect(killed.signal ?? killed.exitCode, killed.stderr).toBeOneOf(['SIGKILL', 0]);
    if (killed.signal === 'SIGKILL') kills += 1;
    expect(await verifyImage(store, 'base'), `killed before change ${kill}`).toEqual([]);
    expect((await new ImageReader(libDir).read()).get('base')).toMatchObject({ kind: 'built' });
    const { current, previous, generations } = await store.summary('base');
    expect(generations).toContain(current);
    expect(generations).toContain(previous);
    // Each content comes again, so that layers are taken away, missed, and made again.
    next = (next + 1) % 5;
  }
  expect(kills).toBeGreaterThan(KILLS / 2);
  expect((await round(next, 0)).exitCode).toBe(0);
  const left = readdirSync(join(libDir, 'images'), { recursive: true, encoding: 'utf8' });
  expect(left.filter((name) => /\.(?:new|pruned)$/.test(name))).toEqual([]);
  const { generations } = await store.summary('base');
  expect(generations.length).toBeLessThanOrEqual(3);
  expect(left.filter((name) => name.startsWith('layers/')).length).toBeLessThanOrEqual(2 + generations.length);
  expect(await verifyImage(store, 'base')).toEqual([]);
});

test('a kept generation is built again from its packages, with an empty cache and no network', async () => {
  const libDir = join(folder, 'kept');
  const first = await buildImage({ roleDirs: [roles], role: 'base', libDir, cacheDir });
  // A second generation, so that the versions are not just those of the newest.
  writeFileSync(join(roles, 'base/files/etc/motd'), 'second\n');
  await buildImage({ roleDirs: [roles], role: 'base', libDir, cacheDir });
  rmSync(join(roles, 'base/files/etc/motd'));
  // Only versions, hashes and packages are left of it.
  rmSync(join(libDir, 'images/layers'), { recursive: true });
  rmSync(join(libDir, 'images/kernels'), { recursive: true });
  const rouse = [join(ROOT, 'bin/rouse.ts'), 'image', 'build', 'base', '--locked', '1', '--json'];
  const env = { ROUSE_HOME: folder, ROUSE_CACHE: join(folder, 'empty'), ROUSE_CONFIG: join(folder, 'etc') };
  mkdirSync(join(folder, 'etc'));
  cpSync(roles, join(folder, 'etc/roles'), { recursive: true });
  rmSync(join(folder, 'lib'), { recursive: true, force: true });
  cpSync(libDir, join(folder, 'lib'), { recursive: true, verbatimSymlinks: true });
  const { stdout } = await execa('unshare', ['--net', process.execPath, ...rouse], { env });
  const again = JSON.parse(stdout) as typeof first.manifest;
  expect(again.generation).toBe(3);
  expect(again.layers).toEqual(first.manifest.layers);
  expect(again.kernel).toEqual(first.manifest.kernel);
  const others = await execa('unshare', ['--net', process.execPath, ...rouse.with(3, 'web').with(5, '7')], {
    env,
    reject: false,
  });
  expect(others.stderr).toContain('rouse: there is no image web: built are: base');
});
