// An uncompressed first initrd on its way through real loaders: the kernel finds what it looks for at the very beginning, and
// init finds the markers of all layers behind it. The microcode is made up: no processor takes it.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CpioEntry } from '../../../images/cpio.ts';
import { layoutMicrocode } from '../../../images/microcode.ts';
import { openStore } from '../../../images/store.io.ts';
import { intelUpdate } from '../../images/microcode-fixture.ts';
import { buildHome, Rig, type RigOptions } from './rig.ts';

const CHAINS: { what: string; options: RigOptions }[] = [
  { what: 'iPXE of a BIOS', options: { machine: 'bios', loader: 'undionly' } },
  { what: 'PXELINUX', options: { machine: 'bios', loader: 'lpxelinux' } },
  { what: 'iPXE of UEFI', options: { machine: 'uefi-pxe', loader: 'snponly' } },
  { what: 'GRUB', options: { machine: 'uefi-pxe', loader: 'shim' } },
];

const loaders = process.getuid?.() === 0 ? describe : describe.skip;

loaders('microcode before all other layers', () => {
  let home: string;
  let rig: Rig | undefined;

  beforeAll(async () => {
    home = buildHome();
    const store = openStore(join(home, 'lib'));
    const { generation: _, ...manifest } = await store.manifest('web');
    const data = intelUpdate(0x50654, 7);
    const path = 'usr/lib/firmware/intel-ucode/06-55-04';
    const entry: CpioEntry = { kind: 'file', path, mode: 0o644, uid: 0, gid: 0, data };
    const laid = layoutMicrocode(['intel'], [{ name: 'intel-microcode', entries: [entry] }]);
    if (!laid.ok) throw new Error(laid.why);
    const files = laid.files.map((file) => file.entry);
    const layers = [await store.makeLayer('microcode', files, { compression: 'none' }), ...manifest.layers];
    await store.promote('web', (await store.publish({ ...manifest, layers })).generation);
  }, 600_000);
  afterEach(async () => {
    await rig?.take();
    rig = undefined;
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  for (const { what, options } of CHAINS) {
    test(`${what}: the kernel unpacks it and all that follows`, async () => {
      rig = new Rig(home, options);
      rig.power();
      await rig.serve();
      await rig.said('netboot', /web1: layers/);
      expect(rig.text('console')).not.toContain('Initramfs unpacking failed');
    });
  }
});
