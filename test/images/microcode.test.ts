// The early archive: what it holds, in which order, and where its octets lie.

import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import type { CpioEntry } from '../../images/cpio.ts';
import type { PackageContent } from '../../images/layout.ts';
import { packLayer } from '../../images/layers.io.ts';
import { layoutMicrocode, MICROCODE_WISH, microcodePackage } from '../../images/microcode.ts';
import { amdContainer, intelUpdate } from './microcode-fixture.ts';
import { inspectOctets } from './inspected.ts';

const file = (path: string, data: Uint8Array): CpioEntry => ({ kind: 'file', path, mode: 0o644, uid: 0, gid: 0, data });
const intel = (files: Record<string, Uint8Array>): PackageContent<Uint8Array> => ({
  name: 'intel-microcode',
  entries: Object.entries(files).map(([name, data]) => file(`lib/firmware/intel-ucode/${name}`, data)),
});
const amd = (files: Record<string, Uint8Array>): PackageContent<Uint8Array> => ({
  name: 'amd64-microcode',
  entries: Object.entries(files).map(([name, data]) => file(`lib/firmware/amd-ucode/${name}`, data)),
});
const [U1, U2, U3] = [intelUpdate(0x50654, 1), intelUpdate(0x406f1, 2), intelUpdate(0xa0671, 3)];
const INTEL = intel({ '06-55-04': U1, '06-4f-01.initramfs': U2, '06-a7-01': U3, README: new Uint8Array(9) });
const AMD = amd({ 'microcode_amd_fam17h.bin': amdContainer(20), 'microcode_amd.bin': amdContainer(16) });

const laid = (wishes: string[], packages: PackageContent<Uint8Array>[]) => {
  const layout = layoutMicrocode(wishes, packages);
  if (!layout.ok) throw new Error(layout.why);
  return layout.files.map(({ entry }) => entry);
};
const dataOf = (entries: readonly CpioEntry[], path: string): Buffer => {
  const found = entries.find((entry) => entry.path === path);
  return Buffer.from(found?.kind === 'file' ? found.data : []);
};

/** As find_cpio_data() of Linux 6.1's lib/earlycpio.c walks through an initrd that nothing has unpacked yet. */
function findEarly(octets: Uint8Array, path: string): { at: number; bytes: number } | undefined {
  const align4 = (at: number): number => (at + 3) & ~3;
  for (let at = 0; octets.length - at > 110; ) {
    if (octets[at] === 0) {
      at += 4;
      continue;
    }
    const text = new TextDecoder('latin1').decode(octets.subarray(at, at + 110));
    const field = (index: number): number => Number.parseInt(text.slice(6 + 8 * index, 14 + 8 * index), 16);
    if (!/^07070[12][0-9A-F]{104}$/i.test(text)) return undefined;
    const [mode, bytes, nameBytes] = [field(1), field(6), field(11)];
    const data = align4(at + 110 + nameBytes);
    const next = align4(data + bytes);
    if (next > octets.length) return undefined;
    const name = new TextDecoder('latin1').decode(octets.subarray(at + 110, at + 110 + nameBytes));
    if ((mode & 0o170000) === 0o100000 && name.startsWith(path)) return { at: data, bytes };
    at = next;
  }
  return undefined;
}

test('updates follow each other in the order of their files’ names, those for early loading only among them', () => {
  const entries = laid(['intel'], [INTEL, AMD]);
  expect(entries.map(({ path }) => path)).toEqual(['early_cpio', 'kernel/x86/microcode/GenuineIntel.bin']);
  expect(dataOf(entries, 'kernel/x86/microcode/GenuineIntel.bin')).toEqual(Buffer.concat([U2, U1, U3]));
});

test('AMD’s containers follow each other too; a family takes only its own', () => {
  const path = 'kernel/x86/microcode/AuthenticAMD.bin';
  expect(dataOf(laid(['amd'], [AMD]), path)).toEqual(Buffer.concat([amdContainer(16), amdContainer(20)]));
  expect(dataOf(laid(['amd/fam17h'], [AMD]), path).length).toBe(20);
  expect(dataOf(laid(['intel/06-55', 'intel/06-a7-01'], [INTEL]), 'kernel/x86/microcode/GenuineIntel.bin')).toEqual(
    Buffer.concat([U1, U3]),
  );
});

