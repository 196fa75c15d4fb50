// netboot/journal/sightings.ts - machines that were heard on the wire, whatever became of them: the latest word of each.
//
// Owns: what is remembered of a machine's DHCP (also of those that are ignored, and of mode: observe, which never make a
// boot), and how many. Does not own boots (journal.ts), what a machine is (site/inventory.ts). In memory alone: strangers
// can make up MACs, and nothing that they bring about reaches the disk. Pure.

import type { MacAddress } from '../../formats/mac.ts';
import type { ClientKind } from '../dhcp/clients.ts';
import type { DhcpEvent } from '../dhcp/event.ts';

export type Sighting = {
  readonly mac: MacAddress;
  readonly interfaceName: string;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** How many messages. */
  readonly messages: number;
  /** "efi-x64 firmware (architecture 7)": of its firmware where that was heard, else of what spoke last. */
  readonly client: string;
  /** What `client` is: iPXE where it is in ROM, for another firmware would have spoken before it. */
  readonly clientKind: ClientKind;
  /** Option 93 of its firmware. */
  readonly architecture: number | undefined;
  /** What its last DISCOVER was answered, or why not, or what mode: observe would have answered: the words of the log. */
  readonly said: string;
};

/** What of a DHCP message is remembered. Its words are asked for only where they are kept: wording takes longer than deciding. */
export type Heard = Pick<DhcpEvent, 'interfaceName' | 'architecture' | 'clientKind' | 'client' | 'text' | 'type'>;

const MOST_SIGHTINGS = 4096;

/** Firmware is what is worth knowing; iPXE is that only where nothing spoke before it, for then it is in ROM. */
const RANK = { system: 0, ipxe: 1, pxe: 2, http: 2 } as const satisfies Record<ClientKind, number>;

export class Sightings {
  readonly #byMac = new Map<MacAddress, Sighting>();

  put(mac: MacAddress, heard: Heard, atMs: number): void {
    const before = this.#byMac.get(mac);
    const { interfaceName, architecture, clientKind = 'system', type } = heard;
    const saysMore = before === undefined || RANK[clientKind] >= RANK[before.clientKind];
    this.#byMac.delete(mac);
    this.#byMac.set(mac, {
      mac,
      interfaceName,
      firstAtMs: before?.firstAtMs ?? atMs,
      lastAtMs: atMs,
      messages: (before?.messages ?? 0) + 1,
      ...(saysMore
        ? { client: heard.client ?? '', clientKind, architecture }
        : { client: before.client, clientKind: before.clientKind, architecture: before.architecture }),
      // A DISCOVER is the question whose answer says most.
      said: type === 'discover' || before === undefined ? heard.text : before.said,
    });
    if (this.#byMac.size <= MOST_SIGHTINGS) return;
    const [oldest] = this.#byMac.keys();
    if (oldest !== undefined) this.#byMac.delete(oldest);
  }

  of(mac: MacAddress): Sighting | undefined {
    return this.#byMac.get(mac);
  }

  /** The one heard last comes first. */
  all(): Sighting[] {
    return [...this.#byMac.values()].reverse();
  }
}
