// The table of firmware packages held against Debian's real ones, and the class metal with all of its firmware.
//
// Among the long ones because it fetches the component non-free-firmware: some 60 MB.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { aptFolder, openApt } from '../../images/apt.io.ts';
import type { ArchivePackage } from '../../images/apt.ts';
import { readFromDeb } from '../../images/deb.io.ts';
import { chooseFirmware, FIRMWARE_PACKAGES } from '../../images/firmware.ts';
import type { PackageContent } from '../../images/layout.ts';
import { layoutMicrocode } from '../../images/microcode.ts';

let folder = '';
const contents = new Map<string, PackageContent<Uint8Array>>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-firmware-'));
  const placed = { archive: { components: ['non-free-firmware'] }, places: { all: 'this test' } };
  const apt = await openApt(aptFolder(folder, 'amd64'), 'amd64', () => undefined, undefined, placed);
  const names = [...new Set(FIRMWARE_PACKAGES.map(([, name]) => name)), 'intel-microcode', 'amd64-microcode'];
  const solution = await apt.solve(names, false);
  const wanted = solution.filter(({ name }) => names.includes(name));
  await apt.fetch(wanted);
  const read = async (one: ArchivePackage): Promise<PackageContent<Uint8Array>> => ({
    name: one.name,
    entries: await readFromDeb(await apt.file(one), one.name, () => true),
  });
  for (const one of wanted) contents.set(one.name, await read(one));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

for (const [names, name] of FIRMWARE_PACKAGES) {
  test(`${name} holds ${names}`, () => {
    const content = contents.get(name);
    const asked = [{ module: 'any', file: names }];
    expect(chooseFirmware(asked, [''], content === undefined ? [] : [content]).length).toBeGreaterThan(0);
  });
}

test('real microcode is sound: every update of Intel’s has its sum, AMD’s containers begin as they must', () => {
  const layout = layoutMicrocode(['intel', 'amd'], [...contents.values()]);
  if (!layout.ok) throw new Error(layout.why);
  const bytes = layout.files.map(({ entry }) => (entry.kind === 'file' ? entry.data.length : 0));
  expect(bytes[1]).toBeGreaterThan(1_000_000);
  expect(bytes[2]).toBeGreaterThan(50_000);
  const one = layoutMicrocode(['intel/06-55'], [...contents.values()]);
  expect(one).toMatchObject({ ok: true });
});
