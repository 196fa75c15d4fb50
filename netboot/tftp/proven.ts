// netboot/tftp/proven.ts - who was seen to be where it says it is: an address that answered what was sent to it.
//
// Owns: the addresses that acknowledged a block of a transfer, and for how long that counts. Does not own transfers
// (transfer.ts), nor what is given only to such an address (boots/boots.io.ts).
//
// The sender of a request is made up in one datagram; an acknowledgement goes to a port that only the receiver of the first
// block knows (RFC 1350 section 4). Pure: the time is an argument.

import type { Ipv4Address } from '../../formats/ipv4.ts';

/** From a loader's first block to its script; whoever takes longer is sent a few words first, and asks once more. */
const PROVEN_MS = 300_000;
const MOST_ADDRESSES = 20_000;

export class ProvenAddresses {
  /** When each one answered last, the longest ago first. */
  readonly #atMs = new Map<Ipv4Address, number>();

  /** It has acknowledged a block. @param nowMs of any clock that only goes forward. */
  prove(address: Ipv4Address, nowMs: number): void {
    this.#atMs.delete(address);
    this.#atMs.set(address, nowMs);
    for (const oldest of this.#atMs.keys()) {
      if (this.#atMs.size <= MOST_ADDRESSES) break;
      this.#atMs.delete(oldest);
    }
  }

  has(address: Ipv4Address, nowMs: number): boolean {
    const atMs = this.#atMs.get(address);
    return atMs !== undefined && nowMs - atMs < PROVEN_MS;
  }
}
