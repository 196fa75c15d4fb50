// netboot/dhcp/clients.ts - what kind of client is asking, read from options 60, 77, 93 and 175.
//
// Owns: the table of client architectures and the telling apart of firmware PXE, UEFI HTTP boot, iPXE and plain systems.
// Does not own which file each gets (loaders.ts). To add an architecture, add a row to ARCHITECTURES.
//
// Sources: IANA "Processor Architecture Types"; RFC 4578 2.1 with its erratum (7 and 9 swapped: both mean x64);
// iPXE src/include/ipxe/features.h (option 175). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import type { DhcpMessage } from './message.ts';
import { text } from './values.ts';

/** What a boot program is built for. */
export const FIRMWARES = [
  'bios',
  'efi-ia32',
  'efi-x64',
  'efi-arm32',
  'efi-arm64',
  'efi-riscv64',
  'efi-loongarch64',
  'uboot-arm32',
  'uboot-arm64',
] as const;
export type Firmware = (typeof FIRMWARES)[number];

type Architecture = { readonly firmware: Firmware; readonly transport: 'tftp' | 'http' };

/** Option 93's numbers. */
const ARCHITECTURES: Readonly<Record<number, Architecture>> = {
  0: { firmware: 'bios', transport: 'tftp' },
  6: { firmware: 'efi-ia32', transport: 'tftp' },
  7: { firmware: 'efi-x64', transport: 'tftp' },
  9: { firmware: 'efi-x64', transport: 'tftp' },
  10: { firmware: 'efi-arm32', transport: 'tftp' },
  11: { firmware: 'efi-arm64', transport: 'tftp' },
  15: { firmware: 'efi-ia32', transport: 'http' },
  16: { firmware: 'efi-x64', transport: 'http' },
  17: { firmware: 'efi-x64', transport: 'http' },
  18: { firmware: 'efi-arm32', transport: 'http' },
  19: { firmware: 'efi-arm64', transport: 'http' },
  20: { firmware: 'bios', transport: 'http' },
  21: { firmware: 'uboot-arm32', transport: 'tftp' },
  22: { firmware: 'uboot-arm64', transport: 'tftp' },
  27: { firmware: 'efi-riscv64', transport: 'tftp' },
  28: { firmware: 'efi-riscv64', transport: 'http' },
  39: { firmware: 'efi-loongarch64', transport: 'tftp' },
  40: { firmware: 'efi-loongarch64', transport: 'http' },
};

/** iPXE's features that matter here, by their number in option 175. */
const IPXE_FEATURES = { http: 0x13, bzImage: 0x18, efi: 0x24, menu: 0x27 } as const;
type IpxeFeature = keyof typeof IPXE_FEATURES;

export type Client =
  /** Firmware that fetches a boot program by TFTP. */
  | { readonly kind: 'pxe'; readonly firmware: Firmware | undefined; readonly architecture: number | undefined }
  /** UEFI HTTP boot. */
  | { readonly kind: 'http'; readonly firmware: Firmware | undefined; readonly architecture: number | undefined }
  /** iPXE, from a ROM or chain-loaded. */
  | {
      readonly kind: 'ipxe';
      readonly firmware: Firmware | undefined;
      readonly architecture: number | undefined;
      readonly features: readonly IpxeFeature[];
      /** Option 175's version (1.0.0 is "1.0.0"), for people. */
      readonly version: string | undefined;
    }
  /** Anything else: an operating system, a BMC, a telephone. */
  | { readonly kind: 'system' };

export type ClientKind = Client['kind'];

/** Total: whatever a client sends makes it one of the four. */
export function clientOf({ options }: DhcpMessage): Client {
  const architecture = architectureOf(options);
  const firmware = architecture === undefined ? undefined : ARCHITECTURES[architecture]?.firmware;
  const vendorClass = options.vendorClass ?? '';
  if (userClasses(options.userClass).includes('iPXE')) {
    const codes = new Set((options.ipxe ?? []).map(({ code }) => code));
    const version = options.ipxe?.find(({ code }) => code === 0xeb)?.octets;
    return {
      kind: 'ipxe',
      firmware,
      architecture,
      features: (Object.keys(IPXE_FEATURES) as IpxeFeature[]).filter((name) => codes.has(IPXE_FEATURES[name])),
      // The first octet is the length's format tag, the rest major.minor.patch.
      version: version === undefined ? undefined : Array.from(version.subarray(-3)).join('.'),
    };
  }
  if (vendorClass.startsWith('HTTPClient')) return { kind: 'http', firmware, architecture };
  if (vendorClass.startsWith('PXEClient')) return { kind: 'pxe', firmware, architecture };
  return { kind: 'system' };
}

/** The first architecture of option 93 that is known, else its first; without option 93, what option 60 says. */
function architectureOf({ clientArchitectures, vendorClass }: DhcpMessage['options']): number | undefined {
  if (clientArchitectures !== undefined) {
    return clientArchitectures.find((number) => number in ARCHITECTURES) ?? clientArchitectures[0];
  }
  const match = /^(?:PXE|HTTP)Client:Arch:(\d{5})/.exec(vendorClass ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** Option 77 as text: bare, as nearly all send it, and in the length-prefixed form of RFC 3004. */
function userClasses(octets: Uint8Array | undefined): string[] {
  if (octets === undefined) return [];
  const classes = [text.decode(octets) ?? ''];
  for (let at = 0; at < octets.length; ) {
    const length = octets[at] ?? 0;
    if (length === 0 || at + 1 + length > octets.length) break;
    classes.push(text.decode(octets.subarray(at + 1, at + 1 + length)) ?? '');
    at += 1 + length;
  }
  return classes;
}

/** "UEFI x64 firmware (architecture 7)": for the log and for explain. */
export function describeClient(client: Client): string {
  if (client.kind === 'system') return 'an operating system';
  const where = client.architecture === undefined ? '' : ` (architecture ${client.architecture})`;
  const firmware = client.firmware ?? 'unknown';
  switch (client.kind) {
    case 'pxe':
      return `${firmware} firmware${where}`;
    case 'http':
      return `${firmware} firmware by HTTP boot${where}`;
    case 'ipxe':
      return `iPXE ${client.version ?? ''} on ${firmware}${where}`.replace('  ', ' ');
  }
}

/** The Raspberry Pi's boot ROM says architecture 0 and is told by who made it. Source: tinkerbell/smee. */
const RASPBERRY_PI = ['b8:27:eb', 'dc:a6:32', 'e4:5f:01', '28:cd:c1', 'd8:3a:dd'];

export function isRaspberryPi(mac: MacAddress): boolean {
  return RASPBERRY_PI.includes(mac.slice(0, 8));
}
