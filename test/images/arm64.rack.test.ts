// An image for arm64, built on whatever machine this is by the same code: apt with a foreign architecture in its private root.
//
// Among the long ones because it fetches another architecture's lists and packages.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { peekOctets } from '../../images/content.ts';
import { decodeArchive } from '../../images/cpioread.ts';
import { ELF_MACHINES, isElf, readElfNeeds } from '../../images/elf.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-arm64-'));
  cpSync(join(ROOT, 'services'), join(folder, 'services'), { recursive: true });
  mkdirSync(join(folder, 'services/web-arm64'));
  writeFileSync(
    join(folder, 'services/web-arm64/recipe.yaml'),
    'version: 1\nextends: web\narchitecture: arm64\nkernel: {package: linux-image-cloud-arm64, modules: virtio}\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the web role for arm64: every program, library and module is of that architecture, and nothing is missing', async () => {
  const libDir = join(folder, 'lib');
  const roleDirs = [join(folder, 'services')];
  const { manifest } = await buildImage({ roleDirs, role: 'web-arm64', libDir, cacheDir });
  const store = openStore(libDir);
  expect(await verifyImage(store, 'web-arm64')).toEqual([]);
  expect(new Set(manifest.packages.map(({ architecture }) => architecture))).toContain('arm64');
  expect(manifest.packages.filter(({ architecture }) => architecture === 'amd64')).toEqual([]);
  const programs: string[] = [];
  for (const layer of manifest.layers) {
    const reading = decodeArchive(zstdDecompressSync(readFileSync(store.layerPath(layer))));
    for (const entry of reading.ok ? reading.entries : []) {
      if (entry.kind !== 'file' || !isElf(entry.data)) continue;
      expect(readElfNeeds(peekOctets(entry.data))?.machine, entry.path).toBe(ELF_MACHINES.arm64);
      programs.push(entry.path);
    }
  }
  expect(programs).toEqual(expect.arrayContaining(['usr/sbin/nginx', 'usr/bin/busybox']));
  expect(programs.some((path) => path.endsWith('/virtio_net.ko'))).toBe(true);
  // "ARMd" at byte 56: the magic number of an arm64 kernel (Documentation/arm64/booting.rst).
  expect(readFileSync(store.kernelPath(manifest.kernel.sha256)).subarray(56, 60).toString('latin1')).toBe('ARMd');
});
