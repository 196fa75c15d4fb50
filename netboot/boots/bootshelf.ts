// netboot/boots/bootshelf.ts - the boots that machines may still load, report or be switched to, in memory.
//
// Owns: how many are kept of each machine, and which is its latest. Does not own them on disk (store.worker.io.ts). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import type { StoredBoot } from '../store/records.ts';

/** How many boots of one machine stay reachable: what it runs, what it is loading, and one that a slow reader still loads. */
const BOOTS_PER_MACHINE = 3;

/** The boots that machines may still load or report. */
export class BootShelf {
  readonly byId = new Map<string, StoredBoot>();
  readonly #byMac = new Map<MacAddress, string[]>();

  constructor(boots: Iterable<StoredBoot>) {
    for (const boot of boots) this.keep(boot);
  }

  /** Puts a boot in, or a new state of one that is in. */
  keep(boot: StoredBoot): void {
    const isKnown = this.byId.has(boot.id);
    this.byId.set(boot.id, boot);
    if (isKnown) return;
    const ids = [...(this.#byMac.get(boot.mac) ?? []), boot.id];
    for (const id of ids.splice(0, Math.max(0, ids.length - BOOTS_PER_MACHINE))) this.byId.delete(id);
    this.#byMac.set(boot.mac, ids);
  }

  latest(mac: MacAddress): StoredBoot | undefined {
    const id = this.#byMac.get(mac)?.at(-1);
    return id === undefined ? undefined : this.byId.get(id);
  }
}
