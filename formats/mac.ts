// formats/mac.ts - Ethernet hardware addresses.
//
// One written form inside rouse: six lower-case pairs joined by colons. All the forms that operators, switches and
// loaders write are read. Pure.

declare const mac: unique symbol;
/** "52:54:00:77:00:01": lower case, colons. Made only by the functions of this file. */
export type MacAddress = string & { readonly [mac]: true };

/**
 * Reads any of the written forms: 52:54:00:77:00:01, 52-54-00-77-00-01, 5254.0077.0001 (Cisco), 525400770001, and
 * 01-52-54-00-77-00-01 (PXELINUX and BOOTIF, which put the hardware type first).
 *
 * @returns undefined for anything else, and for addresses no interface can have: all zeros, broadcast, multicast.
 */
export function parseMac(text: string): MacAddress | undefined {
  const withoutType = /^01-(?=([0-9a-f]{2}-){5}[0-9a-f]{2}$)/i.test(text) ? text.slice(3) : text;
  const known =
    /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(withoutType) ||
    /^[0-9a-f]{2}(-[0-9a-f]{2}){5}$/i.test(withoutType) ||
    /^[0-9a-f]{4}(\.[0-9a-f]{4}){2}$/i.test(withoutType) ||
    /^[0-9a-f]{12}$/i.test(withoutType);
  if (!known) return undefined;
  const digits = withoutType.replace(/[:.-]/g, '').toLowerCase();
  const firstOctet = Number.parseInt(digits.slice(0, 2), 16);
  if ((firstOctet & 1) === 1 || /^0+$/.test(digits)) return undefined;
  return (digits.match(/../g) ?? []).join(':') as MacAddress;
}

const DIGITS = Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));
const COLON = 58;

/** @param octets the address as on the wire. @returns undefined unless it is six octets of a unicast address. */
export function macFromOctets(octets: Uint8Array): MacAddress | undefined {
  if (octets.length !== 6 || ((octets[0] ?? 1) & 1) === 1) return undefined;
  // Made at one go: text that is put together from parts is hashed part by part, in every Map that it is a key of.
  const codes: number[] = [];
  let any = 0;
  for (let at = 0; at < 6; at += 1) {
    const octet = octets[at] ?? 0;
    any |= octet;
    if (at > 0) codes.push(COLON);
    codes.push(DIGITS[octet >> 4] ?? 0, DIGITS[octet & 15] ?? 0);
  }
  return any === 0 ? undefined : (String.fromCharCode(...codes) as MacAddress);
}

/** The six octets of an address. */
export function macToOctets(address: MacAddress): Uint8Array {
  return Uint8Array.from(address.split(':'), (pair) => Number.parseInt(pair, 16));
}

/** "01-52-54-00-77-00-01": the form of PXELINUX's file names and of BOOTIF= (01 is the hardware type Ethernet). */
export function macToBootif(address: MacAddress): string {
  return `01-${address.replaceAll(':', '-')}`;
}
