// formats/ipv4.ts - IPv4 addresses, networks and ranges.
//
// Addresses are unsigned 32-bit numbers where arithmetic is done and dotted text where people look. Only four decimal
// parts without leading zeros are read: octal and short forms (010.1.1.1, 10.1) mean different hosts to different
// programs. Pure.

declare const ipv4: unique symbol;
/** "10.77.0.1". Made only by the functions of this file. */
export type Ipv4Address = string & { readonly [ipv4]: true };

/** A network: its first address, and how many leading bits all its addresses share. */
export type Ipv4Network = { readonly address: Ipv4Address; readonly prefixLength: number };

/** Addresses from first to last, both included. */
export type Ipv4Range = { readonly first: Ipv4Address; readonly last: Ipv4Address };

export const IPV4_ANY = '0.0.0.0' as Ipv4Address;
export const IPV4_BROADCAST = '255.255.255.255' as Ipv4Address;

/** @returns undefined unless the text is four decimal numbers 0 to 255 without leading zeros. */
export function parseIpv4(text: string): Ipv4Address | undefined {
  if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text)) return undefined;
  return text.split('.').every((part) => Number(part) <= 255) ? (text as Ipv4Address) : undefined;
}

/** The address as an unsigned 32-bit number, most significant octet first. */
export function ipv4ToNumber(address: Ipv4Address): number {
  // By hand: every DHCP packet asks for a dozen of these, and split() and map() cost more than all the rest of it.
  let value = 0;
  let part = 0;
  for (let index = 0; index < address.length; index += 1) {
    const code = address.charCodeAt(index);
    if (code === 46) {
      value = value * 256 + part;
      part = 0;
    } else part = part * 10 + code - 48;
  }
  return value * 256 + part;
}

/** @param value 0 to 2^32 - 1; anything above wraps. */
export function ipv4FromNumber(value: number): Ipv4Address {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as Ipv4Address;
}

/** @param octets at least offset + 4 of them. */
export function ipv4FromOctets(octets: Uint8Array, offset = 0): Ipv4Address {
  const at = (index: number): number => octets[offset + index] ?? 0;
  return `${at(0)}.${at(1)}.${at(2)}.${at(3)}` as Ipv4Address;
}

/** The four octets of an address. */
export function ipv4ToOctets(address: Ipv4Address): Uint8Array {
  const value = ipv4ToNumber(address);
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** Reads "10.77.0.0/24". @returns undefined for another form, and where bits are set behind the prefix. */
export function parseNetwork(text: string): Ipv4Network | undefined {
  const [left = '', right = '', ...rest] = text.split('/');
  const address = parseIpv4(left);
  if (address === undefined || rest.length > 0 || !/^\d{1,2}$/.test(right) || Number(right) > 32) return undefined;
  const network = { address, prefixLength: Number(right) };
  return ipv4ToNumber(address) === networkBase(network) ? network : undefined;
}

/** Reads "10.77.0.100-10.77.0.199". @returns undefined for another form, and where the first is above the last. */
export function parseRange(text: string): Ipv4Range | undefined {
  const [left = '', right = '', ...rest] = text.split('-');
  const first = parseIpv4(left.trim());
  const last = parseIpv4(right.trim());
  if (first === undefined || last === undefined || rest.length > 0) return undefined;
  return ipv4ToNumber(first) <= ipv4ToNumber(last) ? { first, last } : undefined;
}

function maskNumber(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;
}

function networkBase({ address, prefixLength }: Ipv4Network): number {
  return (ipv4ToNumber(address) & maskNumber(prefixLength)) >>> 0;
}

/** "255.255.255.0" for a prefix length of 24. */
export function netmaskOf({ prefixLength }: Ipv4Network): Ipv4Address {
  return ipv4FromNumber(maskNumber(prefixLength));
}

/** The network's last address, to which a directed broadcast goes. */
export function broadcastOf(network: Ipv4Network): Ipv4Address {
  return ipv4FromNumber((networkBase(network) | (~maskNumber(network.prefixLength) >>> 0)) >>> 0);
}

/** Whether the address lies in the network, its first and last address included. */
export function networkContains(network: Ipv4Network, address: Ipv4Address): boolean {
  return (ipv4ToNumber(address) & maskNumber(network.prefixLength)) >>> 0 === networkBase(network);
}

/** Whether a host of the network may have this address: inside it, and (up to /30) neither its first nor its last. */
export function isHostAddress(network: Ipv4Network, address: Ipv4Address): boolean {
  if (!networkContains(network, address)) return false;
  return network.prefixLength >= 31 || (address !== network.address && address !== broadcastOf(network));
}

/** Whether the range holds the address. */
export function rangeContains(range: Ipv4Range, address: Ipv4Address): boolean {
  const value = ipv4ToNumber(address);
  return ipv4ToNumber(range.first) <= value && value <= ipv4ToNumber(range.last);
}

/** How many addresses the range holds. */
export function rangeSize(range: Ipv4Range): number {
  return ipv4ToNumber(range.last) - ipv4ToNumber(range.first) + 1;
}

/** "10.77.0.0/24". */
export function renderNetwork({ address, prefixLength }: Ipv4Network): string {
  return `${address}/${prefixLength}`;
}
