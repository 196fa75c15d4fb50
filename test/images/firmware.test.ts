// Which firmware an image takes: what modules name, in the forms that the kernel reads, with the links that lead there.

import { expect, test } from 'vitest';
import type { CpioEntry } from '../../images/cpio.ts';
import {
  chooseFirmware,
  describeMissing,
  firmwarePackagesOf,
  kernelFacts,
  missingByModule,
  missingFirmware,
} from '../../images/firmware.ts';

const base = { mode: 0o644, uid: 0, gid: 0 };
const file = (path: string): CpioEntry => ({ ...base, kind: 'file', path, data: new TextEncoder().encode(path) });
const link = (path: string, target: string): CpioEntry => ({ ...base, kind: 'symlink', path, target });
const names = (...files: string[]) => files.map((one) => ({ module: 'm', file: one }));
const choose = (asked: string[], entries: CpioEntry[], endings = ['', '.xz']) =>
  chooseFirmware(names(...asked), endings, [{ name: 'firmware-x', entries }])
    .map(({ entry }) => entry.path.replace('usr/lib/firmware/', ''))
    .sort();

test('only what is named is taken, under either name of the merged folder', () => {
  expect(choose(['bnx2/a.fw', 'gone'], [file('lib/firmware/bnx2/a.fw'), file('usr/lib/firmware/bnx2/b.fw')])).toEqual([
    'bnx2/a.fw',
  ]);
});

test('a pattern takes all that it means, and a compressed form counts only where the kernel reads it', () => {
  const entries = ['ice/a-1.pkg', 'ice/a-2.pkg.xz', 'ice/b.pkg', 'ice/a-3.pkg.zst'].map((one) =>
    file(`lib/firmware/${one}`),
  );
  expect(choose(['ice/a-*.pkg'], entries)).toEqual(['ice/a-1.pkg', 'ice/a-2.pkg.xz']);
  expect(choose(['ice/a-*.pkg'], entries, [''])).toEqual(['ice/a-1.pkg']);
});

test('links come with what they lead to: files, folders, several steps, hard links; a circle or a loose end is nothing', () => {
  const entries = [
    link('lib/firmware/ice/ice.pkg', 'ice-1.3.pkg'),
    file('lib/firmware/ice/ice-1.3.pkg'),
    link('lib/firmware/old', 'new/deep'),
    link('lib/firmware/new/deep/a', '/lib/firmware/real/a'),
    file('lib/firmware/real/a'),
    { ...base, kind: 'link', path: 'lib/firmware/hard', target: 'lib/firmware/real/a' } as CpioEntry,
    link('lib/firmware/loop', 'loop'),
    link('lib/firmware/loose', 'nothing'),
  ];
  expect(choose(['ice/ice.pkg'], entries)).toEqual(['ice/ice-1.3.pkg', 'ice/ice.pkg']);
  expect(choose(['old/a'], entries)).toEqual(['new/deep/a', 'old', 'real/a']);
  expect(choose(['hard'], entries)).toEqual(['hard']);
  expect(choose(['loop', 'loose'], entries)).toEqual([]);
  const [hard] = chooseFirmware(names('hard'), [''], [{ name: 'p', entries }]);
  expect(hard).toMatchObject({ owner: 'p', entry: { kind: 'file' } });
});

test('what the image lacks is looked for among all its files, whoever brought them', () => {
  const paths = new Set(['usr/lib/firmware/a.bin', 'usr/lib/firmware/b.bin.xz', 'usr/lib/firmware/c/1']);
  const lacks = (endings: string[]) =>
    missingFirmware(names('a.bin', 'b.bin', 'c/*', 'd/*'), endings, paths).map((one) => one.file);
  expect(lacks(['', '.xz'])).toEqual(['d/*']);
  expect(lacks([''])).toEqual(['b.bin', 'd/*']);
});

test('the forms that a kernel reads are told by its configuration', () => {
  const debian12 =
    'CONFIG_FW_LOADER_COMPRESS=y\nCONFIG_FW_LOADER_COMPRESS_XZ=y\n# CONFIG_FW_LOADER_COMPRESS_ZSTD is not set\n';
  expect(kernelFacts(debian12, []).endings).toEqual(['', '.xz']);
  expect(kernelFacts('CONFIG_FW_LOADER_COMPRESS=y\nCONFIG_FW_LOADER_COMPRESS_ZSTD=y\n', []).endings).toEqual([
    '',
    '.zst',
  ]);
  expect(kernelFacts('CONFIG_FW_LOADER_COMPRESS=y\n', []).endings).toEqual(['', '.xz']);
  expect(kernelFacts('# CONFIG_FW_LOADER_COMPRESS is not set\n', []).endings).toEqual(['']);
  expect(kernelFacts('', []).endings).toEqual(['']);
});

test('whether a kernel loads microcode is told by its configuration', () => {
  expect(kernelFacts('CONFIG_MICROCODE=y\nCONFIG_MICROCODE_INTEL=y\n', []).loadsMicrocode).toBe(true);
  expect(kernelFacts('# CONFIG_MICROCODE is not set\n', []).loadsMicrocode).toBe(false);
  expect(kernelFacts('CONFIG_MICROCODE_LATE_LOADING=y\n', []).loadsMicrocode).toBe(false);
});

test('what is missing is told by module, with the packages that are known; what a recipe does without is not told', () => {
  const missing = missingByModule(
    [
      { module: 'tg3', file: 'tigon/tg3.bin' },
      { module: 'bnx2', file: 'bnx2/b.fw' },
      { module: 'bnx2', file: 'bnx2/a.fw' },
      { module: 'odd', file: 'odd.bin' },
    ],
    { packages: ['firmware-x'], without: { tg3: 'its cards have their own' } },
  );
  expect(missing).toEqual([
    { module: 'bnx2', files: ['bnx2/a.fw', 'bnx2/b.fw'], packages: ['firmware-bnx2'] },
    { module: 'odd', files: ['odd.bin'], packages: [] },
    {
      module: 'tg3',
      files: ['tigon/tg3.bin'],
      packages: ['firmware-misc-nonfree'],
      accepted: 'its cards have their own',
    },
  ]);
  expect(describeMissing(missing)).toEqual([
    'module bnx2 asks for firmware that is not in the image, bnx2/a.fw and 1 more; add firmware-bnx2 to firmware.packages',
    'module odd asks for firmware that is not in the image, odd.bin',
  ]);
  const ice = missingByModule([{ module: 'ice', file: 'intel/ice/ddp/ice.pkg' }], { packages: [], without: {} });
  expect(describeMissing(ice)).toEqual([
    'module ice asks for firmware that is not in the image, intel/ice/ddp/ice.pkg; add firmware-misc-nonfree or firmware-intel-misc (Debian 13) to firmware.packages',
  ]);
  const without = {};
  expect(missingByModule([{ module: 'bnx2', file: 'bnx2/new.fw' }], { packages: ['firmware-bnx2'], without })).toEqual([
    { module: 'bnx2', files: ['bnx2/new.fw'], packages: [] },
  ]);
  expect(firmwarePackagesOf('intel/ice/ddp/ice.pkg')).toEqual(['firmware-misc-nonfree', 'firmware-intel-misc']);
  expect(firmwarePackagesOf('nobody/knows')).toEqual([]);
});
