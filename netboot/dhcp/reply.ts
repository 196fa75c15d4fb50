// netboot/dhcp/reply.ts - what a reply to a client carries: addresses, times, settings, and what to boot.
//
// Owns: the matrix of options by kind of client. Does not own whether and with which address a client is answered
// (decide.ts) nor which boot program it gets (loaders.ts).
//
// What options 60 and 43 of an offer say steers the firmware's state machine (measured on OVMF, iPXE and a PXE ROM):
//   PXE firmware   60 = PXEClient with 43 {6: 8} ("use the file of this offer"): goes to TFTP at once; without 43 it asks
//                  port 4011 first. Some proxy-mode firmware wants exactly that, hence ProxyDHCP leaves 43 out for EFI.
//   iPXE           60 = PXEClient + siaddr + file, or 175.176 = 1: spares the 2 s wait for a ProxyDHCP offer
//   UEFI HTTP      60 = HTTPClient, the URL in 67, never 43
// Sources: RFC 2131 table 3; PXE 2.1 section 2.4.3; EDK2 PxeBcDhcp4.c, HttpBootDhcp4.c; iPXE dhcp.h. Pure.

import { type Ipv4Address, broadcastOf, netmaskOf } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type Client, isRaspberryPi } from './clients.ts';
import type { BootAnswer } from './loaders.ts';
import { BROADCAST_FLAG, type DhcpMessage, FILE_FIELD_CHARACTERS, MESSAGE_TYPES, replyTo } from './message.ts';
import { type DhcpOptions, type OptionName, OPTIONS } from './options.ts';
import { subOptions, text } from './values.ts';
import type { DhcpNode, DhcpSubnet } from './world.ts';

/** PXE discovery control, bit 3: skip boot server discovery, fetch the file that this packet names. */
const USE_THIS_FILE = 8;
/** A boot menu that only a Raspberry Pi's ROM wants to see. Source: tinkerbell/smee. */
const RASPBERRY_PI_MENU = [
  { code: 9, octets: text.encode('\0\0\x11Raspberry Pi Boot') },
  { code: 10, octets: text.encode('\0PXE') },
];
/** iPXE's no-pxedhcp: do not wait for a ProxyDHCP offer. */
const IPXE_NO_PROXY_WAIT = { code: 176, octets: Uint8Array.of(1) };

export type ReplyFacts = {
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly mac: MacAddress;
  readonly serverAddress: Ipv4Address;
  readonly subnet: DhcpSubnet;
  readonly node: DhcpNode | undefined;
  /** What rouse.yaml reserves for it, where there is no node file. */
  readonly reserved: Ipv4Address | undefined;
  readonly boot: BootAnswer;
};

/** An OFFER or ACK of a DHCP server. @param address given, or undefined for INFORM, which has one. */
export function grantReply(
  type: 'offer' | 'ack',
  facts: ReplyFacts,
  lease: { address: Ipv4Address; leaseTimeS: number } | undefined,
): DhcpMessage {
  const { request, subnet, node } = facts;
  const settings: DhcpOptions = {
    hostname: node?.name,
    domainName: subnet.domain,
    domainSearch: filled(subnet.domainSearch),
    ntpServers: filled(subnet.ntp),
    mtuBytes: subnet.mtuBytes,
    broadcastAddress: broadcastOf(subnet.network),
  };
  return withBoot(facts, {
    ...replyTo(request),
    ciaddr: type === 'ack' ? request.ciaddr : replyTo(request).ciaddr,
    yiaddr: lease?.address ?? replyTo(request).yiaddr,
    options: {
      ...onlyAsked(settings, request.options.parameterRequestList),
      ...identity(type, facts),
      subnetMask: netmaskOf(subnet.network),
      routers: filled(subnet.router === undefined ? [] : [subnet.router]),
      dnsServers: filled(subnet.dns),
      ...(lease === undefined ? {} : leaseTimes(lease.leaseTimeS)),
    },
  });
}

/** A NAK. RFC 3046 section 2.2 and RFC 6842: it echoes options 82 and 61. */
export function refusal(facts: Pick<ReplyFacts, 'request' | 'serverAddress'>, message: string): DhcpMessage {
  const { request } = facts;
  const reply = replyTo(request);
  return {
    ...reply,
    // RFC 2131 4.3.2: through a relay the client must get it as a broadcast, for its address is wrong.
    flags: reply.flags | BROADCAST_FLAG,
    options: { ...identity('nak', facts), message },
  };
}

