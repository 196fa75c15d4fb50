// netboot/journal/attempts.ts - the attempts of every machine in memory: what the journal's events come to.
//
// Owns: finding the attempt that an event belongs to, how many are kept, and what earlier attempts say about the loader.
// Does not own what an event does to its attempt (journal.ts) or the events on disk (store/store.io.ts). Pure.

import type { MacAddress } from '../../formats/mac.ts';
import { loaderOfFile, rungOfLoader } from '../dhcp/loaders.ts';
import { advance, type Attempt, type BootEvent } from './journal.ts';

/** So often a loader is fetched in vain before the next one is tried. */
const TRIES = 2;

/**
 * The rung of `loader: auto` for a machine whose firmware asks now (dhcp/loaders.ts). The loader that led to a script last
 * keeps its rung, and ready keeps it too; from there every two loaders that were fetched whole with nothing after them are a
 * rung more. One that is not on this server is a rung at once. Past the last rung the ladder begins anew.
 *
 * An iPXE that has got its address is no such loader: what keeps it from its script is the network.
 *
 * @param attempts the latest first.
 */
export function rungOf(attempts: readonly Attempt[]): number {
  let inVain = 0;
  for (const { stages, dhcp } of attempts) {
    const { loader } = stages;
    if (loader === undefined) continue;
    const [file = '', why] = loader.detail.split(': ');
    const name = loaderOfFile(file);
    if (name === undefined) continue;
    if (stages.script !== undefined) return rungOfLoader(name) + Math.floor(inVain / TRIES);
    if (why === undefined && !dhcp.loaderAcked) inVain += 1;
    if (why !== undefined && loader.bytes === 0) inVain += TRIES;
  }
  return Math.floor(inVain / TRIES);
}

/** How many attempts of one machine are kept in memory. */
const KEPT_PER_MACHINE = 20;
const KEPT_MACHINES = 8192;

/** The attempts of every machine in memory, the latest first; filled from the store's events at start. */
export class Journal {
  readonly #byMac = new Map<MacAddress, Attempt[]>();
  readonly #macByBoot = new Map<string, MacAddress>();

  /** Takes one event in. @returns the attempt it belongs to as it now is, if it belongs to one. */
  put(event: BootEvent): Attempt | undefined {
    const attempts = this.#byMac.get(event.mac) ?? [];
    const owned = 'bootId' in event && event.kind !== 'script' && event.kind !== 'switch' ? event.bootId : undefined;
    const index = owned === undefined ? 0 : attempts.findIndex(({ bootId }) => bootId === owned);
    if (index < 0) return undefined;
    const result = advance(attempts[index], event);
    if (result === undefined) return undefined;
    const { attempt, ended } = result;
    const next = [...attempts];
    if (ended === undefined) next[index] = attempt;
    else next.splice(index, 1, attempt, ended);
    for (const { bootId } of next.splice(KEPT_PER_MACHINE)) if (bootId !== undefined) this.#macByBoot.delete(bootId);
    if (attempt.bootId !== undefined) this.#macByBoot.set(attempt.bootId, attempt.mac);
    // Put at the end again: what is dropped first is the machine heard of least recently.
    this.#byMac.delete(event.mac);
    this.#byMac.set(event.mac, next);
    if (this.#byMac.size > KEPT_MACHINES) this.#dropOldestMachine();
    return attempt;
  }

  /** A machine's attempts, the latest first. */
  ofMac(mac: MacAddress): readonly Attempt[] {
    return this.#byMac.get(mac) ?? [];
  }

  byBootId(bootId: string): Attempt | undefined {
    const mac = this.#macByBoot.get(bootId);
    return mac === undefined ? undefined : this.ofMac(mac).find((attempt) => attempt.bootId === bootId);
  }

  /** Every attempt, the latest first. */
  all(): Attempt[] {
    return [...this.#byMac.values()].flat().sort((a, b) => b.startedAtMs - a.startedAtMs);
  }

  #dropOldestMachine(): void {
    const [oldest] = this.#byMac.keys();
    if (oldest === undefined) return;
    for (const { bootId } of this.ofMac(oldest)) if (bootId !== undefined) this.#macByBoot.delete(bootId);
    this.#byMac.delete(oldest);
  }
}
