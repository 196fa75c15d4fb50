// netboot/boots/formats.ts - the languages that loaders read a boot plan in.
//
// Owns: the table. Another language is a row here and one of ROUTES in http/route.ts, where its files are asked for.
// Does not own: which language a loader reads (dhcp/loaders.ts). Pure.

import { type MacAddress, macToBootif } from '../../formats/mac.ts';
import type { BootPlan } from '../site/plan.ts';
import { languageOf, loaderOfFile } from '../dhcp/loaders.ts';
import { grubRefusal, grubScript } from './grub.ts';
import { pxelinuxRefusal, pxelinuxScript } from './pxelinux.ts';
import { type BootIdentity, bootScript, type BootServer, refusalScript } from './script.ts';

export const SCRIPT_FORMATS = ['ipxe', 'grub', 'pxelinux'] as const;
export type ScriptFormat = (typeof SCRIPT_FORMATS)[number];

/** `boot`: what loads a plan; `refusal`: the reason on the screen, and another try later; `path`: where a loader looks for it. */
export const SCRIPTS = {
  ipxe: { boot: bootScript, refusal: refusalScript, path: 'as DHCP says' },
  grub: { boot: grubScript, refusal: grubRefusal, path: (mac) => `/grub/${mac}.cfg` },
  pxelinux: { boot: pxelinuxScript, refusal: pxelinuxRefusal, path: (mac) => `/pxelinux.cfg/${macToBootif(mac)}` },
} satisfies Record<
  ScriptFormat,
  {
    boot: (plan: BootPlan, server: BootServer, identity: BootIdentity) => string;
    refusal: (why: string, server: BootServer, mac: MacAddress) => string;
    path: ((mac: MacAddress) => string) | 'as DHCP says';
  }
>;

/** What follows a loader's file. @returns undefined for iPXE, which asks by DHCP. */
export function scriptOfLoader(file: string, mac: MacAddress): { format: ScriptFormat; path: string } | undefined {
  const loader = loaderOfFile(file);
  if (loader === undefined) return undefined;
  const format = languageOf(loader);
  const { path } = SCRIPTS[format];
  return path === 'as DHCP says' ? undefined : { format, path: path(mac) };
}
