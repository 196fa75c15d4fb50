// `loader: auto` on a machine that nothing is known of and whose Secure Boot is on: each unsigned iPXE is fetched and refused
// by the firmware, by PXE and then by HTTP boot, and after that comes what it trusts: shim, GRUB, Debian's kernel. The next
// boot begins with shim.

import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHome, Rig } from './rig.ts';

const ladder = process.getuid?.() === 0 ? describe : describe.skip;
/** OVMF has tried PXE, then HTTP boot, and goes on to what is not the network. */
const GAVE_UP = /failed to load Boot\d+ "UEFI HTTPv4.*Access Denied/;

ladder('loader: auto under Secure Boot', () => {
  let home: string;
  let rig: Rig;

  beforeAll(() => {
    home = buildHome();
    rig = new Rig(home, { machine: 'uefi-secure', loader: 'auto' });
  }, 600_000);
  afterAll(async () => {
    await rig.take();
    rmSync(home, { recursive: true, force: true });
  });

  const fetched = (): string[] =>
    [...rig.text('netboot').matchAll(/((?:tftp|http): )\S+ (\S+\.efi) (?:complete|unconfirmed)/g)].map(
      ([, by = '', file = '']) => by + file,
    );

  test('two refusals climb a rung, and the log says why', async () => {
    rig.power();
    await rig.serve();
    for (const file of ['snponly.efi', 'ipxe.efi']) {
      await rig.said('console', GAVE_UP);
      expect(fetched().slice(-2)).toEqual([`tftp: ${file}`, `http: ${file}`]);
      await rig.cut();
      rig.power();
    }
    await rig.said('netboot', /web1: init/);
    expect(fetched().slice(4)).toEqual(['tftp: shimx64.efi', 'tftp: grubx64.efi']);
    const text = rig.text('netboot');
    expect(text).toMatch(
      /TFTP ipxe\.efi: snponly led nowhere on this machine \(the firmware refuses what is not signed/,
    );
    expect(text).toMatch(/TFTP shimx64\.efi: ipxe led nowhere on this machine/);
    expect(rig.text('console')).toMatch(/Secure boot enabled|secureboot: Secure boot enabled/i);
  });

  test('what led to ready is given first from then on', async () => {
    await rig.said('netboot', /web1: ready/);
    await rig.cut();
    const before = fetched().length;
    rig.power();
    await rig.said('netboot', /web1: init[\s\S]*web1: init/);
    expect(fetched().slice(before)).toEqual(['tftp: shimx64.efi', 'tftp: grubx64.efi']);
  });
});
