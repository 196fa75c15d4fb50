// netboot/arp.ts - asking a wire who has an address, and reading everybody who answers.
//
// Owns: the frame of a question and the reading of answers. Does not own the socket (arp.io.ts). The kernel's own table, by
// which DHCP looks (dhcp/probe.ts), keeps one answer; of two holders of a virtual address both must be heard.
// Source: RFC 826; RFC 894 (Ethernet type 0x0806). Pure.

import { type Ipv4Address, parseIpv4 } from '../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../formats/mac.ts';

const ETHERNET_BYTES = 14;
const ARP_BYTES = 28;
/** Ethernet type ARP; hardware Ethernet, protocol IPv4, their lengths. */
const HEAD = [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4];
const REQUEST = [0, 1];
const REPLY = [0, 2];

/** Who has `target`? To everybody on the wire. */
export function encodeArpQuestion(own: { mac: MacAddress; address: Ipv4Address }, target: Ipv4Address): Uint8Array {
  const mac = own.mac.split(':').map((octet) => Number.parseInt(octet, 16));
  const octetsOf = (address: Ipv4Address): number[] => address.split('.').map(Number);
  return Uint8Array.from([
    ...Array.from({ length: 6 }, () => 0xff),
    ...mac,
    ...HEAD,
    ...REQUEST,
    ...mac,
    ...octetsOf(own.address),
    ...Array.from({ length: 6 }, () => 0),
    ...octetsOf(target),
  ]);
}

export type ArpAnswer = { readonly address: Ipv4Address; readonly mac: MacAddress };

/** Whose answer a frame is; undefined where it is none: a question, another protocol, cut off. Never throws. */
export function decodeArpAnswer(frame: Uint8Array): ArpAnswer | undefined {
  if (frame.length < ETHERNET_BYTES + ARP_BYTES) return undefined;
  const isAnswer = [...HEAD, ...REPLY].every((octet, index) => frame[12 + index] === octet);
  if (!isAnswer) return undefined;
  const sender = frame.subarray(22, 32);
  const mac = parseMac(Array.from(sender.subarray(0, 6), (octet) => octet.toString(16).padStart(2, '0')).join(':'));
  const address = parseIpv4(sender.subarray(6).join('.'));
  return mac === undefined || address === undefined ? undefined : { address, mac };
}
