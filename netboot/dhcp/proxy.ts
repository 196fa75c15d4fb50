// netboot/dhcp/proxy.ts - ProxyDHCP: what to boot, beside a DHCP server that gives the addresses.
//
// Owns: the answers of `mode: proxy` on port 67, and those of port 4011 in every mode. Does not own the reply's options
// (reply.ts) nor what is booted (loaders.ts).
//
// Port 67 answers only DISCOVERs of clients that want to boot. Firmware that finds no option 43 in the offer asks port
// 4011 by unicast; old EFI discards offers that skip that step, so EFI is sent there and a BIOS ROM is not.
// Sources: PXE 2.1 sections 2.2.2, 2.2.3, 2.4; EDK2 PxeBcDhcp4.c; measured cases B, E, F of the captures. Pure.

import { IPV4_ANY } from '../../formats/ipv4.ts';
import type { Case } from './decide.ts';
import { destinationOf, PROXY_PORT } from './destination.ts';
import type { MessageType } from './message.ts';
import { proxyReply } from './reply.ts';
import type { Decision } from './world.ts';

/** PXE boot item: type and layer, two octets each; bit 15 of the layer asks for signed credentials (BIS). */
const BOOT_ITEM = 71;

/** @param type undefined where option 53 holds a number without a meaning. */
export function decideProxy(type: MessageType | undefined, one: Case): Decision {
  const { request, facts } = one;
  const { client, boot, subnet } = facts;
  if (client.kind === 'system') return { kind: 'ignore', why: 'not-pxe' };
  if (boot.kind === 'nothing') return { kind: 'ignore', why: 'no-boot', detail: boot.why };
  const isBootServerRequest = request.port === PROXY_PORT;
  const expected = isBootServerRequest ? ['request', 'inform', 'discover'] : ['discover'];
  if (type === undefined || !expected.includes(type)) return { kind: 'ignore', why: 'not-pxe', detail: type };

  const isEfi = client.kind === 'pxe' && client.firmware !== 'bios';
  const kind = isBootServerRequest ? 'ack' : 'offer';
  const reply = proxyReply(kind, facts, isBootServerRequest || !isEfi);
  const item = request.message.options.vendorInformation?.find(({ code }) => code === BOOT_ITEM);
  const withItem =
    isBootServerRequest && item?.octets.length === 4 && ((item.octets[2] ?? 0) & 0x80) === 0
      ? { ...reply, options: { ...reply.options, vendorInformation: [item] } }
      : reply;
  const decision: Decision = {
    kind,
    why: 'proxy-boot',
    subnet: subnet.name,
    message: withItem,
    // The boot server protocol is plain unicast: back to where it came from, which is port 4011 or 68.
    to: isBootServerRequest && request.from.address !== IPV4_ANY ? request.from : destinationOf(request.message, kind),
    isNewAddress: false,
    boot,
  };
  return subnet.mode === 'observe'
    ? { kind: 'ignore', why: 'observe', detail: subnet.name, would: decision }
    : decision;
}
