// netboot/dhcp/probe.io.ts - asks a network segment whether anybody has an address, without privileges or native code.
//
// An empty datagram to the address makes the kernel ask by ARP; /proc/net/arp then shows who answered. (Node has no raw
// sockets, so no ARP and no ping of our own.) Does not own what the answer means (probe.ts).

import type { Socket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { holderInArp } from './probe.ts';

/** A machine on the segment answers in one or two milliseconds; one whose NIC dozes takes longer. */
const LOOK_AFTER_MS = [20, 130];
/** RFC 863. */
const DISCARD_PORT = 9;

/** @param socket bound to our address on the interface. @returns who has the address, after 150 ms at most. */
export async function probeAddress(
  socket: Socket,
  address: Ipv4Address,
  interfaceName: string,
): Promise<MacAddress | undefined> {
  socket.send(new Uint8Array(), DISCARD_PORT, address, () => undefined);
  for (const waitMs of LOOK_AFTER_MS) {
    await sleep(waitMs);
    const holder = holderInArp(await readFile('/proc/net/arp', 'utf8').catch(() => ''), address, interfaceName);
    if (holder !== undefined) return holder;
  }
  return undefined;
}
