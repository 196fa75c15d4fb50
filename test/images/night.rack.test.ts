// What a machine's console says at night: a card that is not there, a switch port that is dead. Nobody else can tell.
//
// A minute under emulation, for what no other boot goes through; by hand.

import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';
import { type Guest, startGuest } from './guest.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

let folder = '';
let manifest: Manifest;
let guest: Guest | undefined;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-night-'));
  const roleDirs = [join(ROOT, 'services')];
  ({ manifest } = await buildImage({ roleDirs, role: 'base', libDir: join(folder, 'lib'), cacheDir }));
});
afterEach(async () => {
  await guest?.kill();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function boot(bootif: string, devices: readonly string[] = []): Promise<Guest> {
  const store = openStore(join(folder, 'lib'));
  guest = await startGuest({
    kernel: store.kernelPath(manifest.kernel.sha256),
    initrd: manifest.layers.map((layer) => readFileSync(store.layerPath(layer))),
    devices,
    cmdline: [
      ...[`BOOTIF=${bootif}`, 'rouse.server=10.0.2.2:8080', 'rouse.boot=0123456789abcdef', 'rouse.readyTimeoutS=40'],
      `rouse.layers=${manifest.layers.map(({ sha256 }) => sha256).join(',')}`,
    ],
  });
  return guest;
}

test('a card that BOOTIF names and nobody has: which there are is said, no service starts, and the machine reboots', async () => {
  const machine = await boot('01-52-54-00-AA-BB-CC');
  await machine.sees(
    /no network card with the address 52:54:00:aa:bb:cc, which BOOTIF names; there are: eth0 \(52:54:00:77:00:01\)/,
  );
  await machine.ended();
  expect(machine.said()).toContain('started no services within 40 s; rebooting');
  expect(machine.said()).not.toContain('rouse: services');
});

test('no answer to DHCP: on which card, for how long and whether its link is up is said, and the machine reboots', async () => {
  // A second card on a wire of its own, which nobody is on.
  const machine = await boot('01-52-54-00-77-00-02', [
    ...['-netdev', 'hubport,id=dead,hubid=1'],
    ...['-device', 'virtio-net-pci,netdev=dead,mac=52:54:00:77:00:02,romfile='],
  ]);
  await machine.sees(/no answer to DHCP on eth1 \(52:54:00:77:00:02\) for 10 s; its link is up .*; all cards: eth0/);
  await machine.ended();
  expect(machine.said()).toContain('started no services within 40 s; rebooting');
});
