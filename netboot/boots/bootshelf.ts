// netboot/boots/bootshelf.ts - the boots that machines may still load, report or be switched to, in memory.
//
// Owns: how many are kept of each machine, of how many strangers, and which is a machine's latest. Does not own them on disk (store.worker.io.ts). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import type { StoredBoot } from '../store/records.ts';

/** How many boots of one machine stay reachable: what it runs, what it is loading, and one that a slow reader still loads. */
const BOOTS_PER_MACHINE = 3;
/** Machines that no node file names: anybody can make up their MACs. */
const MOST_STRANGERS = 500;

/** The boots that machines may still load or report. */
export class BootShelf {
  readonly byId = new Map<string, StoredBoot>();
  readonly #byMac = new Map<MacAddress, string[]>();
  /** Who booted the longest ago first. */
  readonly #strangers = new Set<MacAddress>();

  constructor(boots: Iterable<StoredBoot>) {
    for (const boot of boots) this.keep(boot);
  }

  /** Puts a boot in, or a new state of one that is in. */
  keep(boot: StoredBoot): void {
    const isKnown = this.byId.has(boot.id);
    this.byId.set(boot.id, boot);
    if (isKnown) return;
    const ids = [...(this.#byMac.get(boot.mac) ?? []), boot.id];
    const running = ids.findLast((id) => this.#hasSpoken(id));
    const kept = ids.filter((id, index) => id === running || index >= ids.length - BOOTS_PER_MACHINE);
    for (const id of ids) if (!kept.includes(id)) this.byId.delete(id);
    this.#byMac.set(boot.mac, kept);
    this.#strangers.delete(boot.mac);
    if (boot.plan.node.known) return;
    this.#strangers.add(boot.mac);
    const [oldest] = this.#strangers;
    if (this.#strangers.size > MOST_STRANGERS && oldest !== undefined) this.#drop(oldest);
  }

  /** With the first word of its node a boot's overlay is spent. */
  #hasSpoken(id: string): boolean {
    const boot = this.byId.get(id);
    return boot !== undefined && boot.overlay === undefined;
  }

  #drop(mac: MacAddress): void {
    for (const id of this.#byMac.get(mac) ?? []) this.byId.delete(id);
    this.#byMac.delete(mac);
    this.#strangers.delete(mac);
  }

  latest(mac: MacAddress): StoredBoot | undefined {
    const id = this.#byMac.get(mac)?.at(-1);
    return id === undefined ? undefined : this.byId.get(id);
  }
}
