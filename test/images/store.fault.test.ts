// The store under kill -9 at any moment, and a generation that is built again without cache and without network.

import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyImage } from '../../images/audit.io.ts';
import { buildImage } from '../../images/build.io.ts';
import { pruneStore } from '../../images/prune.io.ts';
import { openStore } from '../../images/store.io.ts';
import { ImageReader } from '../../netboot/site/images.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const KILLS = 12;

let folder = '';
let roles = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-storm-'));
  roles = join(folder, 'services');
  cpSync(join(ROOT, 'services'), roles, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('builds, promotions and prunes that are killed at any moment leave what nodes boot whole', async () => {
  const libDir = join(folder, 'lib');
  mkdirSync(join(roles, 'base/files/etc'), { recursive: true });
  const before = await buildImage({ roleDirs: [roles], role: 'base', libDir, cacheDir });
  let highest = before.manifest.generation;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = spawn(process.execPath, [join(ROOT, 'test/images/storm.ts'), roles, libDir, cacheDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const rounded = (): Promise<unknown> => new Promise((resolve) => child.stdout.once('data', resolve));
    await rounded();
    const startedAtMs = performance.now();
    await rounded();
    // Spread over a whole round, however long one takes here: a kill hits building, promoting and pruning alike.
    await delay(((performance.now() - startedAtMs) * kill) / KILLS);
    expect(child.exitCode, 'the builder works until it is killed').toBe(null);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    const store = openStore(libDir);
    expect(await verifyImage(store, 'base'), `after kill ${kill + 1}`).toEqual([]);
    expect((await new ImageReader(libDir).read()).get('base')).toMatchObject({ kind: 'built' });
    highest = Math.max(highest, ...(await store.summary('base')).generations);
  }
  // The storm did something, and what it left can be cleared away.
  expect(highest).toBeGreaterThan(before.manifest.generation + KILLS / 2);
  await pruneStore({ libDir, inUse: [], newest: 1, isDryRun: false, onEvent: () => undefined });
  const left = readdirSync(join(libDir, 'images'), { recursive: true, encoding: 'utf8' });
  expect(left.filter((name) => /\.(?:new|pruned)$/.test(name))).toEqual([]);
  const { generations } = await openStore(libDir).summary('base');
  expect(generations.length).toBeLessThanOrEqual(3);
  expect(left.filter((name) => name.startsWith('layers/')).length).toBeLessThanOrEqual(2 + generations.length);
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
