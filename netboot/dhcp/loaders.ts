// netboot/dhcp/loaders.ts - which boot program, or which script, a client is pointed at, and why.
//
// Owns: the table of loaders by firmware, the order that `loader: auto` tries, and the breaking of iPXE's loop. Does not
// own the options that carry the answer (reply.ts), the files (tftp/, http/) or the script's text.
// To add a loader, add a row to LOADERS and, if `auto` shall try it, to LADDER.
//
// The loop: iPXE gets its address by DHCP like the firmware that fetched it. Pointed at itself it would fetch itself for
// ever. QEMU's BIOS ROM (and many a NIC's) is iPXE too, so being iPXE does not prove having been chain-loaded.
// Sources: ipxe.org/howto/chainloading; tinkerbell/smee's order of tests. Pure.

import type { MacAddress } from '../../formats/mac.ts';
import type { ScriptFormat } from '../boots/formats.ts';
import type { Client, Firmware } from './clients.ts';

type Loader = {
  /** Its file for each firmware that it exists for; the names are those of Debian's packages. */
  readonly files: Readonly<Partial<Record<Firmware, string>>>;
  /** What it fetches next to itself before it asks for its script: shim its GRUB, PXELINUX its core. */
  readonly companions: readonly string[];
  /** What it reads its script in. `ipxe` asks again by DHCP, the others for files of fixed names (boots/formats.ts). */
  readonly speaks: ScriptFormat;
  /** What usually keeps it from going on once it was fetched. */
  readonly inVain: string;
};

const LOADERS = {
  undionly: {
    files: { bios: 'undionly.kpxe' },
    companions: [],
    speaks: 'ipxe',
    inVain: "the card's own PXE driver fails under iPXE",
  },
  ipxe: {
    files: { bios: 'ipxe.pxe', 'efi-x64': 'ipxe.efi', 'efi-ia32': 'ipxe-ia32.efi', 'efi-arm64': 'ipxe-arm64.efi' },
    companions: [],
    speaks: 'ipxe',
    inVain: 'iPXE has no driver for this card, or the firmware refuses what is not signed (Secure Boot)',
  },
  snponly: {
    files: { 'efi-x64': 'snponly.efi', 'efi-ia32': 'snponly-ia32.efi', 'efi-arm64': 'snponly-arm64.efi' },
    companions: [],
    speaks: 'ipxe',
    inVain: 'the firmware refuses what is not signed (Secure Boot), or its network driver fails under iPXE',
  },
  lpxelinux: {
    files: { bios: 'lpxelinux.0' },
    companions: ['ldlinux.c32'],
    speaks: 'pxelinux',
    inVain: "the card's own PXE driver fails under PXELINUX, or UDP 69 is blocked for its configuration",
  },
  shim: {
    files: { 'efi-x64': 'shimx64.efi', 'efi-arm64': 'shimaa64.efi' },
    companions: ['grubx64.efi', 'grubaa64.efi'],
    speaks: 'grub',
    inVain: 'the firmware trusts neither shim nor its GRUB, or UDP 69 is blocked for its configuration',
  },
} as const satisfies Record<string, Loader>;

export type LoaderName = keyof typeof LOADERS;
/** What a profile or node file may say. */
export const LOADER_SETTINGS = ['auto', ...(Object.keys(LOADERS) as LoaderName[])] as const;
export type LoaderSetting = (typeof LOADER_SETTINGS)[number];

/** What `auto` gives: the first; a client that fetched it in vain gets the next. */
const LADDER: Readonly<Partial<Record<Firmware, readonly LoaderName[]>>> = {
  bios: ['undionly', 'ipxe', 'lpxelinux'],
  'efi-x64': ['snponly', 'ipxe', 'shim'],
  'efi-ia32': ['snponly', 'ipxe'],
  'efi-arm64': ['snponly', 'ipxe', 'shim'],
};

/** What a machine may boot, as the site says. */
export type BootPolicy =
  | {
      readonly kind: 'boot';
      readonly loader: LoaderSetting;
      /** "http://10.77.0.1:8080", without a final slash. */
      readonly httpBase: string;
      /** The rung of the ladder to stand on, counted on past its end; 0 where nothing is known (journal/attempts.ts). */
      readonly rung?: number;
    }
  /** An address but nothing to boot; the clause says why. */
  | { readonly kind: 'none'; readonly reason: string };

export type BootAnswer =
  /** A boot program by TFTP from the server that answers. */
  | { readonly kind: 'tftp'; readonly file: string; readonly why: string }
  /** An iPXE script by HTTP. */
  | { readonly kind: 'script'; readonly url: string; readonly why: string }
  /** A boot program by HTTP, for UEFI HTTP boot. */
  | { readonly kind: 'http'; readonly url: string; readonly why: string }
  | { readonly kind: 'nothing'; readonly why: string };

/** Where a machine's script is, its MAC with dashes: iPXE writes colons in a path as %3A. ARCHITECTURE.md, "A boot, in protocol order". */
export function scriptUrl(httpBase: string, mac: MacAddress): string {
  return `${httpBase}/ipxe/${mac.replaceAll(':', '-')}`;
}

/** Where UEFI HTTP boot finds a loader's file. */
function loaderUrl(httpBase: string, file: string): string {
  return `${httpBase}/loader/${file}`;
}

