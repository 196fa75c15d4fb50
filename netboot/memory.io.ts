// netboot/memory.io.ts - what the boot server knows, in memory, and how each piece of news reaches memory, log and disk.
//
// Owns: filling it from the store at the start, the order of the three, saying once what the disk refuses. Does not own the
// store (store/store.io.ts), what news is worth (journal/worth.ts), the nodes' states (fleet/fleet.io.ts).

import { join } from 'node:path';
import { reasonOf } from '../formats/errors.ts';
import type { MacAddress } from '../formats/mac.ts';
import { BootShelf } from './boots/bootshelf.ts';
import { LoaderMemory } from './dhcp/loaders.ts';
import { Pacer } from './dhcp/pace.ts';
import { Journal } from './journal/attempts.ts';
import type { BootEvent } from './journal/journal.ts';
import { renderOutcome } from './journal/progress.ts';
import { loadSightings, saveSightings } from './journal/sightings.io.ts';
import { Sightings } from './journal/sightings.ts';
import type { Told } from './journal/worth.ts';
import { type MachineRecord, renderHardware } from './site/inventory.ts';
import { type Lease, LeaseBook } from './store/leases.ts';
import type { Store, StoreRecord } from './store/records.ts';
import { openStore } from './store/store.io.ts';

/** The same trouble of the disk is said once in this time. */
const TROUBLE_QUIET_MS = 30_000;

export class Memory {
  readonly store: Store;
  readonly leases: LeaseBook;
  readonly boots: BootShelf;
  readonly journal = new Journal();
  readonly sightings = new Sightings();
  readonly loaders = new LoaderMemory();
  /** What machines report of themselves. */
  readonly machines: Map<MacAddress, MachineRecord>;
  /** Told of each event. */
  readonly watchers = new Set<(event: BootEvent) => void>();
  readonly #libDir: string;
  readonly #log: (line: string) => void;
  readonly #failures = new Pacer({ burst: 1, refillPerS: 1000 / TROUBLE_QUIET_MS });
  #toldTrouble: string | undefined;

  private constructor(libDir: string, store: Store, log: (line: string) => void) {
    const { damaged, leases, boots, events, machines } = store.content;
    this.store = store;
    this.#libDir = libDir;
    this.#log = log;
    for (const line of damaged) log(`store: ${line}`);
    this.leases = new LeaseBook(leases);
    this.boots = new BootShelf(boots);
    for (const event of events) this.journal.put(event);
    this.machines = new Map(machines.map((machine) => [machine.mac, machine]));
    log(`remembered: ${this.leases.size} leases, ${this.boots.byId.size} boots`);
  }

  /** @throws Fault E_STORE where the store cannot be opened. */
  static async open(libDir: string, log: (line: string) => void): Promise<Memory> {
    const memory = new Memory(libDir, await openStore(join(libDir, 'store.sqlite')), log);
    await loadSightings(libDir, memory.sightings);
    return memory;
  }

  readonly nowS = (): number => Math.floor(Date.now() / 1000);

  /** To disk alone. @throws Fault E_STORE (rejects) where it refuses. */
  readonly commit = (records: readonly StoreRecord[]): Promise<void> =>
    this.store.commit(records).catch((error: unknown) => {
      // All that a storm of machines asks for fails alike.
      this.#complain(reasonOf(error));
      throw error;
    });

  /** A lease in memory at once; resolves when it is on disk. */
  readonly commitLease = (lease: Lease): Promise<void> => {
    this.leases.put(lease);
    return this.commit([{ kind: 'lease', lease }]);
  };

  /** An event into the journal in memory alone. */
  readonly tell = (event: BootEvent): void => {
    const attempt = this.journal.put(event);
    for (const watcher of this.watchers) watcher(event);
    if (attempt === undefined || (event.kind !== 'script' && event.kind !== 'stage')) return;
    const what = event.kind === 'stage' ? event.stage : 'script';
    this.#log(`${attempt.node ?? attempt.mac}: ${what}, ${renderOutcome(attempt, Date.now())}`);
  };

  /** An event into the journal; resolves when it is on disk, and never rejects. */
  readonly record = (event: BootEvent): Promise<void> => {
    this.tell(event);
    // What cannot be written is still in memory and was logged; DHCP and loaders must not wait for the disk's repair.
    return this.commit([{ kind: 'event', event }]).catch(() => undefined);
  };

  /** Does what was found to be worth it. */
  take({ lines, event, isKept }: Told): void {
    for (const line of lines) this.#log(line);
    if (event === undefined) return;
    if (event.kind === 'loader' && event.outcome === 'done') this.loaders.loaderFetched(event.mac, this.nowS());
    if (isKept === true) void this.record(event);
    else this.tell(event);
  }

  /** A machine said what it is. */
  learn(machine: MachineRecord): void {
    if (!this.machines.has(machine.mac)) {
      this.#log(`${machine.mac} is discovered: ${renderHardware(machine.inventory)}`);
    }
    this.machines.set(machine.mac, machine);
  }

  /** What is to be done once in a while: old offers go, what was heard is kept, a store that is in trouble is told of. */
  async tidy(): Promise<void> {
    this.leases.dropStaleOffers(this.nowS());
    await this.#keepSightings();
    const trouble = await this.store.trouble();
    if (trouble !== undefined && trouble !== this.#toldTrouble) this.#log(trouble);
    this.#toldTrouble = trouble;
  }

  async #keepSightings(): Promise<void> {
    await saveSightings(this.#libDir, this.sightings).catch((error: unknown) =>
      this.#complain(`cannot keep which machines were heard: ${reasonOf(error)}`),
    );
  }

  #complain(why: string): void {
    if (this.#failures.admit(why, performance.now()) === 'pass') this.#log(why);
  }

  async close(): Promise<void> {
    await this.#keepSightings();
    await this.store.close();
  }
}
