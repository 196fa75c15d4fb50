// netboot/api/explaindhcp.ts - the DHCP part of `rouse explain`: packets as firmware would send them, and what they are answered.
//
// Owns: making up these packets, showing the answers option by option, as the wire carries them but for what only echoes the
// client (61, 82, 97). Does not own any answer (dhcp/decide.ts), the plan (explain.ts).
// To explain another kind of client, add its row to DHCP_CLIENTS.
//
// Sources of what clients ask for: EDK2 PxeBcDhcp4.c and HttpBootDhcp4.c, iPXE src/net/udp/dhcp.c; test/fixtures/captures. Pure.

import { IPV4_ANY } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type ScriptFormat, scriptOfLoader } from '../boots/formats.ts';
import { type ClientKind as HeardKind, clientOf, describeClient } from '../dhcp/clients.ts';
import { decide } from '../dhcp/decide.ts';
import { PROXY_PORT } from '../dhcp/destination.ts';
import { describeDecision } from '../dhcp/event.ts';
import { type BootAnswer, loaderFiles } from '../dhcp/loaders.ts';
import {
  BROADCAST_FLAG,
  decodeMessage,
  type DhcpMessage,
  encodeMessage,
  MESSAGE_TYPES,
  replyLimit,
  requestFrom,
} from '../dhcp/message.ts';
import { toHex } from '../dhcp/values.ts';
import type { Decision, ReplyDecision } from '../dhcp/world.ts';
import type { Lease, LeaseLookup } from '../store/leases.ts';
import { dhcpWorld, type HostAddress } from '../world.ts';
import type { ExplainFacts, Step } from './explain.ts';

/** The firmware that `--arch` may name, by option 93; `bios-ipxe` is iPXE in ROM, as QEMU and some cards have it. */
const DHCP_CLIENTS = {
  bios: { architecture: 0, kind: 'pxe' },
  'bios-ipxe': { architecture: 0, kind: 'ipxe' },
  'efi-ia32': { architecture: 6, kind: 'pxe' },
  'efi-x64': { architecture: 7, kind: 'pxe' },
  'efi-arm64': { architecture: 11, kind: 'pxe' },
  'efi-x64-http': { architecture: 16, kind: 'http' },
  'efi-arm64-http': { architecture: 19, kind: 'http' },
} as const satisfies Record<string, { architecture: number; kind: ClientKind }>;

type ClientKind = 'pxe' | 'http' | 'ipxe';

/** What each kind says that it is, and which options it asks for: it is given no setting that it does not ask for. */
const SAID = {
  pxe: {
    vendor: 'PXEClient',
    asks: [
      ...[1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97],
      ...[128, 129, 130, 131, 132, 133, 134, 135],
    ],
  },
  http: {
    vendor: 'HTTPClient',
    asks: [1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 67, 97],
  },
  ipxe: {
    vendor: 'PXEClient',
    asks: [1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203],
  },
} as const satisfies Record<ClientKind, { vendor: string; asks: readonly number[] }>;

export type ArchName = keyof typeof DHCP_CLIENTS;
export const ARCH_NAMES = Object.keys(DHCP_CLIENTS) as ArchName[];

/** The name of the firmware that a machine was heard with; undefined for one that has none here. */
export function archOf(architecture: number | undefined, heard: HeardKind | undefined): ArchName | undefined {
  const fits = ARCH_NAMES.filter((name) => DHCP_CLIENTS[name].architecture === (architecture === 9 ? 7 : architecture));
  return fits.find((name) => DHCP_CLIENTS[name].kind === heard) ?? fits[0];
}

