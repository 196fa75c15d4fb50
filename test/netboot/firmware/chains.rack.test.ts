// Real firmware and real loaders, one after the other, each from power-on to the first word of init on a real image: what
// the matrix of dhcp/reply.ts, the table of dhcp/loaders.ts and the languages of boots/formats.ts claim.

import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildHome, Rig, type RigOptions } from './rig.ts';

const chains = process.getuid?.() === 0 ? describe : describe.skip;

/** What the boot server says on the way, in this order, beside DHCP; the last word is always init's. */
const CHAINS: { what: string; options: RigOptions; steps: RegExp[] }[] = [
  {
    what: 'SeaBIOS and the iPXE ROM, straight to the script',
    options: { machine: 'bios', loader: 'auto' },
    steps: [/\/ipxe\/52-54-00-77-00-01: iPXE that can fetch by HTTP/],
  },
  {
    what: 'the ROM, lpxelinux, its configuration by TFTP and the rest by HTTP',
    options: { machine: 'bios', loader: 'lpxelinux' },
    steps: [/lpxelinux\.0 complete/, /ldlinux\.c32 complete/, /pxelinux\.cfg\/01-52-54-00-77-00-01 complete/],
  },
  {
    what: 'OVMF by PXE, snponly, iPXE',
    options: { machine: 'uefi-pxe', loader: 'snponly' },
    steps: [/TFTP snponly\.efi: loader: snponly$/m, /snponly\.efi complete/],
  },
  {
    what: 'OVMF by PXE, shim, GRUB, its configuration',
    options: { machine: 'uefi-pxe', loader: 'shim' },
    steps: [/shimx64\.efi complete/, /grubx64\.efi complete/, /grub\/grub\.cfg complete/, /grub\/52.*\.cfg complete/],
  },
  {
    what: 'OVMF by HTTP boot, snponly, iPXE',
    options: { machine: 'uefi-http', loader: 'snponly' },
    steps: [/http:\/\/10\.77\.0\.1:8080\/loader\/snponly\.efi: loader: snponly$/m, /http: .* snponly\.efi complete/],
  },
  {
    what: 'ProxyDHCP beside dnsmasq: OVMF by PXE, snponly, iPXE',
    options: { machine: 'uefi-pxe', loader: 'snponly', mode: 'proxy' },
    steps: [/OFFER 0\.0\.0\.0.*TFTP snponly\.efi/, /ACK .*TFTP snponly\.efi/, /snponly\.efi complete/],
  },
  {
    what: 'ProxyDHCP beside dnsmasq: the iPXE ROM of a BIOS, undionly, iPXE',
    options: { machine: 'bios', loader: 'undionly', mode: 'proxy' },
    steps: [/OFFER 0\.0\.0\.0.*TFTP undionly\.kpxe/, /undionly\.kpxe complete/],
  },
];

/** Loaders that the test supplies, as an operator does: Debian 12 has none for arm64. They are fetched, and no more. */
const ARM64 = [
  {
    what: 'AAVMF (arm64) fetches a loader by PXE',
    machine: 'arm64-pxe',
    fetched: /tftp: .* snponly-arm64\.efi complete/,
  },
  {
    what: 'AAVMF (arm64) fetches a loader by HTTP boot',
    machine: 'arm64-http',
    fetched: /http: .* snponly-arm64\.efi complete/,
  },
] as const;

chains('from power-on to init', () => {
  let home: string;
  let rig: Rig | undefined;

  beforeAll(() => {
    home = buildHome();
  }, 600_000);
  afterEach(async () => {
    await rig?.take();
    rig = undefined;
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  for (const { what, options, steps } of CHAINS) {
    test(what, async () => {
      rig = new Rig(home, options);
      if (options.mode === 'proxy') rig.otherDhcp();
      rig.power();
      await rig.serve();
      for (const step of steps) await rig.said('netboot', step);
      await rig.said('netboot', /web1: init/);
      expect(rig.text('console')).toContain('Linux version');
      const places = steps.map((step) => rig?.text('netboot').search(step) ?? -1);
      expect(places).toEqual([...places].sort((a, b) => a - b));
    });
  }

  for (const { what, machine, fetched } of ARM64) {
    test(what, async () => {
      const loader = 'no program '.repeat(50_000);
      rig = new Rig(undefined, { machine, loader: 'auto', loaders: { 'snponly-arm64.efi': loader } });
      rig.power();
      await rig.serve();
      await rig.said('netboot', fetched);
      expect(fetched.exec(rig.text('netboot'))).not.toBeNull();
      expect(rig.text('netboot')).toContain(`snponly-arm64.efi complete, ${loader.length} bytes`);
    });
  }
});
