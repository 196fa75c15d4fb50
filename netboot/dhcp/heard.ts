// netboot/dhcp/heard.ts - which machine has which address where another server gives them: heard, not given.
//
// Owns: what clients said when they took an address (a REQUEST is a broadcast, one to port 4011 names its sender), and how
// many are remembered. Good for telling machines apart; nobody proves it, so no secret depends on it. Pure.

import { type Ipv4Address, IPV4_ANY } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { type DhcpMessage, messageTypeOf } from './message.ts';

const MOST_HEARD = 16_384;

/** The address that a client takes or has, as its own message says. */
export function addressTaken(message: DhcpMessage): Ipv4Address | undefined {
  if (messageTypeOf(message) !== 'request') return undefined;
  return message.options.requestedAddress ?? (message.ciaddr === IPV4_ANY ? undefined : message.ciaddr);
}

/** The latest of each address. */
export class HeardAddresses {
  readonly #macs = new Map<Ipv4Address, MacAddress>();

  put(address: Ipv4Address, mac: MacAddress): void {
    this.#macs.delete(address);
    this.#macs.set(address, mac);
    const [oldest] = this.#macs.keys();
    if (this.#macs.size > MOST_HEARD && oldest !== undefined) this.#macs.delete(oldest);
  }

  macAt(address: Ipv4Address): MacAddress | undefined {
    return this.#macs.get(address);
  }
}
