// netboot/boots/formats.ts - the languages that loaders read a boot plan in.
//
// Owns: the table. A loader that reads another language is a row here, and where it looks for its file is a row of
// ROUTES in http/route.ts. Pure.

import { type MacAddress, macToBootif } from '../../formats/mac.ts';
import type { BootPlan } from '../site/plan.ts';
import { type LoaderName, loaderOfFile } from '../dhcp/loaders.ts';
import { grubRefusal, grubScript } from './grub.ts';
import { pxelinuxRefusal, pxelinuxScript } from './pxelinux.ts';
import { type BootIdentity, bootScript, type BootServer, refusalScript } from './script.ts';

export const SCRIPT_FORMATS = ['ipxe', 'grub', 'pxelinux'] as const;
export type ScriptFormat = (typeof SCRIPT_FORMATS)[number];

/** `boot`: what loads a plan; `refusal`: the reason on the screen, and another try later. */
export const SCRIPTS = {
  ipxe: { boot: bootScript, refusal: refusalScript },
  grub: { boot: grubScript, refusal: grubRefusal },
  pxelinux: { boot: pxelinuxScript, refusal: pxelinuxRefusal },
} satisfies Record<
  ScriptFormat,
  {
    boot: (plan: BootPlan, server: BootServer, identity: BootIdentity) => string;
    refusal: (why: string, server: BootServer, mac: MacAddress) => string;
  }
>;

/** Where a loader that is no iPXE looks for its script, and in which language it reads it. */
const OTHERS = {
  shim: { format: 'grub', path: (mac: MacAddress) => `/grub/${mac}.cfg` },
  lpxelinux: { format: 'pxelinux', path: (mac: MacAddress) => `/pxelinux.cfg/${macToBootif(mac)}` },
} as const satisfies Partial<Record<LoaderName, { format: ScriptFormat; path: (mac: MacAddress) => string }>>;

/** What follows a loader's file. @returns undefined for iPXE, which asks by DHCP. */
export function scriptOfLoader(file: string, mac: MacAddress): { format: ScriptFormat; path: string } | undefined {
  const loader = loaderOfFile(file);
  if (loader !== 'shim' && loader !== 'lpxelinux') return undefined;
  const { format, path } = OTHERS[loader];
  return { format, path: path(mac) };
}