/** What a machine of that firmware asks by DHCP until it has its script, what it is answered, and the script's language. */
export function dhcpSteps(
  facts: ExplainFacts,
  served: HostAddress,
  mac: MacAddress,
  arch: ArchName,
): { steps: Step[]; format: ScriptFormat } {
  const { site, nowMs } = facts;
  const { architecture, kind } = DHCP_CLIENTS[arch];
  const held = facts.held(served.name);
  // What a boot that went this far would have left behind: nothing is kept.
  let leases = facts.leases;
  let hasLoader = false;
  const steps: Step[] = [];
  const ask = (message: DhcpMessage, port: 67 | 4011 = 67): Decision => {
    const nowS = Math.floor(nowMs / 1000);
    const { name: interfaceName, address: serverAddress } = served;
    const loaderFetchedRecently = (): boolean => hasLoader;
    const { rung } = facts;
    const world = dhcpWorld({ site, interfaceName, serverAddress, leases, loaderFetchedRecently, rung, nowS });
    const from = { address: IPV4_ANY, port: 68 };
    const decision = decide(world, { message, port, from, isUnicast: port === PROXY_PORT, held });
    if (decision.kind === 'offer') leases = withLease(leases, decision.hold);
    if (decision.kind === 'ack') leases = withLease(leases, decision.commit);
    return decision;
  };
  /** DISCOVER and REQUEST; after a ProxyDHCP offer without option 43 that is to port 4011. @returns what is to be booted. */
  const exchange = (title: string, discover: DhcpMessage): BootAnswer | undefined => {
    const decision = ask(discover);
    steps.push(dhcpStep(title, discover, decision));
    const offer = replyOf(decision);
    if (offer === undefined) return undefined;
    // Where nothing was really offered nothing is requested.
    if (decision.kind !== 'offer') return offer.boot;
    const { yiaddr, options } = offer.message;
    const request = requestAfter(discover, offer.message);
    if (yiaddr !== IPV4_ANY) {
      steps.push(dhcpStep(`REQUEST of ${yiaddr}`, request, ask(request)));
    } else if (clientOf(discover).kind === 'pxe' && options.vendorInformation === undefined) {
      steps.push(dhcpStep(`REQUEST to port ${PROXY_PORT}`, request, ask(request, PROXY_PORT)));
    }
    return offer.boot;
  };

  const first = discoverOf(mac, architecture, kind);
  const boot = exchange(`DISCOVER of ${describeClient(clientOf(first))} on ${served.name}`, first);
  if (boot?.kind !== 'tftp' && boot?.kind !== 'http') return { steps, format: 'ipxe' };
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
  hasLoader = true;
  const second = discoverOf(mac, architecture, 'ipxe');
  exchange(`DISCOVER of the loader, ${describeClient(clientOf(second))}`, second);
  return { steps, format: 'ipxe' };
}

function dhcpStep(title: string, request: DhcpMessage, decision: Decision): Step {
  const reply = replyOf(decision);
  const lines = reply === undefined ? [] : replyLines(request, reply.message);
  return { title, answer: describeDecision(decision), lines };
}

/** The fields and options of a reply in the order of the wire, after it was made to fit what the client takes. */
function replyLines(request: DhcpMessage, reply: DhcpMessage): string[] {
  const decoded = decodeMessage(encodeMessage(reply, replyLimit(request)));
  const { yiaddr, siaddr, file, options } = decoded.ok ? decoded.message : reply;
  const { messageType: _, ...shown } = options;
  return [
    `yiaddr ${yiaddr}`,
    `siaddr ${siaddr}`,
    `file ${file}`,
    ...Object.entries(shown).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${showOption(value)}`])),
  ];
}

/** The reply that is made, or that mode: observe would have made. */
function replyOf(decision: Decision): ReplyDecision | undefined {
  const outcome = decision.kind === 'ignore' ? decision.would : decision;
  return outcome?.kind === 'offer' || outcome?.kind === 'ack' ? outcome : undefined;
}

function showOption(value: unknown): string {
  if (typeof value === 'string') return value;
  const hex = (_key: string, part: unknown): unknown => (part instanceof Uint8Array ? toHex(part) : part);
  return value instanceof Uint8Array ? toHex(value) : (JSON.stringify(value, hex) ?? '');
}

/** The leases as they are once this one is among them. */
function withLease(leases: LeaseLookup, lease: Lease | undefined): LeaseLookup {
  if (lease === undefined) return leases;
  const { address, mac } = lease;
  return {
    byAddress: (other) => (other === address ? lease : leases.byAddress(other)),
    byMac: (other) => [
      ...leases.byMac(other).filter((one) => one.address !== address),
      ...(other === mac ? [lease] : []),
    ],
  };
}

/** The DISCOVER that firmware, or the iPXE that it loaded, would send. */
function discoverOf(mac: MacAddress, architecture: number, kind: ClientKind): DhcpMessage {
  const number = String(architecture).padStart(5, '0');
  const { vendor, asks } = SAID[kind];
  return requestFrom(mac, {
    flags: BROADCAST_FLAG,
    options: {
      messageType: MESSAGE_TYPES.discover,
      maxMessageBytes: 1472,
      parameterRequestList: asks,
      vendorClass: `${vendor}:Arch:${number}:UNDI:003000`,
      clientArchitectures: [architecture],
      ...(kind === 'ipxe'
        ? {
            userClass: new TextEncoder().encode('iPXE'),
            // What the iPXE of Debian's package says of itself: HTTP, bzImage (BIOS) or EFI.
            ipxe: [0x13, architecture === 0 ? 0x18 : 0x24].map((code) => ({ code, octets: Uint8Array.of(1) })),
          }
        : {}),
    },
  });
}

/** The REQUEST of a client that takes an offer (RFC 2131 section 4.3.2, SELECTING; to port 4011 PXE 2.1 section 2.2.3). */
function requestAfter(discover: DhcpMessage, { yiaddr, options }: DhcpMessage): DhcpMessage {
  const taken = { serverIdentifier: options.serverIdentifier, requestedAddress: yiaddr };
  const said = { messageType: MESSAGE_TYPES.request, ...(yiaddr === IPV4_ANY ? {} : taken) };
  return { ...discover, options: { ...discover.options, ...said } };
}
