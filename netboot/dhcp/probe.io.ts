// netboot/dhcp/probe.io.ts - asks the network whether anybody has an address, without privileges or native code.
//
// On our own segment an empty datagram to the address makes the kernel ask by ARP; /proc/net/arp then shows who answered.
// Behind a relay the datagram goes to a port where nobody listens: a machine that is there says so by ICMP, which a
// connected socket is told as ECONNREFUSED. (Node has no raw sockets, so no ARP and no ping of our own.)
// Does not own what the answer means (probe.ts).

import { createSocket, type Socket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ipv4Address } from '../../formats/ipv4.ts';
import { holderInArp, type Probe } from './probe.ts';

/** A machine on the segment answers in one or two milliseconds; one whose NIC dozes takes longer. */
const LOOK_AFTER_MS = [20, 130];
const ICMP_WAIT_MS = 300;
/** RFC 863. */
const DISCARD_PORT = 9;

/** Asks our own segment. @param socket bound to our address on the interface. @returns after 150 ms at most. */
export async function probeSegment(socket: Socket, address: Ipv4Address, interfaceName: string): Promise<Probe> {
  socket.send(new Uint8Array(), DISCARD_PORT, address, () => undefined);
  for (const waitMs of LOOK_AFTER_MS) {
    await sleep(waitMs);
    const holder = holderInArp(await readFile('/proc/net/arp', 'utf8').catch(() => ''), address, interfaceName);
    if (holder !== undefined) return { kind: 'used', holder };
  }
  return { kind: 'free' };
}

/** Asks across routers. A machine whose firewall drops what it is sent is not seen. @returns after 300 ms at most. */
export function probeRouted(address: Ipv4Address): Promise<Probe> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const end = (probe: Probe): void => {
      clearTimeout(timer);
      socket.removeAllListeners('message').close();
      resolve(probe);
    };
    const timer = setTimeout(() => end({ kind: 'free' }), ICMP_WAIT_MS);
    const used = { kind: 'used', holder: undefined } as const;
    socket.once('error', (error: NodeJS.ErrnoException) =>
      end(error.code === 'ECONNREFUSED' ? used : { kind: 'free' }),
    );
    socket.once('message', () => end(used));
    socket.connect(DISCARD_PORT, address, (error?: Error) => {
      if (error === undefined || error === null) socket.send(new Uint8Array(), () => undefined);
    });
  });
}
