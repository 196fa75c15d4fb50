// netboot/dhcp/values.ts - the kinds of value that a DHCP option holds, each with its two directions.
//
// Owns: octets to value and back, for one option's whole content (already concatenated). Does not own which option is
// of which kind (options.ts). To add a kind, add one constant with `decode` and `encode`, inverse to each other;
// test/netboot/dhcp/options.test.ts asks of every kind that decode(encode(x)) = x.
//
// A decoder returns undefined for octets that are no such value; it never throws and never reads outside its argument.
// Sources: RFC 2132, RFC 3397 (domain search), RFC 3442 (classless routes), RFC 4578. Pure.

import {
  type Ipv4Address,
  type Ipv4Network,
  ipv4FromNumber,
  ipv4FromOctets,
  ipv4ToNumber,
  ipv4ToOctets,
  netmaskOf,
} from '../../formats/ipv4.ts';

export type ValueKind<T> = {
  readonly decode: (octets: Uint8Array) => T | undefined;
  readonly encode: (value: T) => Uint8Array;
};

/** One TLV of options 43, 82 and 175. */
export type SubOption = { readonly code: number; readonly octets: Uint8Array };

export const ipv4: ValueKind<Ipv4Address> = {
  decode: (octets) => (octets.length === 4 ? ipv4FromOctets(octets) : undefined),
  encode: ipv4ToOctets,
};

export const ipv4List: ValueKind<readonly Ipv4Address[]> = {
  decode: (octets) => {
    if (octets.length === 0 || octets.length % 4 !== 0) return undefined;
    return Array.from({ length: octets.length / 4 }, (_, index) => ipv4FromOctets(octets, index * 4));
  },
  encode: (list) => concatOctets(list.map(ipv4ToOctets)),
};

export const u8: ValueKind<number> = {
  decode: (octets) => (octets.length === 1 ? octets[0] : undefined),
  encode: (value) => Uint8Array.of(value),
};

export const u16: ValueKind<number> = {
  decode: (octets) => (octets.length === 2 ? readU16(octets, 0) : undefined),
  encode: (value) => Uint8Array.of(value >>> 8, value & 255),
};

export const u32: ValueKind<number> = {
  decode: (octets) => (octets.length === 4 ? readU16(octets, 0) * 65_536 + readU16(octets, 2) : undefined),
  encode: (value) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value),
};

export const u16List: ValueKind<readonly number[]> = {
  decode: (octets) => {
    if (octets.length === 0 || octets.length % 2 !== 0) return undefined;
    return Array.from({ length: octets.length / 2 }, (_, index) => readU16(octets, index * 2));
  },
  encode: (list) => concatOctets(list.map(u16.encode)),
};

/** Octets as they are. */
export const octets: ValueKind<Uint8Array> = { decode: copyOctets, encode: (value) => value };

export const u8List: ValueKind<readonly number[]> = {
  decode: (value) => {
    // Array.from() walks an iterator, at ten times the cost.
    const list: number[] = [];
    for (let at = 0; at < value.length; at += 1) list.push(value[at] ?? 0);
    return list;
  },
  encode: (list) => Uint8Array.from(list),
};

/**
 * One character per octet (ISO 8859-1), so that nothing a client sends is lost or rejected. Trailing NULs are cut: some
 * firmware counts its terminator. Whoever shows such a text to people makes it printable first.
 */
export const text: ValueKind<string> = {
  decode: (value) => {
    let end = value.length;
    while (end > 0 && value[end - 1] === 0) end -= 1;
    let result = '';
    for (let index = 0; index < end; index += 1) result += String.fromCharCode(value[index] ?? 0);
    return result;
  },
  encode: (value) => {
    const result = new Uint8Array(value.length);
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (code > 255) return new TextEncoder().encode(value);
      result[index] = code;
    }
    return result;
  },
};

