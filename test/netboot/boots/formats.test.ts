// What GRUB and PXELINUX are given, whole; and what every language must keep: no secret, no word of an operator's that
// becomes a command. iPXE's own text is in script.test.ts; that the loaders take it, in ../firmware/.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SCRIPT_FORMATS, scriptOfLoader, SCRIPTS } from '../../../netboot/boots/formats.ts';
import { A, B, C, IDENTITY, K, LINUX, MAC, plan, SERVER } from './plan.ts';

const WORDS = `rouse.server=10.77.0.1:8080 rouse.boot=0123456789abcdef rouse.layers=${A},${B},${C} rouse.readyTimeoutS=120 console=ttyS0`;

test('GRUB: kernel, all layers and the overlay in one initrd, from wherever GRUB itself came', () => {
  const words = `BOOTIF=01-52-54-00-77-00-01 ${WORDS}`.replaceAll(/\S+/g, "'$&'");
  expect(
    SCRIPTS.grub.boot(plan(LINUX), SERVER, IDENTITY),
  ).toBe(`echo 'rouse: web1 boots as web, image web generation 3, boot 0123456789abcdef'
if linux /kernel/${K} ${words}; then
  if initrd /layer/${A}.zst /layer/${B}.gz /boot/0123456789abcdef/overlay; then
    boot
  fi
fi
echo 'rouse: web1 could not load its boot files'
`);
});

test('PXELINUX: the same by HTTP, and a fresh file after a failure', () => {
  const http = 'http://10.77.0.1:8080';
  expect(
    SCRIPTS.pxelinux.boot(plan(LINUX), SERVER, IDENTITY),
  ).toBe(`SAY rouse: web1 boots as web, image web generation 3, boot 0123456789abcdef
DEFAULT rouse
ONERROR again
LABEL rouse
  KERNEL ${http}/kernel/${K}
  INITRD ${http}/layer/${A}.zst,${http}/layer/${B}.gz,${http}/boot/0123456789abcdef/overlay
  APPEND BOOTIF=01-52-54-00-77-00-01 ${WORDS}
TIMEOUT 100
LABEL again
  CONFIG pxelinux.cfg/01-52-54-00-77-00-01
`);
});

test('from its own disk', () => {
  expect(SCRIPTS.grub.boot(plan({ kind: 'local' }), SERVER, IDENTITY)).toBe(
    "echo 'rouse: web1 boots as web from its own disk'\nexit\n",
  );
  expect(SCRIPTS.pxelinux.boot(plan({ kind: 'local' }), SERVER, IDENTITY)).toContain('\n  LOCALBOOT 0\n');
});

test('a chain is iPXE’s: the others say what to do', () => {
  const chain = plan({ kind: 'chain', url: 'http://10.0.0.9/menu.ipxe' });
  expect(SCRIPTS.grub.boot(chain, SERVER, IDENTITY)).toBe(
    "echo 'rouse: web1 chains to http://10.0.0.9/menu.ipxe, which is for iPXE: set loader: snponly, or ipxe'\n",
  );
  expect(SCRIPTS.pxelinux.boot(chain, SERVER, IDENTITY)).toContain('set loader: undionly, or ipxe');
});

test('a refusal stays one line of text, whatever the reason', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.constantFrom(...SCRIPT_FORMATS), (why, format) => {
      const text = SCRIPTS[format].refusal(`no image\n'; reboot; ${why}`, SERVER, MAC);
      expect(text).toMatch(/^[ -~\n]*$/);
      const [first = '', second = ''] = text.split('\n');
      const said = format === 'ipxe' ? second : first;
      expect(said).toMatch(format === 'pxelinux' ? /^SAY / : /^echo /);
      // Between GRUB's single quotes nothing is special but the quote that ends them.
      if (format === 'grub') expect(said.slice(6, -1)).not.toContain("'");
      expect(text.split('\n').length).toBe({ ipxe: 8, grub: 2, pxelinux: 7 }[format]);
    }),
  );
});

test('what follows a loader: its own file and language, or iPXE’s DHCP', () => {
  const follows = (file: string) => {
    const found = scriptOfLoader(file, MAC);
    return found === undefined ? 'DHCP' : `${found.format} ${found.path}`;
  };
  expect(['shimx64.efi', 'grubx64.efi', 'lpxelinux.0', 'snponly.efi', 'undionly.kpxe'].map(follows)).toEqual([
    'grub /grub/52:54:00:77:00:01.cfg',
    'grub /grub/52:54:00:77:00:01.cfg',
    'pxelinux /pxelinux.cfg/01-52-54-00-77-00-01',
    'DHCP',
    'DHCP',
  ]);
});
