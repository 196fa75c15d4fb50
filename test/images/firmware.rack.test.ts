// The table of firmware packages held against Debian's real ones, and the class metal with all of its firmware.
//
// Among the long ones because it fetches the component non-free-firmware: some 60 MB.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { aptFolder, openApt } from '../../images/apt.io.ts';
import { readFromDeb } from '../../images/deb.io.ts';
import { chooseFirmware, FIRMWARE_PACKAGES } from '../../images/firmware.ts';
import type { PackageContent } from '../../images/layout.ts';
import { layoutMicrocode } from '../../images/microcode.ts';

let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'rouse-firmware-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MAKERS = ['intel-microcode', 'amd64-microcode'];
const DEBIANS = [
  { suites: ['bookworm'], packageOf: ([, in12]: (typeof FIRMWARE_PACKAGES)[number]) => in12 },
  { suites: ['trixie'], packageOf: ([, in12, in13]: (typeof FIRMWARE_PACKAGES)[number]) => in13 ?? in12 },
];

for (const { suites, packageOf } of DEBIANS) {
  const contents = new Map<string, PackageContent<Uint8Array>>();

  test(`${suites[0]}: the packages are there`, async () => {
    const placed = { archive: { suites, components: ['non-free-firmware'] }, places: { all: 'this test' } };
    const apt = await openApt(aptFolder(folder, 'amd64'), 'amd64', () => undefined, undefined, placed);
    const names = [...new Set(FIRMWARE_PACKAGES.map(packageOf)), ...MAKERS];
    const solution = await apt.solve([...new Set(names)], false);
    const wanted = solution.filter(({ name }) => names.includes(name));
    await apt.fetch(wanted);
    for (const one of wanted) {
      const entries = await readFromDeb(await apt.file(one), one.name, (path) => path.includes('/firmware/'));
      contents.set(one.name, { name: one.name, entries });
    }
  });

  for (const row of FIRMWARE_PACKAGES) {
    test(`${suites[0]}: ${packageOf(row)} holds ${row[0]}`, () => {
      const content = contents.get(packageOf(row));
      const asked = [{ module: 'any', file: row[0] }];
      expect(chooseFirmware(asked, ['', '.xz'], content === undefined ? [] : [content]).length).toBeGreaterThan(0);
    });
  }

  test(`${suites[0]}: real microcode is sound: every update of Intel’s has its sum, AMD’s containers begin as they must`, () => {
    const layout = layoutMicrocode(['intel', 'amd'], [...contents.values()]);
    if (!layout.ok) throw new Error(layout.why);
    const bytes = layout.files.map(({ entry }) => (entry.kind === 'file' ? entry.data.length : 0));
    expect(bytes[1]).toBeGreaterThan(1_000_000);
    expect(bytes[2]).toBeGreaterThan(50_000);
    const one = layoutMicrocode(['intel/06-55'], [...contents.values()]);
    expect(one).toMatchObject({ ok: true });
  });
}
