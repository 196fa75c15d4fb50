// Microcode that no processor takes, in the form that kernels check: made here, because the real one is not ours to ship.

/** One update of Intel's form: 48 octets of header, data, and the sum that makes all words 0. @param signature as CPUID says. */
export function intelUpdate(signature: number, revision: number, dataBytes = 976): Uint8Array {
  const octets = new Uint8Array(48 + dataBytes);
  const view = new DataView(octets.buffer);
  for (const [at, value] of [
    [0, 1],
    [4, revision],
    [8, 0x2026_1121],
    [12, signature],
    [20, 1],
    [24, 0xff],
    [28, dataBytes],
    [32, octets.length],
  ] as const)
    view.setUint32(at, value, true);
  octets.fill(revision & 0xff, 48);
  let sum = 0;
  for (let at = 0; at < octets.length; at += 4) sum = (sum + view.getUint32(at, true)) >>> 0;
  view.setUint32(16, -sum >>> 0, true);
  return octets;
}

/** A container of AMD's form with an empty table. */
export function amdContainer(bytes: number): Uint8Array {
  const octets = new Uint8Array(bytes);
  octets.set([0x44, 0x4d, 0x41, 0]);
  return octets;
}
