// A kernel's package unpacked to the cache: on a disk that is full, and where builds of before have left something.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openKernel, readKernelDocs, sweepKernels } from '../../images/kernel.io.ts';
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
  mkdirSync(join(tree, 'usr/share/doc/linux'), { recursive: true });
  writeFileSync(join(tree, 'usr/share/doc/linux/copyright'), 'x');
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

test('a file of the cache that changed, went or came, and a folder of before: unpacked again, and said', async () => {
  const { vmlinuz, modulesFolder } = await open();
  const unpacked = join(disk, kernelCacheName(ONE.sha256));
  const module = join(modulesFolder, 'kernel/x.ko');
  const said: string[] = [];
  const openAgain = () =>
    openKernel({ file: async () => deb }, ONE, disk, (event) => event.kind === 'note' && said.push(event.text));
  const docs = () => readKernelDocs(disk, ONE, () => true);
  await openAgain();
  expect(said).toEqual([]);
  const damages: readonly (() => void)[] = [
    () => writeFileSync(vmlinuz, 'y'),
    () => rmSync(module),
    () => execFileSync('mkfifo', [join(modulesFolder, 'kernel/pipe')]),
    () => rmSync(join(unpacked, '.stamp')),
  ];
  for (const [index, damage] of damages.entries()) {
    damage();
    expect(await docs()).toBeUndefined();
    await openAgain();
    expect(await docs()).toBeDefined();
    expect(said).toEqual(
      Array.from(
        { length: index + 1 },
        () => 'what the cache has of linux is not what was unpacked; it is unpacked again',
      ),
    );
    expect(readFileSync(vmlinuz, 'utf8')).toBe('x');
    expect(readFileSync(module)).toHaveLength(MODULE_BYTES);
    expect(readdirSync(join(modulesFolder, 'kernel'))).toEqual(['x.ko']);
  }
});

test('a package that leads out of its folder: nothing outside is read, changed or waited for', async () => {
  const outside = join(folder, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'secret'), 'secret', { mode: 0o600 });
  writeFileSync(join(outside, 'host.ko'), 'host');
  execFileSync('xz', [join(outside, 'host.ko')]);
  const before = readdirSync(outside);
  const openHostile = async (name: string, change: (tree: string) => void) => {
    const tree = join(folder, name);
    const modules = join(tree, 'lib/modules/6.1/kernel');
    for (const path of [join(tree, 'DEBIAN'), join(tree, 'boot'), join(tree, 'usr/bin'), modules])
      mkdirSync(path, { recursive: true });
    cpSync(join(folder, 'tree/DEBIAN/control'), join(tree, 'DEBIAN/control'));
    writeFileSync(join(tree, 'boot/vmlinuz-6.1'), 'x');
    writeFileSync(join(modules, 'y.ko'), 'y');
    change(tree);
    const path = join(folder, `${name}.deb`);
    execFileSync('dpkg-deb', ['-b', tree, path], { stdio: 'ignore' });
    const one = { ...ONE, sha256: createHash('sha256').update(name).digest('hex') };
    const unpacked = join(disk, kernelCacheName(one.sha256));
    return { unpacked, kernel: await openKernel({ file: async () => path }, one, disk, () => undefined) };
  };

  const { unpacked, kernel } = await openHostile('leads-out', (tree) => {
    symlinkSync(outside, join(tree, 'x'));
    symlinkSync(outside, join(tree, 'lib/modules/6.1/build'));
    symlinkSync('.', join(tree, 'lib/modules/6.1/kernel/a'));
    execFileSync('mkfifo', [join(tree, 'lib/modules/6.1/kernel/p.ko.xz')]);
    writeFileSync(join(tree, 'usr/bin/sh'), '', { mode: 0o755 });
    chmodSync(join(tree, 'boot/vmlinuz-6.1'), 0o4755);
  });
  const files = readdirSync(unpacked, { recursive: true, withFileTypes: true }).filter((item) => !item.isDirectory());
  expect(files.map(({ name }) => name).sort()).toEqual(['.stamp', 'vmlinuz-6.1', 'y.ko']);
  expect(statSync(unpacked).mode & 0o777).toBe(0o700);
  expect(statSync(kernel.vmlinuz).mode & 0o7111).toBe(0);
  expect(readdirSync(outside)).toEqual(before);

  const none = { code: 'E_BUILD', message: 'the package linux holds no /boot/vmlinuz-*' };
  for (const [name, command] of [
    ['secret', ['ln', '-s', join(outside, 'secret')]],
    ['fifo', ['mkfifo']],
    ['endless', ['ln', '-s', '/dev/zero']],
  ] as const) {
    const [program, ...words] = command;
    const hostile = openHostile(name, (tree) => {
      rmSync(join(tree, 'boot/vmlinuz-6.1'));
      execFileSync(program, [...words, join(tree, 'boot/vmlinuz-6.1')]);
    });
    await expect(hostile).rejects.toMatchObject(none);
  }
  const circle = openHostile('proc', (tree) => {
    rmSync(join(tree, 'lib/modules/6.1'), { recursive: true });
    symlinkSync('/proc/self/task', join(tree, 'lib/modules/6.1'));
  });
  await expect(circle).rejects.toMatchObject({ code: 'E_BUILD', message: 'the package linux holds no modules of 6.1' });
});