/** RFC 2132 section 8.4, RFC 3046, iPXE's option 175: code, length, octets; 0 pads and 255 ends only where `padded`. */
function subOptionKind(padded: boolean): ValueKind<readonly SubOption[]> {
  return {
    decode: (value) => {
      const list: SubOption[] = [];
      for (let at = 0; at < value.length; ) {
        const code = value[at] ?? 0;
        if (padded && code === 0) {
          at += 1;
          continue;
        }
        if (padded && code === 255) break;
        const length = value[at + 1];
        if (length === undefined || at + 2 + length > value.length) return undefined;
        list.push({ code, octets: copyOctets(value.subarray(at + 2, at + 2 + length)) });
        at += 2 + length;
      }
      return list;
    },
    encode: (list) => {
      const parts = list.flatMap((one) => [Uint8Array.of(one.code, one.octets.length), one.octets]);
      return concatOctets(padded ? [...parts, Uint8Array.of(255)] : parts);
    },
  };
}

/** Option 43 as PXE uses it: ends with 255. */
export const pxeSubOptions = subOptionKind(true);
/** Options 82 and 175: no pad, no end. */
export const subOptions = subOptionKind(false);

/** RFC 3442: destination prefix in as few octets as it needs, then the router. */
export type Route = { readonly network: Ipv4Network; readonly router: Ipv4Address };

export const routes: ValueKind<readonly Route[]> = {
  decode: (value) => {
    const list: Route[] = [];
    for (let at = 0; at < value.length; ) {
      const prefixLength = value[at] ?? 0;
      const significant = Math.ceil(prefixLength / 8);
      if (prefixLength > 32 || at + 5 + significant > value.length) return undefined;
      const destination = new Uint8Array(4);
      destination.set(value.subarray(at + 1, at + 1 + significant));
      const mask = ipv4ToNumber(netmaskOf({ address: ipv4FromNumber(0), prefixLength }));
      const address = ipv4FromNumber((ipv4ToNumber(ipv4FromOctets(destination)) & mask) >>> 0);
      list.push({ network: { address, prefixLength }, router: ipv4FromOctets(value, at + 1 + significant) });
      at += 5 + significant;
    }
    return list.length === 0 ? undefined : list;
  },
  encode: (list) =>
    concatOctets(
      list.flatMap(({ network, router }) => [
        Uint8Array.of(network.prefixLength),
        ipv4ToOctets(network.address).subarray(0, Math.ceil(network.prefixLength / 8)),
        ipv4ToOctets(router),
      ]),
    ),
};

/** RFC 3397, in the form of RFC 1035: written without compression, read with it; a pointer may only point back. */
export const domainList: ValueKind<readonly string[]> = {
  decode: (value) => {
    const list: string[] = [];
    for (let at = 0; at < value.length; ) {
      const name = readName(value, at);
      if (name === undefined) return undefined;
      list.push(name.text);
      at = name.end;
    }
    return list.length === 0 ? undefined : list;
  },
  encode: (list) =>
    concatOctets(
      list.flatMap((name) => [
        ...name.split('.').flatMap((label) => [Uint8Array.of(label.length), text.encode(label)]),
        Uint8Array.of(0),
      ]),
    ),
};

function readName(value: Uint8Array, start: number): { text: string; end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  let end: number | undefined;
  // Every label or pointer costs at least one step and pointers only go back, so this many steps suffice for a legal name.
  for (let steps = 0; steps < 128; steps += 1) {
    const length = value[at];
    if (length === undefined) return undefined;
    if (length === 0) return labels.length === 0 ? undefined : { text: labels.join('.'), end: end ?? at + 1 };
    if (length >= 0xc0) {
      const low = value[at + 1];
      if (low === undefined) return undefined;
      const target = (length & 0x3f) * 256 + low;
      if (target >= at) return undefined;
      end ??= at + 2;
      at = target;
    } else {
      if (length > 63 || at + 1 + length > value.length) return undefined;
      labels.push(text.decode(value.subarray(at + 1, at + 1 + length)) ?? '');
      at += 1 + length;
    }
  }
  return undefined;
}

export function concatOctets(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return copyOctets(only);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Not slice(): a Node Buffer's slice() is a view of the socket's memory. */
function copyOctets(value: Uint8Array): Uint8Array {
  return new Uint8Array(value);
}

const PAIRS = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, '0'));

/** "01525400770001". */
export function toHex(value: Uint8Array): string {
  let digits = '';
  for (const octet of value) digits += PAIRS[octet];
  return digits;
}

function readU16(value: Uint8Array, at: number): number {
  return (value[at] ?? 0) * 256 + (value[at + 1] ?? 0);
}
