// netboot/journal/sightings.ts - machines that were heard on the wire, whatever became of them: the latest word of each.
//
// Owns: what is remembered of a machine's DHCP (also of those that are ignored, and of mode: observe, which never make a
// boot), and how many. Does not own boots (journal.ts), what a machine is (site/inventory.ts). In memory alone: strangers
// can make up MACs, and nothing that they bring about reaches the disk. Pure.

import type { MacAddress } from '../../formats/mac.ts';

export type Sighting = {
  readonly mac: MacAddress;
  readonly interfaceName: string;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** How many messages. */
  readonly messages: number;
  /** "efi-x64 firmware (architecture 7)": of its firmware where that was heard, else of what spoke last. */
  readonly client: string;
  /** Option 93 of its firmware. */
  readonly architecture: number | undefined;
  /** What its last DISCOVER was answered, or why not, or what mode: observe would have answered: the words of the log. */
  readonly said: string;
};

export type Heard = Pick<Sighting, 'mac' | 'interfaceName' | 'client'> & {
  readonly architecture?: number | undefined;
  readonly text: string;
  /** Whether it was a DISCOVER: the question whose answer says most. */
  readonly isAsking: boolean;
  readonly atMs: number;
};

const MOST_SIGHTINGS = 4096;

export class Sightings {
  readonly #byMac = new Map<MacAddress, Sighting>();

  put({ mac, interfaceName, client, architecture, text, isAsking, atMs }: Heard): void {
    const before = this.#byMac.get(mac);
    // The system that it boots asks without an architecture: its firmware is what is worth knowing.
    const isFirmware = architecture !== undefined || before?.architecture === undefined;
    this.#byMac.delete(mac);
    this.#byMac.set(mac, {
      mac,
      interfaceName,
      firstAtMs: before?.firstAtMs ?? atMs,
      lastAtMs: atMs,
      messages: (before?.messages ?? 0) + 1,
      client: isFirmware ? client : before.client,
      architecture: isFirmware ? architecture : before.architecture,
      said: isAsking || before === undefined ? text : before.said,
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
