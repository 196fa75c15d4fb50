// netboot/ndp.ts - sparing iPXE its wait for an IPv6 router: router solicitations in, an empty advertisement out.
//
// Owns: the two ICMPv6 messages and the decision. Does not own: the raw socket (ndp.io.ts).
//
// iPXE configures IPv4 and IPv6 side by side and goes on only when both have ended; where no IPv6 router answers, its
// solicitations time out after some 16 s, in the network card's ROM and again in the loader that it fetched. An advertisement
// with a router lifetime of 0 and without prefixes says "I am no router" and ends that wait at once. It is sent to the
// asking machine alone, and only while that machine is being booted, so that nobody else on the network hears of it.
//
// Sources: RFC 4861 sections 4.1, 4.2, 4.6.1, 6.1.1, 6.2.6; iPXE src/net/ndp.c, src/net/ipv6.c. Pure.

import { type MacAddress, macFromOctets } from '../formats/mac.ts';

const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const SOURCE_LINK_LAYER_ADDRESS = 1;
const SOLICITATION_HEADER_BYTES = 8;
const ADVERTISEMENT_BYTES = 16;

export type Solicitation =
  | { readonly ok: true; readonly mac: MacAddress }
  | { readonly ok: false; readonly why: string };

/**
 * Who asks for a router.
 *
 * @param octets the ICMPv6 message from its type on; the kernel has checked its sum.
 * @returns not ok for anything that RFC 4861 6.1.1 discards, and for a solicitation that does not say who sent it.
 */
export function decodeSolicitation(octets: Uint8Array): Solicitation {
  if (octets.length < SOLICITATION_HEADER_BYTES) return { ok: false, why: 'is shorter than its header' };
  if (octets[0] !== ROUTER_SOLICITATION || octets[1] !== 0) return { ok: false, why: 'is no router solicitation' };
  let offset = SOLICITATION_HEADER_BYTES;
  while (offset < octets.length) {
    const lengthBytes = (octets[offset + 1] ?? 0) * 8;
    if (lengthBytes === 0 || offset + lengthBytes > octets.length)
      return { ok: false, why: 'has an option of an impossible length' };
    if (octets[offset] === SOURCE_LINK_LAYER_ADDRESS && lengthBytes === 8) {
      const mac = macFromOctets(octets.subarray(offset + 2, offset + 8));
      return mac === undefined ? { ok: false, why: 'names no unicast hardware address' } : { ok: true, mac };
    }
    offset += lengthBytes;
  }
  return { ok: false, why: 'does not say who sent it' };
}

/** "I am no router, and have nothing to say about this network": all fields 0. The kernel fills in the sum. */
export function encodeNoRouter(): Uint8Array {
  const octets = new Uint8Array(ADVERTISEMENT_BYTES);
  octets[0] = ROUTER_ADVERTISEMENT;
  return octets;
}

/** Whether a solicitation is answered, and why. @param loading whether the machine is between its first DHCP and its kernel. */
export function decideSolicitation(
  loading: (mac: MacAddress) => boolean,
  octets: Uint8Array,
): { readonly kind: 'answer' | 'ignore'; readonly why: string } {
  const decoded = decodeSolicitation(octets);
  if (!decoded.ok) return { kind: 'ignore', why: `the solicitation ${decoded.why}` };
  return loading(decoded.mac)
    ? { kind: 'answer', why: `${decoded.mac} is loading: its loader need not wait for an IPv6 router` }
    : { kind: 'ignore', why: `${decoded.mac} is not being booted from here` };
}