/** ProxyDHCP: no address, no lease; only what to boot. @param discoveryControl whether option 43 {6: 8} is put in. */
export function proxyReply(type: 'offer' | 'ack', facts: ReplyFacts, discoveryControl: boolean): DhcpMessage {
  const { request } = facts;
  const reply = withBoot(facts, { ...replyTo(request), ciaddr: request.ciaddr, options: identity(type, facts) });
  if (discoveryControl) return reply;
  return { ...reply, options: { ...reply.options, vendorInformation: undefined } };
}

/** What every reply carries: its type, who answers, and what must be echoed. */
function identity(
  type: 'offer' | 'ack' | 'nak',
  { request, serverAddress }: Pick<ReplyFacts, 'request' | 'serverAddress'>,
): DhcpOptions {
  return {
    messageType: MESSAGE_TYPES[type],
    serverIdentifier: serverIdentifier(request, serverAddress),
    clientIdentifier: request.options.clientIdentifier,
    relayAgent: request.options.relayAgent,
  };
}

/** Our address, or the one that a relay stands in for us with (RFC 5107). */
export function serverIdentifier(request: DhcpMessage, serverAddress: Ipv4Address): Ipv4Address {
  const override = relaySubOption(request, 11);
  return (override === undefined ? undefined : OPTIONS.serverIdentifier.kind.decode(override)) ?? serverAddress;
}

/** One sub-option of option 82. */
export function relaySubOption({ options }: DhcpMessage, code: number): Uint8Array | undefined {
  if (options.relayAgent === undefined) return undefined;
  return subOptions.decode(options.relayAgent)?.find((one) => one.code === code)?.octets;
}

function leaseTimes(leaseTimeS: number): DhcpOptions {
  return { leaseTimeS, renewalTimeS: Math.floor(leaseTimeS / 2), rebindingTimeS: Math.floor((leaseTimeS * 7) / 8) };
}

/** Adds what the answer to "what do I boot" needs for this kind of client. */
function withBoot({ client, boot, mac, request, serverAddress }: ReplyFacts, reply: DhcpMessage): DhcpMessage {
  if (boot.kind === 'nothing') return reply;
  const name = boot.kind === 'tftp' ? boot.file : boot.url;
  const pi = client.kind === 'pxe' && isRaspberryPi(mac);
  const menu = [{ code: 6, octets: Uint8Array.of(USE_THIS_FILE) }, ...(pi ? RASPBERRY_PI_MENU : [])];
  // An all-zero UUID (a virtual machine without one) is echoed like any other; a wrong length is not.
  const machineId = request.options.clientMachineId;
  const common = {
    vendorClass: client.kind === 'http' ? 'HTTPClient' : 'PXEClient',
    clientMachineId: machineId?.length === 17 ? machineId : undefined,
    bootFile: name,
  };
  const special: DhcpOptions =
    client.kind === 'http'
      ? {}
      : client.kind === 'ipxe'
        ? { ipxe: [IPXE_NO_PROXY_WAIT] }
        : { vendorInformation: menu, tftpServerName: onlyBios(client, serverAddress) };
  return {
    ...reply,
    siaddr: serverAddress,
    file: name.length <= FILE_FIELD_CHARACTERS ? name : '',
    options: { ...reply.options, ...common, ...special },
  };
}

/** Option 66: EDK2 never reads it; old BIOS ROMs do. */
function onlyBios(client: Client, serverAddress: Ipv4Address): string | undefined {
  return client.kind === 'pxe' && client.firmware === 'bios' ? serverAddress : undefined;
}

/** The settings whose codes option 55 lists; all of them where there is no option 55. */
function onlyAsked(settings: DhcpOptions, asked: readonly number[] | undefined): DhcpOptions {
  if (asked === undefined) return settings;
  const result: Record<string, unknown> = {};
  for (const name of Object.keys(settings) as OptionName[]) {
    if (asked.includes(OPTIONS[name].code)) result[name] = settings[name];
  }
  return result;
}

function filled<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}
