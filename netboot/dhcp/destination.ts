// netboot/dhcp/destination.ts - where a reply goes: RFC 2131 section 4.1.
//
// Owns: the address and port of a reply. Does not own which socket sends it (server.io.ts). The fourth case of the RFC,
// unicast to an address that the client cannot yet answer ARP for, needs a packet socket; broadcast reaches the same
// client, and every client measured takes it (udhcpc, dhclient, dhcpcd, EDK2, iPXE), so that is what it becomes.
// Pure.

import { type Ipv4Address, IPV4_ANY, IPV4_BROADCAST } from '../../formats/ipv4.ts';
import type { DhcpMessage } from './message.ts';

export const SERVER_PORT = 67;
export const CLIENT_PORT = 68;
export const PROXY_PORT = 4011;

export type Destination = { readonly address: Ipv4Address; readonly port: number };

/**
 * @param request what is answered.
 * @param kind of the reply: a NAK never goes to ciaddr, which the client is about to lose.
 */
export function destinationOf(request: DhcpMessage, kind: 'offer' | 'ack' | 'nak'): Destination {
  if (request.giaddr !== IPV4_ANY) return { address: request.giaddr, port: SERVER_PORT };
  if (kind !== 'nak' && request.ciaddr !== IPV4_ANY) return { address: request.ciaddr, port: CLIENT_PORT };
  return { address: IPV4_BROADCAST, port: CLIENT_PORT };
}
