// `loader: auto` on a machine that nothing is known of and whose Secure Boot is on: each unsigned iPXE is fetched and refused
// by the firmware, twice, and then comes what it trusts: shim, GRUB, Debian's kernel. The next boot begins with shim.

import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHome, Rig } from './rig.ts';

const ladder = process.getuid?.() === 0 ? describe : describe.skip;
const REFUSED = /Access Denied|Security Violation/;

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
    [...rig.text('netboot').matchAll(/tftp: \S+ (\S+\.efi) (?:complete|unconfirmed)/g)].map(([, file = '']) => file);

  test('two refusals climb a rung, and the log says why', async () => {
    rig.power();
    await rig.serve();
    for (const file of ['snponly.efi', 'snponly.efi', 'ipxe.efi', 'ipxe.efi']) {
      const before = fetched().length;
      await rig.said('console', REFUSED);
      expect(fetched().slice(before - 1)).toEqual([file]);
      await rig.cut();
      rig.power();
    }
    await rig.said('netboot', /web1: init/);
    expect(fetched().slice(4)).toEqual(['shimx64.efi', 'grubx64.efi']);
    const text = rig.text('netboot');
    expect(text).toMatch(
      /TFTP ipxe\.efi: snponly led nowhere on this machine \(the firmware refuses what is not signed/,
    );
    expect(text).toMatch(/TFTP shimx64\.efi: ipxe led nowhere on this machine/);
    expect(rig.text('console')).toMatch(/Secure boot enabled|secureboot/i);
  });

  test('what led to ready is given first from then on', async () => {
    await rig.said('netboot', /web1: ready/);
    await rig.cut();
    const before = fetched().length;
    rig.power();
    await rig.said('netboot', /web1: init[\s\S]*web1: init/);
    expect(fetched().slice(before)).toEqual(['shimx64.efi', 'grubx64.efi']);
  });
});
