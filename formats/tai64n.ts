// formats/tai64n.ts - TAI64N time labels, as daemontools writes them.
//
// Source: https://cr.yp.to/libtai/tai64.html; daemontools 0.76 taia_now.c. A label is 8 octets of seconds, big-endian,
// and 4 octets of nanoseconds, big-endian. daemontools does not follow leap seconds: it adds a constant 10 s to Unix
// time, and so does this file, because svstat and tai64nlocal subtract the same constant. Pure.

/** 2^62 + 10: what daemontools adds to Unix seconds. */
const TAI_OFFSET_S = 4611686018427387914n;

export const TAI64N_BYTES = 12;

/** A moment of the wall clock. */
export type WallTime = { readonly unixS: number; readonly nanoseconds: number };

/** @param unixMs milliseconds since 1970, as Date.now() gives; fractions are kept down to nanoseconds. */
export function wallTimeFromMs(unixMs: number): WallTime {
  const unixS = Math.floor(unixMs / 1000);
  return { unixS, nanoseconds: Math.min(999_999_999, Math.round((unixMs - unixS * 1000) * 1e6)) };
}

/** Milliseconds since 1970, with a fraction. */
export function wallTimeToMs({ unixS, nanoseconds }: WallTime): number {
  return unixS * 1000 + nanoseconds / 1e6;
}

/** The 12 octets of a label. */
export function packTai64n(time: WallTime): Uint8Array {
  const octets = new Uint8Array(TAI64N_BYTES);
  const view = new DataView(octets.buffer);
  view.setBigUint64(0, BigInt(time.unixS) + TAI_OFFSET_S);
  view.setUint32(8, time.nanoseconds);
  return octets;
}

/** @returns undefined unless there are 12 octets whose nanoseconds are below a second. */
export function unpackTai64n(octets: Uint8Array): WallTime | undefined {
  if (octets.length < TAI64N_BYTES) return undefined;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const nanoseconds = view.getUint32(8);
  if (nanoseconds > 999_999_999) return undefined;
  return { unixS: Number(view.getBigUint64(0) - TAI_OFFSET_S), nanoseconds };
}

/** "@400000006730a1b2075bcd15": the external form, an @ and 24 lower-case hexadecimal digits. */
export function renderTai64n(time: WallTime): string {
  return `@${Array.from(packTai64n(time), (octet) => octet.toString(16).padStart(2, '0')).join('')}`;
}
