// Modules by class and device: an image for physical servers, booted on a machine whose network card none of the always-loaded
// modules drives. init must find the driver by the device's modalias.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import type { BuildEvent } from '../../images/event.ts';
import type { Manifest } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';
import { type Guest, startGuest } from './guest.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

let folder = '';
let guest: Guest | undefined;
let manifest: Manifest;
const events: BuildEvent[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-metal-'));
  mkdirSync(join(folder, 'roles', 'metal'), { recursive: true });
  const recipe = 'version: 1\nextends: base\nkernel: {package: linux-image-amd64, modules: metal}\n';
  writeFileSync(join(folder, 'roles', 'metal', 'recipe.yaml'), recipe);
  ({ manifest } = await buildImage({
    roleDirs: [join(folder, 'roles'), join(ROOT, 'services')],
    role: 'metal',
    libDir: join(folder, 'lib'),
    // A layer cache of its own: what a build says of firmware is said only when the layer is made.
    cacheDir: join(folder, 'cache'),
    onProgress: (event) => events.push(event),
  }));
}, 600_000);
afterAll(async () => {
  await guest?.kill();
  rmSync(folder, { recursive: true, force: true });
});

test('modules of every card weigh less than their budget, and firmware that is missing is named', () => {
  const modules = manifest.layers.find(({ name }) => name === 'modules');
  expect(modules?.servedBytes).toBeLessThan(8_000_000);
  const notes = events.flatMap((event) => (event.kind === 'note' ? [event.text] : []));
  expect(notes.find((note) => note.startsWith('module bnx2 '))).toMatch(
    /^module bnx2 may ask for firmware bnx2\/.* and 4 more/,
  );
});

test('a card that none of the loaded modules drives gets its driver by its modalias', async () => {
  const store = openStore(join(folder, 'lib'));
  guest = await startGuest({
    kernel: store.kernelPath(manifest.kernel.sha256),
    initrd: manifest.layers.map((layer) => readFileSync(store.layerPath(layer))),
    card: 'e1000',
    memoryMb: 384,
    cmdline: [
      'BOOTIF=01-52-54-00-77-00-01',
      `rouse.layers=${manifest.layers.map(({ sha256 }) => sha256).join(',')}`,
      'rouse.console=shell',
    ],
  });
  await guest.sees(/rouse: network at \d+ ms: 10\.0\.2\.15 on eth0/);
  await guest.sees(/rouse: ready at/);
  expect(guest.said()).not.toContain('No such file or directory');
});