for (const bytes of [16, 20, 24, 28]) {
  test(`Intel’s updates begin at a multiple of 16, whatever lies before them (${bytes} octets of AMD)`, async () => {
    const entries = laid(['intel', 'amd'], [INTEL, amd({ 'microcode_amd.bin': amdContainer(bytes) })]);
    const { layer, octets } = await packLayer('microcode', entries, 'none');
    expect(Buffer.from(octets).indexOf(U2) % 16).toBe(0);
    expect(Buffer.from(octets).indexOf(U2)).toBeGreaterThan(0);
    // GNU cpio and our own reader find the same, the marker last.
    const listed = execFileSync('cpio', ['-it', '--quiet'], { input: octets, encoding: 'utf8' }).trim().split('\n');
    expect(listed).toEqual([
      '.layers',
      'early_cpio',
      'kernel',
      'kernel/x86',
      'kernel/x86/microcode',
      'kernel/x86/microcode/AuthenticAMD.bin',
      'kernel/x86/microcode/GenuineIntel.bin',
      `.layers/${layer.sha256}`,
    ]);
    const found = findEarly(octets, 'kernel/x86/microcode/GenuineIntel.bin');
    expect(found).toEqual({ at: Buffer.from(octets).indexOf(U2), bytes: 3 * 1024 });
    expect(findEarly(octets, 'kernel/x86/microcode/AuthenticAMD.bin')?.bytes).toBe(bytes);
    const next = await packLayer('base', [file('init', new Uint8Array(9))]);
    const { layers, problems } = await inspectOctets(Buffer.concat([octets, next.octets]));
    expect(problems).toEqual([]);
    expect(layers.map(({ compression, marker }) => [compression, marker])).toEqual([
      ['none', layer.sha256],
      ['zstd', next.layer.sha256],
    ]);
  });
}

const REFUSED: [string, string[], PackageContent<Uint8Array>[], string | undefined, string][] = [
  [
    'a family that nobody made',
    ['intel/06-01'],
    [INTEL],
    'intel/06-01',
    'intel-microcode holds no microcode for intel/06-01',
  ],
  ['a package that is not there', ['amd'], [INTEL], 'amd', 'amd64-microcode holds no microcode for amd'],
  [
    'a changed octet',
    ['intel'],
    [intel({ '06-55-04': U1.with(100, 7) })],
    undefined,
    'is damaged: the sum of an update is not 0',
  ],
  [
    'a file that is cut off',
    ['intel'],
    [intel({ '06-55-04': U1.subarray(0, 512) })],
    undefined,
    'ends in the middle of an update',
  ],
  ['an empty file', ['intel'], [intel({ '06-55-04': new Uint8Array(0) })], undefined, 'is empty'],
  ['another thing', ['intel'], [intel({ '06-55-04': new Uint8Array(64) })], undefined, 'is no Intel microcode'],
  [
    'no container',
    ['amd'],
    [amd({ 'microcode_amd.bin': new Uint8Array(64) })],
    undefined,
    'is no container of AMD microcode',
  ],
];
for (const [what, wishes, packages, wish, why] of REFUSED) {
  test(`${what} is refused`, () => {
    expect(layoutMicrocode(wishes, packages)).toMatchObject({ ok: false, wish, why: expect.stringContaining(why) });
  });
}

test('what a recipe may say', () => {
  for (const good of ['intel', 'intel/06', 'intel/06-4f', 'intel/06-4f-01', 'amd', 'amd/fam19h'])
    expect(good).toMatch(MICROCODE_WISH);
  for (const bad of ['', 'via', 'intel/', 'intel/6', 'amd/17', 'intel/06-4f-01-02', 'amd/fam17h/x'])
    expect(bad).not.toMatch(MICROCODE_WISH);
  expect([microcodePackage('intel/06-4f'), microcodePackage('amd')]).toEqual(['intel-microcode', 'amd64-microcode']);
});
