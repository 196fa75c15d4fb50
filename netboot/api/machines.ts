// netboot/api/machines.ts - machines that no node file names: who they are, where they are plugged in, what was said to them.
//
// Owns: joining what the wire heard (journal/sightings.ts), what machines report of themselves (site/inventory.ts) and what a
// relay said of their port (option 82, in the lease). Does not own naming them (site/adopt.ts). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import { printableAscii } from '../../formats/printable.ts';
import type { Journal } from '../journal/attempts.ts';
import { renderOutcome } from '../journal/progress.ts';
import type { Sighting } from '../journal/sightings.ts';
import { type Inventory, type MachineRecord, renderHardware } from '../site/inventory.ts';
import type { Site } from '../site/site.ts';
import type { Lease, LeaseLookup } from '../store/leases.ts';

export type MachineRow = {
  /** The card that it booted by, or was heard by. */
  readonly mac: MacAddress;
  /** All of its cards, that one first. */
  readonly macs: readonly MacAddress[];
  /** The node that one of its cards belongs to; undefined for a new machine. */
  readonly node: string | undefined;
  readonly address: Ipv4Address | undefined;
  readonly subnet: string | undefined;
  readonly serial: string | undefined;
  /** Where it is plugged in: the switch and its port, and who says so. */
  readonly port: { readonly switch: string; readonly port: string; readonly by: 'lldp' | 'option82' } | undefined;
  /** In words; undefined where it was not discovered. */
  readonly hardware: string | undefined;
  readonly inventory: Inventory | undefined;
  /** By driver of the card that it boots by: whether a node with that driver went through a kexec here and was ready. */
  readonly survivesKexec: 'seen' | 'unknown';
  readonly client: string | undefined;
  readonly clientKind: Sighting['clientKind'] | undefined;
  readonly architecture: number | undefined;
  readonly lastSeenMs: number;
  /** What became of its last boot, or of its last message. */
  readonly said: string;
};

export type MachineFacts = {
  readonly site: Site;
  readonly sightings: readonly Sighting[];
  readonly machines: ReadonlyMap<MacAddress, MachineRecord>;
  readonly leases: LeaseLookup;
  readonly journal: Journal;
  readonly nowMs: number;
};

/** Every machine that was heard or reported itself, the one seen last first. */
export function machineRows(facts: MachineFacts): MachineRow[] {
  const { sightings, machines } = facts;
  const drivers = kexecDrivers(facts);
  const rows: MachineRow[] = [];
  const covered = new Set<MacAddress>();
  for (const machine of machines.values()) {
    for (const { mac } of machine.inventory.nics) if (mac !== machine.mac) covered.add(mac);
  }
  const seen = new Map(sightings.map((one) => [one.mac, one]));
  for (const mac of new Set([...machines.keys(), ...seen.keys()])) {
    // Another card of a machine that has its row. Two that claim each other's cards both keep theirs.
    if (covered.has(mac) && !machines.has(mac)) continue;
    rows.push(rowOf(facts, mac, machines.get(mac), seen.get(mac), drivers));
  }
  return rows.sort((a, b) => b.lastSeenMs - a.lastSeenMs || (a.mac < b.mac ? -1 : 1));
}

function rowOf(
  { site, leases, journal, nowMs }: MachineFacts,
  mac: MacAddress,
  machine: MachineRecord | undefined,
  sighting: Sighting | undefined,
  drivers: ReadonlySet<string>,
): MachineRow {
  const inventory = machine?.inventory;
  const macs = [mac, ...(inventory?.nics ?? []).map((nic) => nic.mac).filter((other) => other !== mac)];
  const lease = [...leases.byMac(mac)].sort((a, b) => b.expiresAtS - a.expiresAtS)[0];
  const [attempt] = journal.ofMac(mac);
  const driver = inventory?.nics.find((nic) => nic.mac === mac)?.driver;
  return {
    mac,
    macs,
    node: macs.map((one) => site.byMac.get(one)?.name).find((name) => name !== undefined),
    address: lease?.address,
    subnet: lease?.subnet,
    serial: inventory?.serial,
    port: portOf(mac, inventory, lease),
    hardware: inventory === undefined ? undefined : renderHardware(inventory),
    inventory,
    survivesKexec: driver !== undefined && drivers.has(driver) ? 'seen' : 'unknown',
    client: sighting?.client,
    clientKind: sighting?.clientKind,
    architecture: sighting?.architecture,
    lastSeenMs: Math.max(machine?.atMs ?? 0, sighting?.lastAtMs ?? 0, attempt?.lastEventAtMs ?? 0),
    said:
      inventory !== undefined && attempt?.outcome.kind === 'ready'
        ? 'discovered'
        : attempt === undefined
          ? (sighting?.said ?? 'discovered')
          : renderOutcome(attempt, nowMs),
  };
}

/** LLDP says it by name; a relay's option 82 is what the switch was told to put in. */
function portOf(mac: MacAddress, inventory: Inventory | undefined, lease: Lease | undefined): MachineRow['port'] {
  const nics = inventory?.nics ?? [];
  const heard = nics.find((nic) => nic.mac === mac && nic.neighbour !== undefined) ?? nics.find((nic) => nic.neighbour);
  if (heard?.neighbour !== undefined) {
    return { switch: heard.neighbour.system, port: heard.neighbour.port, by: 'lldp' };
  }
  if (lease?.circuitId === undefined) return undefined;
  return { switch: readable(lease.remoteId ?? ''), port: readable(lease.circuitId), by: 'option82' };
}

/** Text where the octets are text, else hexadecimal. */
function readable(hex: string): string {
  const octets = (hex.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
  const isText = octets.length > 0 && octets.every((octet) => octet > 0x1f && octet < 0x7f);
  return printableAscii(isText ? String.fromCharCode(...octets) : hex);
}

/** Drivers whose cards were seen to work behind a kexec. */
function kexecDrivers({ machines, journal }: MachineFacts): Set<string> {
  const drivers = new Set<string>();
  for (const { mac, inventory } of machines.values()) {
    const worked = journal
      .ofMac(mac)
      .some(({ stages, outcome }) => stages.kexec !== undefined && outcome.kind === 'ready');
    const driver = inventory.nics.find((nic) => nic.mac === mac)?.driver;
    if (worked && driver !== undefined) drivers.add(driver);
  }
  return drivers;
}
