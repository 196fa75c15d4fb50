// netboot/api/explaindhcp.ts - the DHCP part of `rouse explain`: packets as firmware would send them, and what they are answered.
//
// Owns: making up these packets, showing the answers option by option. Does not own any answer (dhcp/decide.ts), the plan
// (explain.ts). To explain another kind of client, add its row to DHCP_CLIENTS. Pure.

import { IPV4_ANY } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type ScriptFormat, scriptOfLoader } from '../boots/formats.ts';
import { clientOf, describeClient } from '../dhcp/clients.ts';
import { decide } from '../dhcp/decide.ts';
import { describeDecision } from '../dhcp/event.ts';
import type { Hold } from '../dhcp/foreign.ts';
import { loaderFiles } from '../dhcp/loaders.ts';
import { BROADCAST_FLAG, type DhcpMessage, MESSAGE_TYPES, requestFrom } from '../dhcp/message.ts';
import { toHex } from '../dhcp/values.ts';
import type { Decision, DhcpWorld } from '../dhcp/world.ts';
import { dhcpWorld, type HostAddress } from '../world.ts';
import type { ExplainFacts, Step } from './explain.ts';

/** The firmware that `--arch` may name, by option 93. */
const DHCP_CLIENTS = {
  bios: { architecture: 0, vendor: 'PXEClient' },
  'efi-ia32': { architecture: 6, vendor: 'PXEClient' },
  'efi-x64': { architecture: 7, vendor: 'PXEClient' },
  'efi-arm64': { architecture: 11, vendor: 'PXEClient' },
  'efi-x64-http': { architecture: 16, vendor: 'HTTPClient' },
  'efi-arm64-http': { architecture: 19, vendor: 'HTTPClient' },
} as const satisfies Record<string, { architecture: number; vendor: string }>;

export type ArchName = keyof typeof DHCP_CLIENTS;
export const ARCH_NAMES = Object.keys(DHCP_CLIENTS) as ArchName[];

/** The name of an architecture that a machine was heard with; undefined for one that has none here. */
export function archOf(architecture: number | undefined): ArchName | undefined {
  return ARCH_NAMES.find((name) => DHCP_CLIENTS[name].architecture === (architecture === 9 ? 7 : architecture));
}

/** What a machine of that firmware asks by DHCP until it has its script, what it is answered, and the script's language. */
export function dhcpSteps(
  facts: ExplainFacts,
  served: HostAddress,
  mac: MacAddress,
  arch: ArchName,
): { steps: Step[]; format: ScriptFormat } {
  const { site, leases, nowMs } = facts;
  const world = (hasLoader: boolean): DhcpWorld =>
    dhcpWorld({
      site,
      interfaceName: served.name,
      serverAddress: served.address,
      leases,
      loaderFetchedRecently: () => hasLoader,
      rung: facts.rung,
      nowS: Math.floor(nowMs / 1000),
    });
  const first = discover(mac, arch, 'firmware');
  const held = facts.held(served.name);
  const decision = ask(world(false), first, held);
  const steps: Step[] = [dhcpStep(`DISCOVER of ${describeClient(clientOf(first))} on ${served.name}`, decision)];
  const offer = offerOf(decision);
  if (offer === undefined) return { steps, format: 'ipxe' };
  const { boot } = offer;
  if (boot.kind === 'tftp' || boot.kind === 'http') {
    const file = boot.kind === 'tftp' ? boot.file : (boot.url.split('/').at(-1) ?? '');
    if (facts.loaders !== undefined && loaderFiles().includes(file)) {
      const answer = facts.loaders.has(file)
        ? `${file} is on disk`
        : `${file} is not on disk: the request will be refused`;
      steps.push({ title: boot.kind === 'tftp' ? 'TFTP' : 'HTTP', answer, lines: [] });
    }
    const own = scriptOfLoader(file, mac);
    if (own !== undefined) {
      steps.push({ title: `script of ${file}`, answer: `asked for as ${own.path}`, lines: [] });
      return { steps, format: own.format };
    }
    const second = discover(mac, arch, 'ipxe');
    steps.push(dhcpStep(`DISCOVER of the loader, ${describeClient(clientOf(second))}`, ask(world(true), second, held)));
  }
  return { steps, format: 'ipxe' };
}

function dhcpStep(title: string, decision: Decision): Step {
  const offer = offerOf(decision);
  if (offer === undefined) return { title, answer: describeDecision(decision), lines: [] };
  const { yiaddr, siaddr, file, options } = offer.message;
  const shown = Object.entries(options).flatMap(([name, value]) =>
    value === undefined || value instanceof Uint8Array ? [] : [`${name} ${showOption(value)}`],
  );
  return {
    title,
    answer: describeDecision(decision),
    lines: [`yiaddr ${yiaddr}`, `siaddr ${siaddr}`, `file ${file}`, ...shown],
  };
}

/** The offer that is made, or that mode: observe would have made. */
function offerOf(decision: Decision): Extract<Decision, { kind: 'offer' | 'ack' | 'nak' }> | undefined {
  if (decision.kind === 'offer') return decision;
  return decision.kind === 'ignore' && decision.would?.kind === 'offer' ? decision.would : undefined;
}

function showOption(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? toHex(part) : part)) ?? '';
}

function ask(world: DhcpWorld, message: DhcpMessage, held: Hold | undefined): Decision {
  return decide(world, {
    message,
    port: 67,
    from: { address: IPV4_ANY, port: 68 },
    isUnicast: false,
    held,
  });
}

/** The packet that firmware, or the iPXE that it loaded, would send. */
function discover(mac: MacAddress, arch: ArchName, who: 'firmware' | 'ipxe'): DhcpMessage {
  const { architecture, vendor } = DHCP_CLIENTS[arch];
  const number = String(architecture).padStart(5, '0');
  const isIpxe = who === 'ipxe';
  return requestFrom(mac, {
    flags: BROADCAST_FLAG,
    options: {
      messageType: MESSAGE_TYPES.discover,
      vendorClass: `${isIpxe ? 'PXEClient' : vendor}:Arch:${number}:UNDI:003000`,
      clientArchitectures: [architecture],
      ...(isIpxe
        ? {
            userClass: new TextEncoder().encode('iPXE'),
            // What the iPXE of Debian's package says of itself: HTTP, bzImage (BIOS) or EFI.
            ipxe: [0x13, architecture === 0 ? 0x18 : 0x24].map((code) => ({ code, octets: Uint8Array.of(1) })),
          }
        : {}),
    },
  });
}