/** Every file name that a client may be told to fetch: what TFTP and HTTP have to have. */
export function loaderFiles(): string[] {
  return [...new Set(Object.values(LOADERS).flatMap(filesOf))].sort();
}

/** The loader that a file belongs to, its companions included. */
export function loaderOfFile(file: string): LoaderName | undefined {
  const names = Object.keys(LOADERS) as LoaderName[];
  return names.find((name) => filesOf(LOADERS[name]).includes(file));
}

function filesOf({ files, companions }: Loader): string[] {
  return [...Object.values(files), ...companions];
}

/** The language that a loader reads its script in. */
export function languageOf(loader: LoaderName): ScriptFormat {
  return LOADERS[loader].speaks;
}

/** Whether a loader gets its address and its script by DHCP, as iPXE does; the others ask for files by fixed names. */
export function asksAgainByDhcp(loader: LoaderName): boolean {
  return languageOf(loader) === 'ipxe';
}

/** On which rung of its ladder a loader stands: on the same for every firmware. */
export function rungOfLoader(loader: LoaderName): number {
  const rungs = Object.values(LADDER).map((ladder) => ladder.indexOf(loader));
  return Math.max(0, ...rungs);
}

/**
 * @param loaderFetched whether TFTP gave this machine a loader just now, so that an iPXE that asks is the one it fetched.
 */
export function chooseBoot(policy: BootPolicy, client: Client, mac: MacAddress, loaderFetched: boolean): BootAnswer {
  if (policy.kind === 'none') return { kind: 'nothing', why: policy.reason };
  if (client.kind === 'system') return { kind: 'nothing', why: 'an operating system needs no boot program' };
  const script = (why: string): BootAnswer => ({ kind: 'script', url: scriptUrl(policy.httpBase, mac), why });
  const { firmware } = client;
  const found = firmware === undefined ? undefined : loaderFor(policy.loader, firmware, policy.rung ?? 0);

  if (client.kind === 'ipxe') {
    if (policy.loader === 'auto') {
      const capable = client.features.includes('http') && (firmware !== 'bios' || client.features.includes('bzImage'));
      if (capable) return script('iPXE that can fetch by HTTP and boot Linux gets the script');
      if (loaderFetched) return script('the iPXE that it was given gets the script, whatever it says it can do');
    } else if (loaderFetched && found !== undefined && asksAgainByDhcp(found.loader)) {
      return script(`it has fetched ${found.file}, so this is the iPXE that it was given, which gets the script`);
    }
    if (found === undefined) return script('there is no loader for this firmware, so its own iPXE gets the script');
    return { kind: 'tftp', file: found.file, why: `${found.why}; this iPXE is in ROM` };
  }
  if (found === undefined) {
    const name = firmware ?? `architecture ${client.architecture ?? 'unknown'}`;
    return { kind: 'nothing', why: `there is no loader for ${name}` };
  }
  if (client.kind === 'http') return { kind: 'http', url: loaderUrl(policy.httpBase, found.file), why: found.why };
  return { kind: 'tftp', file: found.file, why: found.why };
}

function loaderFor(
  setting: LoaderSetting,
  firmware: Firmware,
  rung: number,
): { loader: LoaderName; file: string; why: string } | undefined {
  const ladder = LADDER[firmware] ?? [];
  const step = ladder.length === 0 ? 0 : rung % ladder.length;
  const auto = ladder[step];
  if (setting !== 'auto') {
    const file = fileOf(setting, firmware);
    if (file !== undefined) return { loader: setting, file, why: `loader: ${setting}` };
  }
  if (auto === undefined) return undefined;
  const file = fileOf(auto, firmware);
  if (file === undefined) return undefined;
  const misfit = setting === 'auto' ? '' : `loader: ${setting} does not exist for ${firmware}; `;
  const before = ladder[step - 1];
  const why =
    before === undefined
      ? `${auto} is what ${firmware} takes first`
      : `${before} led nowhere on this machine (${LOADERS[before].inVain}), so ${auto} is tried`;
  return { loader: auto, file, why: `${misfit}${why}` };
}

function fileOf(loader: LoaderName, firmware: Firmware): string | undefined {
  const { files }: Loader = LOADERS[loader];
  return files[firmware];
}

/** After this long an iPXE that asks is taken for the ROM again: slow firmware asks some 10 s after the transfer. */
export const LOADER_MEMORY_S = 120;

/**
 * Remembers which machines TFTP has just given a loader: `loaderFetchedRecently` of DhcpWorld.
 *
 * A fetched script ends the memory, so that a machine that reboots at once goes through its loader again.
 */
export class LoaderMemory {
  readonly #fetchedAtS = new Map<MacAddress, number>();

  loaderFetched(mac: MacAddress, nowS: number): void {
    for (const [other, atS] of this.#fetchedAtS) if (nowS - atS > LOADER_MEMORY_S) this.#fetchedAtS.delete(other);
    this.#fetchedAtS.set(mac, nowS);
  }

  scriptFetched(mac: MacAddress): void {
    this.#fetchedAtS.delete(mac);
  }

  fetchedRecently(mac: MacAddress, nowS: number): boolean {
    const atS = this.#fetchedAtS.get(mac);
    return atS !== undefined && nowS - atS <= LOADER_MEMORY_S;
  }
}
