// netboot/dhcp/reservations.ts - addresses that rouse.yaml keeps for machines without a node file.
//
// Owns: telling a machine by its client identifier, its UUID or its hardware address. Does not own nodes, which come first and
// go by their hardware address alone (decide.ts), nor the choice of an address (../store/leases.ts).
//
// A UUID is written with its first three fields in text order; machines send those little-endian (RFC 4578 2.3 leaves it
// open; EDK2 and iPXE do), a few as written. Both are the same machine. One of zeros is no machine.
// Sources: RFC 2132 9.14 (61), RFC 4578 2.3 (97); SMBIOS 7.2.1. Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { DhcpMessage } from './message.ts';
import { toHex } from './values.ts';

export type Reservation = {
  readonly address: Ipv4Address;
  /** Exactly one of these. */
  readonly clientId?: string | undefined;
  readonly uuid?: string | undefined;
  readonly mac?: MacAddress | undefined;
};

type Index = { readonly byKey: ReadonlyMap<string, Ipv4Address>; readonly addresses: ReadonlySet<Ipv4Address> };
const indexes = new WeakMap<readonly Reservation[], Index>();

/** A list from a configuration never changes, so it is read once. */
function indexOf(list: readonly Reservation[]): Index {
  const known = indexes.get(list);
  if (known !== undefined) return known;
  const byKey = new Map(list.flatMap((one) => keysOf(one).map((key): [string, Ipv4Address] => [key, one.address])));
  const index = { byKey, addresses: new Set(list.map(({ address }) => address)) };
  indexes.set(list, index);
  return index;
}

/** What the machine of a reservation may be known by. */
export function keysOf({ clientId, uuid, mac }: Reservation): string[] {
  if (clientId !== undefined) return [`id ${clientId}`];
  if (uuid !== undefined) return [`uuid ${littleEndian(uuid)}`, `uuid ${uuid}`];
  return mac === undefined ? [] : [`mac ${mac}`];
}

/** The first three fields of 32 hexadecimal digits (4, 2 and 2 octets) turned round. */
function littleEndian(digits: string): string {
  const octets = digits.match(/../g) ?? [];
  return [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => octets[at] ?? '').join('');
}

/** The address kept for whoever sent the message: by client identifier, then UUID, then hardware address. */
export function reservedFor(
  list: readonly Reservation[],
  { options }: DhcpMessage,
  mac: MacAddress,
): Ipv4Address | undefined {
  if (list.length === 0) return undefined;
  const { byKey } = indexOf(list);
  const { clientIdentifier, clientMachineId } = options;
  return (
    (clientIdentifier === undefined ? undefined : byKey.get(`id ${toHex(clientIdentifier)}`)) ??
    (clientMachineId?.length === 17 ? byKey.get(`uuid ${toHex(clientMachineId.subarray(1))}`) : undefined) ??
    byKey.get(`mac ${mac}`)
  );
}

/** Whether the address is kept for some machine. */
export function isKept(list: readonly Reservation[], address: Ipv4Address): boolean {
  return list.length > 0 && indexOf(list).addresses.has(address);
}

/** Reads "01:52:54:00:77:00:01" or the same without colons: 2 to 64 octets. @returns lower-case digits. */
export function parseClientId(text: string): string | undefined {
  return /^[0-9a-f]{2}(:?[0-9a-f]{2}){1,63}$/i.test(text) ? text.replaceAll(':', '').toLowerCase() : undefined;
}

/** Reads "4c4c4544-0033-5a10-8052-b4c04f4d3132". @returns its 32 digits; undefined for zeros, which virtual machines send. */
export function parseUuid(text: string): string | undefined {
  const digits = text.replaceAll('-', '').toLowerCase();
  const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) && /[^0]/.test(digits);
  return isUuid ? digits : undefined;
}
