// images/loaders.io.ts - boot programs (iPXE, PXELINUX, shim and GRUB) taken out of Debian's packages, for TFTP and HTTP to serve.
//
// Owns: which file of which package becomes lib/loaders/NAME. Does not own: which machine gets which (netboot/dhcp/
// loaders.ts), or fetching and verifying packages (apt.io.ts). Nothing is installed on the host.
// To add a loader: a row. Source: `dpkg -c` of the packages of Debian 12; it has no iPXE for arm64.

import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import { openApt } from './apt.io.ts';
import { readFromDeb } from './deb.io.ts';
import type { OnBuildEvent } from './event.ts';
import { publishFile, readIfThere } from './files.io.ts';
import { withBuildLock } from './buildlock.io.ts';

/** Name under lib/loaders → package and path in it. */
const LOADER_FILES = {
  'undionly.kpxe': { package: 'ipxe', path: 'usr/lib/ipxe/undionly.kpxe' },
  'ipxe.pxe': { package: 'ipxe', path: 'usr/lib/ipxe/ipxe.pxe' },
  'ipxe.efi': { package: 'ipxe', path: 'boot/ipxe.efi' },
  'snponly.efi': { package: 'ipxe', path: 'usr/lib/ipxe/snponly.efi' },
  'lpxelinux.0': { package: 'pxelinux', path: 'usr/lib/PXELINUX/lpxelinux.0' },
  'ldlinux.c32': { package: 'syslinux-common', path: 'usr/lib/syslinux/modules/bios/ldlinux.c32' },
  'shimx64.efi': { package: 'shim-signed', path: 'usr/lib/shim/shimx64.efi.signed' },
  'grubx64.efi': {
    package: 'grub-efi-amd64-signed',
    path: 'usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed',
  },
} as const satisfies Record<string, { package: string; path: string }>;

export type FetchLoaders = {
  readonly libDir: string;
  readonly cacheDir: string;
  readonly onProgress: OnBuildEvent;
  /** Only those of these packages; all where it is left out. */
  readonly packages?: readonly string[] | undefined;
};

/**
 * Fills lib/loaders. Files that are there already are left: an operator may have put his own signed ones.
 *
 * @returns the names that were written.
 * @throws Fault E_ARCHIVE where the package cannot be had or has no such file.
 */
export async function fetchLoaders(wanted: FetchLoaders): Promise<string[]> {
  return withBuildLock(wanted.cacheDir, wanted.onProgress, () => fetchMissing(wanted));
}

async function fetchMissing({ libDir, cacheDir, onProgress, packages }: FetchLoaders): Promise<string[]> {
  const folder = join(libDir, 'loaders');
  const missing: [string, { package: string; path: string }][] = [];
  for (const row of Object.entries(LOADER_FILES)) {
    if (packages !== undefined && !packages.includes(row[1].package)) continue;
    if ((await readIfThere(join(folder, row[0]))) === undefined) missing.push(row);
  }
  if (missing.length === 0) return [];
  const apt = await openApt(join(cacheDir, 'apt'), 'amd64', onProgress);
  for (const wanted of new Set(missing.map(([, source]) => source.package))) {
    const found = (await apt.solve([wanted], false)).find(({ name }) => name === wanted);
    if (found === undefined)
      throw new Fault('E_ARCHIVE', { what: `cannot fetch the boot loaders`, why: `there is no package ${wanted}` });
    await apt.fetch([found]);
    const sought = missing.filter(([, source]) => source.package === wanted);
    const isSought = (path: string): boolean => sought.some(([, source]) => source.path === path);
    const entries = await readFromDeb(await apt.file(found), wanted, isSought);
    for (const [name, source] of sought) {
      const entry = entries.find(({ path }) => path === source.path);
      if (entry?.kind !== 'file') {
        throw new Fault('E_ARCHIVE', {
          what: `cannot fetch the boot loader ${name}`,
          why: `${wanted} ${found.version} has no file ${source.path}`,
        });
      }
      await publishFile(join(folder, name), entry.data);
    }
  }
  return missing.map(([name]) => name);
}
