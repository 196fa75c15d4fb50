// Memory does not grow with the image, while it is built and while it is looked at: 400 MB take no more than 20 MB.
//
// Each build is a process of its own; the kernel says how much memory it had at most. Among the fault tests because it needs the
// package cache, and is about a limit.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const SMALL_MB = 20;
const LARGE_MB = 400;
/** What Node leaves lying about before it collects it; the difference between the images is 380 MB. */
const MARGIN_KB = 96 * 1024;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-flat-'));
  cpSync(join(ROOT, 'services'), join(folder, 'services'), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const peakKb = async (...words: string[]): Promise<number> => {
  const { stdout } = await execa(process.execPath, [join(ROOT, 'test/images/flat.ts'), ...words]);
  return Number(stdout);
};

/** Half of it one large file and half of it many, all holes: they cost the test no room and the compressor little time. */
function fill(path: string, megabytes: number): void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  const put = (name: string, bytes: number): void => {
    writeFileSync(join(path, name), name);
    truncateSync(join(path, name), bytes);
  };
  put('large', megabytes * 500_000);
  for (let part = 0; part < megabytes / 2; part += 1) put(`part-${part}`, 1_000_000);
}

test("a role's content", async () => {
  const role = join(folder, 'services/bulk');
  mkdirSync(role);
  writeFileSync(join(role, 'recipe.yaml'), 'version: 1\nextends: base\n');
  const build = (megabytes: number): Promise<number> => {
    fill(join(role, 'files/srv'), megabytes);
    return peakKb('role', join(folder, 'services'), join(folder, `lib-${megabytes}`), cacheDir);
  };
  const small = await build(SMALL_MB);
  const large = await build(LARGE_MB);
  process.stdout.write(`peak memory of a build: ${small} KiB for ${SMALL_MB} MB, ${large} KiB for ${LARGE_MB} MB\n`);
  expect(large - small).toBeLessThan(MARGIN_KB);
});

test('what is published, verified and compared', async () => {
  const small = await peakKb('look', join(folder, `lib-${SMALL_MB}`));
  const large = await peakKb('look', join(folder, `lib-${LARGE_MB}`));
  process.stdout.write(
    `peak memory of verify and diff: ${small} KiB for ${SMALL_MB} MB, ${large} KiB for ${LARGE_MB} MB\n`,
  );
  expect(large - small).toBeLessThan(MARGIN_KB);
});

test('a package', async () => {
  const make = (megabytes: number): Promise<number> => {
    const tree = join(folder, 'bulk');
    fill(join(tree, 'usr/share/bulk'), megabytes);
    mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
    writeFileSync(
      join(tree, 'DEBIAN/control'),
      'Package: bulk\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n',
    );
    const path = join(folder, `bulk-${megabytes}.deb`);
    execFileSync('dpkg-deb', ['-Zgzip', '-z1', '-b', tree, path], { stdio: 'ignore' });
    return peakKb('package', path, join(folder, `deb-${megabytes}`));
  };
  const small = await make(SMALL_MB);
  const large = await make(LARGE_MB);
  process.stdout.write(`peak memory of a package: ${small} KiB for ${SMALL_MB} MB, ${large} KiB for ${LARGE_MB} MB\n`);
  expect(large - small).toBeLessThan(MARGIN_KB);
});
