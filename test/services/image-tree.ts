// test/services/image-tree.ts - the files of a built image as a folder, for tests that run its programs without a machine.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import { buildImage } from '../../images/build.io.ts';
import { decodeArchive } from '../../images/cpioread.ts';
import type { Manifest } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Packages are downloaded once for all tests of this clone. */
export const TEST_CACHE = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
/** The first build of an image may have to download and compress it. */
export const BUILD_MS = 600_000;

/**
 * Builds a role's image into folder/lib and unpacks its layers into folder/ROLE.
 *
 * @returns the tree's folder, good for chroot: busybox's commands are there, /proc and /dev are not.
 */
export async function unpackImage(role: string, folder: string): Promise<{ tree: string; manifest: Manifest }> {
  const libDir = join(folder, 'lib');
  const tree = join(folder, role);
  const { manifest } = await buildImage({ roleDirs: [join(ROOT, 'services')], role, libDir, cacheDir: TEST_CACHE });
  for (const layer of manifest.layers) {
    const reading = decodeArchive(zstdDecompressSync(readFileSync(openStore(libDir).layerPath(layer))));
    if (!reading.ok) throw new Error(reading.reason);
    for (const entry of reading.entries) {
      const path = join(tree, entry.path);
      mkdirSync(entry.kind === 'directory' ? path : dirname(path), { recursive: true });
      if (entry.kind === 'file') writeFileSync(path, entry.data, { mode: entry.mode });
      if (entry.kind === 'symlink') symlinkSync(entry.target, path);
    }
  }
  writeFileSync(join(tree, 'dev/null'), '');
  execFileSync('chroot', [tree, '/bin/busybox', '--install', '-s']);
  return { tree, manifest };
}
