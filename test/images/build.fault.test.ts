// A disk that fills up while an image is built: a sentence, and what is published is whole and unchanged.
//
// Needs root for a small tmpfs. The recipes here need no package of their own, so that the failure comes where it should.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const rooted = test.skipIf(process.getuid?.() !== 0);

let folder = '';
let lib = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-full-'));
  lib = join(folder, 'lib');
  mkdirSync(lib);
  cpSync(join(ROOT, 'services'), join(folder, 'services'), { recursive: true });
  if (process.getuid?.() === 0) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', lib]);
});
afterAll(() => {
  if (process.getuid?.() === 0) execFileSync('umount', [lib]);
  rmSync(folder, { recursive: true, force: true });
});

rooted(
  'a full disk leaves the published generation whole, says so, and building works again once there is space',
  async () => {
    const build = () => buildImage({ roleDirs: [join(folder, 'services')], role: 'base', libDir: lib, cacheDir });
    expect((await build()).manifest.generation).toBe(1);
    const store = openStore(lib);
    // Noise does not compress: the new layer does not fit beside what fills the disk.
    writeFileSync(join(folder, 'services/base/files/noise'), randomBytes(3_000_000));
    const filler = join(lib, 'filler');
    try {
      for (;;) appendFileSync(filler, Buffer.alloc(65_536, 1));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    const failure = await build().catch((error: Error) => error);
    expect(failure).toMatchObject({ name: 'Fault', code: 'E_STORE' });
    expect((failure as Error).message).toMatch(
      /^cannot build the image base: ENOSPC.*; free space; what is published is unchanged$/,
    );
    expect(await store.summary('base')).toMatchObject({ generations: [1], current: 1 });
    expect(await verifyImage(store, 'base')).toEqual([]);
    const litter = readdirSync(join(lib, 'images'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.new'),
    );
    expect(litter).toEqual([]);
    rmSync(filler);
    expect((await build()).manifest.generation).toBe(2);
    expect(await verifyImage(store, 'base')).toEqual([]);
  },
);
