// Modules by class and device: an image for physical servers, booted on a machine whose network card none of the always-loaded
// modules drives. init must find the driver by the device's modalias. Firmware and microcode are Debian's real ones, of its
// component non-free-firmware.

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
  const recipe = `version: 1
extends: base
kernel: {package: linux-image-amd64, modules: metal}
archive: {components: [non-free-firmware]}
firmware: {packages: [firmware-bnx2x], required: [bnx2x], without: {r8169: no such card in this rack}}
microcode: [intel/06-1a, amd]
`;
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
    /^module bnx2 asks for firmware that is not in the image, bnx2\/.* and 4 more; add firmware-bnx2 to firmware\.packages/,
  );
  expect(notes.filter((note) => /^module (?:bnx2x|r8169) /.test(note))).toEqual([]);
  expect(manifest.layers.map(({ name }) => name).slice(0, 5)).toEqual([
    'microcode',
    'base-packages',
    'base',
    'modules',
    'firmware',
  ]);
});

test('a card that none of the loaded modules drives gets its driver by its modalias', async () => {
  const store = openStore(join(folder, 'lib'));
  guest = await startGuest({
    kernel: store.kernelPath(manifest.kernel.sha256),
    initrd: manifest.layers.map((layer) => readFileSync(store.layerPath(layer))),
    card: 'e1000',
    memoryMb: 384,
    devices: ['-machine', 'pc,i8042=off', '-device', 'qemu-xhci', '-device', 'usb-kbd'],
    // A processor for which the package has an update; a kernel that knows that it is a guest looks for none.
    cpu: 'Nehalem,stepping=5,-hypervisor',
    cmdline: [
      'BOOTIF=01-52-54-00-77-00-01',
      `rouse.layers=${manifest.layers.map(({ sha256 }) => sha256).join(',')}`,
      'rouse.console=shell',
    ],
  });
  await guest.sees(/rouse: network at \d+ ms: 10\.0\.2\.15 on eth0/);
  await guest.sees(/rouse: ready at/);
  expect(guest.said()).not.toMatch(/insmod|modprobe|cannot load/);
  // The kernel took the uncompressed archive for microcode's, and the rest behind it for a root: its marker is there, too.
  guest.type('dmesg | grep -c "microcode: sig=0x106a5"; ls /.layers | wc -l; ls -d /kernel /early_cpio; echo seen');
  const layers = manifest.layers.length;
  await guest.sees(new RegExp(`^1\\r?\\n${layers}\\r?\\n[^]*kernel: No such file[^]*^seen`, 'm'));
  expect(guest.said()).not.toMatch(/Initramfs unpacking failed/);
  // Found by the bus long after init looked for modules.
  guest.type('until grep "Name=.*Keyboard" /proc/bus/input/devices; do sleep 1; done; echo ty"ped"');
  await guest.sees(/USB Keyboard[^]*^typed/m);
});
