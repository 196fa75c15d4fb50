// A kernel's package unpacked to the cache: on a disk that is full, and where builds of before have left something.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openKernel, sweepKernels } from '../../images/kernel.io.ts';
import { kernelCacheName } from '../../images/kernelcache.ts';

let folder = '';
let disk = '';
let deb = '';
/** What its one module takes unpacked; compressed it is a thousandth. Not of zeros: xz leaves those out. */
const MODULE_BYTES = 3_000_000;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-kernel-'));
  const tree = join(folder, 'tree');
  const modules = join(tree, 'lib/modules/6.1/kernel');
  for (const path of [join(tree, 'DEBIAN'), join(tree, 'boot'), modules]) mkdirSync(path, { recursive: true });
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    'Package: linux\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n',
  );
  writeFileSync(join(tree, 'boot/vmlinuz-6.1'), 'x');
  writeFileSync(join(modules, 'x.ko'), new Uint8Array(MODULE_BYTES).fill(1));
  execFileSync('xz', [join(modules, 'x.ko')]);
  deb = join(folder, 'linux.deb');
  execFileSync('dpkg-deb', ['-b', tree, deb], { stdio: 'ignore' });
  disk = join(folder, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]);
});
afterAll(() => {
  execFileSync('umount', [disk]);
  rmSync(folder, { recursive: true, force: true });
});

const ONE = {
  name: 'linux',
  version: '1',
  architecture: 'all',
  sha256: 'a'.repeat(64),
  bytes: 1,
  depends: [],
  provides: [],
};
const open = () => openKernel({ file: async () => deb }, ONE, disk, () => undefined);

test('a full disk: a sentence, and nothing of the kernel stays on it; with more room it is unpacked', async () => {
  await expect(open()).rejects.toMatchObject({
    code: 'E_BUILD',
    message: expect.stringMatching(/^cannot unpack the modules of linux: .*No space left on device/),
  });
  expect(readdirSync(disk)).toEqual([]);
  execFileSync('mount', ['-o', 'remount,size=8m', disk]);
  const { release, modulesFolder } = await open();
  expect(release).toBe('6.1');
  expect(readdirSync(join(modulesFolder, 'kernel'))).toEqual(['x.ko']);
  expect(readdirSync(disk)).toEqual([kernelCacheName(ONE.sha256)]);
});

test('what a killed build and another builder left goes; what this one has unpacked stays', async () => {
  const { vmlinuz } = await open();
  const own = kernelCacheName(ONE.sha256);
  for (const name of [`${own}.4711.new`, 'b'.repeat(32), `0-${'c'.repeat(32)}`])
    mkdirSync(join(disk, name, 'boot'), { recursive: true });
  for (const name of [`.${own}.json.abc.new`, `${'b'.repeat(32)}.facts.json`, `${own}.json`])
    writeFileSync(join(disk, name), '{}');
  await sweepKernels(disk);
  expect(readdirSync(disk).sort()).toEqual([own, `${own}.json`]);
  expect(existsSync(vmlinuz)).toBe(true);
  await sweepKernels(join(disk, 'no-such-folder'));
});
