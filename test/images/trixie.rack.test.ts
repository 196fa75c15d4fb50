// An image of Debian 13, built on whatever Debian this is: other suites of the host's own mirror, a kernel whose modules are
// compressed, and a guest that comes up with it.
//
// Among the long ones because it fetches another suite's lists and packages.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { type Guest, startGuest } from './guest.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

let folder = '';
let guest: Guest | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-trixie-'));
  mkdirSync(join(folder, 'roles/trixie'), { recursive: true });
  const recipe = 'version: 1\nextends: base\narchive: {suites: [trixie, trixie-updates, trixie-security]}\n';
  writeFileSync(join(folder, 'roles/trixie/recipe.yaml'), recipe);
});
afterAll(async () => {
  await guest?.kill();
  rmSync(folder, { recursive: true, force: true });
});

test('the base role of Debian 13 is built and boots', async () => {
  const libDir = join(folder, 'lib');
  const roleDirs = [join(folder, 'roles'), join(ROOT, 'services')];
  const { manifest } = await buildImage({ roleDirs, role: 'trixie', libDir, cacheDir });
  const store = openStore(libDir);
  expect(await verifyImage(store, 'trixie')).toEqual([]);
  expect(manifest.kernel.release).toContain('deb13');
  guest = await startGuest({
    kernel: store.kernelPath(manifest.kernel.sha256),
    initrd: manifest.layers.map((layer) => readFileSync(store.layerPath(layer))),
    cmdline: [
      'BOOTIF=01-52-54-00-77-00-01',
      `rouse.layers=${manifest.layers.map(({ sha256 }) => sha256).join(',')}`,
      'rouse.console=shell',
    ],
  });
  await guest.sees(/rouse: network at \d+ ms: 10\.0\.2\.15 on eth0/);
  await guest.sees(/rouse: ready at/);
});
