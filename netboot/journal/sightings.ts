// netboot/journal/sightings.ts - machines that were heard on the wire, whatever became of them: the latest word of each.
//
// Owns: what is remembered of a machine's DHCP (also of those that are ignored, and of mode: observe, which never make a
// boot), of how many, and of how many over a restart. Does not own boots (journal.ts), what a machine is (site/inventory.ts),
// the file (sightings.io.ts). Strangers can make up MACs: whatever they do, it is a bounded number. Pure.

import { type MacAddress, parseMac } from '../../formats/mac.ts';
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
/** Of these on disk: the ones heard last. */
const MOST_KEPT = 1000;

/** Firmware is what is worth knowing; iPXE is that only where nothing spoke before it, for then it is in ROM. */
const RANK = { system: 0, ipxe: 1, pxe: 2, http: 2 } as const satisfies Record<ClientKind, number>;

export class Sightings {
  readonly #byMac = new Map<MacAddress, Sighting>();
  /** Whether what is on disk is what is here; set by who writes it. */
  isSaved = false;

  put(mac: MacAddress, heard: Heard, atMs: number): void {
    const before = this.#byMac.get(mac);
    const { interfaceName, architecture, clientKind = 'system', type } = heard;
    const saysMore = before === undefined || RANK[clientKind] >= RANK[before.clientKind];
    this.isSaved = false;
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

  /** Takes in what was heard before a restart: older than all that was heard since. */
  recall(sighting: Sighting): void {
    if (!this.#byMac.has(sighting.mac)) this.#byMac.set(sighting.mac, sighting);
  }

  /** What outlives a restart, the one heard longest ago first. */
  toKeep(): Sighting[] {
    return [...this.#byMac.values()].slice(-MOST_KEPT);
  }

  of(mac: MacAddress): Sighting | undefined {
    return this.#byMac.get(mac);
  }

  /** The one heard last comes first. */
  all(): Sighting[] {
    return [...this.#byMac.values()].reverse();
  }
}

/** Reads what toKeep() was written as. Never throws: what makes no sense is left out. */
export function readSightings(text: string): Sighting[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(list)) return [];
  return (list as readonly unknown[]).slice(-MOST_KEPT).flatMap((one) => readSighting(one) ?? []);
}

function readSighting(value: unknown): Sighting | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { mac, interfaceName, firstAtMs, lastAtMs, messages, client, clientKind, architecture, said } =
    value as Readonly<Record<string, unknown>>;
  const parsed = typeof mac === 'string' ? parseMac(mac) : undefined;
  const isText = (one: unknown): one is string => typeof one === 'string';
  const isNumber = (one: unknown): one is number => typeof one === 'number';
  if (parsed === undefined || !isText(interfaceName) || !isText(client) || !isText(said)) return undefined;
  if (!isNumber(firstAtMs) || !isNumber(lastAtMs) || !isNumber(messages)) return undefined;
  if (!isText(clientKind) || !Object.hasOwn(RANK, clientKind)) return undefined;
  return {
    mac: parsed,
    interfaceName,
    firstAtMs,
    lastAtMs,
    messages,
    client,
    clientKind: clientKind as ClientKind,
    architecture: isNumber(architecture) ? architecture : undefined,
    said,
  };
}
