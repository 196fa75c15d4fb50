// Which files of packages stay: rules, keep, leaveOut, and the closure over what programs need.

import { expect, test } from 'vitest';
import { peekAt } from '../../images/content.io.ts';
import type { CpioEntry } from '../../images/cpio.ts';
import { matcherOf } from '../../images/glob.ts';
import { layoutPackages, type LayoutInput, mergedPath, type PackageContent } from '../../images/layout.ts';
import { elfThatNeeds } from './elf-fixture.ts';

const root = { uid: 0, gid: 0 };
const file = (path: string, data: Uint8Array | string = path, mode = 0o644): CpioEntry => ({
  kind: 'file',
  path,
  mode,
  ...root,
  data: typeof data === 'string' ? new TextEncoder().encode(data) : data,
});
const folder = (path: string): CpioEntry => ({ kind: 'directory', path, mode: 0o755, ...root });
const symlink = (path: string, target: string): CpioEntry => ({ kind: 'symlink', path, mode: 0o777, ...root, target });
const link = (path: string, target: string): CpioEntry => ({ kind: 'link', path, mode: 0o644, ...root, target });

const LIB = 'usr/lib/x86_64-linux-gnu';
const LOADER = '/lib64/ld-linux-x86-64.so.2';
const libc: PackageContent = {
  name: 'libc6',
  entries: [
    file('lib/x86_64-linux-gnu/libc.so.6', elfThatNeeds(['ld-linux-x86-64.so.2'])),
    file('lib/x86_64-linux-gnu/libresolv.so.2', elfThatNeeds(['libc.so.6'])),
    file('lib/x86_64-linux-gnu/ld-linux-x86-64.so.2', elfThatNeeds([])),
    symlink('lib64/ld-linux-x86-64.so.2', '/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2'),
    file('usr/bin/ldd', '#!/bin/bash\n', 0o755),
    file(`${LIB}/gconv/UTF-16.so`, elfThatNeeds(['libc.so.6'])),
    file('usr/share/doc/libc6/copyright'),
  ],
};
const program = (needed: string[], more = {}): Uint8Array => elfThatNeeds(needed, { interpreter: LOADER, ...more });

const layout = (packages: readonly PackageContent[], more: Partial<LayoutInput> = {}) =>
  layoutPackages({ packages, below: [], provided: new Set(), keep: [], leaveOut: [], peek: peekAt, ...more });
const names = ({ files }: ReturnType<typeof layout>): string[] =>
  files
    .filter(({ entry }) => entry.kind !== 'directory')
    .map(({ entry }) => entry.path)
    .sort();

test('a program brings its loader, its libraries, and theirs; other libraries stay away with their reason', () => {
  const result = layout([libc, { name: 'tool', entries: [file('bin/tool', program(['libc.so.6']), 0o755)] }]);
  expect(result.problems).toEqual([]);
  expect(names(result)).toEqual([
    'usr/bin/tool',
    `${LIB}/ld-linux-x86-64.so.2`,
    `${LIB}/libc.so.6`,
    'usr/lib64/ld-linux-x86-64.so.2',
  ]);
  const reasons = Object.fromEntries(result.leftOut.map(({ path, reason }) => [path, reason]));
  expect(reasons).toMatchObject({
    [`${LIB}/libresolv.so.2`]: 'a library that nothing in the image needs',
    'usr/share/doc/libc6/copyright': 'documentation',
    [`${LIB}/gconv/UTF-16.so`]: expect.stringContaining('character sets'),
    'usr/bin/ldd': expect.stringContaining('tools of the C library'),
  });
});

test("a library's short name brings the file that it links to", () => {
  const zlib = {
    name: 'zlib1g',
    entries: [
      symlink(`${LIB}/libz.so.1`, 'libz.so.1.2.13'),
      file(`${LIB}/libz.so.1.2.13`, elfThatNeeds(['libc.so.6'])),
    ],
  };
  const result = layout([libc, zlib, { name: 'tool', entries: [file('usr/bin/tool', program(['libz.so.1']), 0o755)] }]);
  expect(result.problems).toEqual([]);
  expect(names(result)).toEqual(
    expect.arrayContaining([`${LIB}/libz.so.1`, `${LIB}/libz.so.1.2.13`, `${LIB}/libc.so.6`]),
  );
});

test('a library of a package below comes into this layer only if this layer is the first to need it', () => {
  const tool = { name: 'tool', entries: [file('usr/bin/tool', program(['libc.so.6', 'libresolv.so.2']), 0o755)] };
  const provided = new Set([`${LIB}/libc.so.6`, `${LIB}/ld-linux-x86-64.so.2`, 'usr/lib64/ld-linux-x86-64.so.2']);
  const result = layout([tool], { below: [libc], provided });
  expect(result.problems).toEqual([]);
  expect(names(result)).toEqual(['usr/bin/tool', `${LIB}/libresolv.so.2`]);
  expect(result.files.find(({ entry }) => entry.path.endsWith('libresolv.so.2'))?.owner).toBe('libc6');
});

test('a library that no package holds, and one that a rule or the recipe took away, are told with who needs it', () => {
  const tool = { name: 'tool', entries: [file('usr/bin/tool', program(['libnone.so.1', 'libc.so.6']), 0o755)] };
  expect(layout([libc, tool]).problems).toEqual([
    '/usr/bin/tool of tool needs libnone.so.1, which no package of the image holds',
  ]);
  const without = layout([libc, tool], { leaveOut: ['/usr/lib/**/libc.so.6'] });
  expect(without.problems).toContain(
    `/usr/bin/tool of tool needs /${LIB}/libc.so.6, which is left out (left out by the recipe); add it to keep`,
  );
});

test('RUNPATH is searched, $ORIGIN and all', () => {
  const tool = {
    name: 'tool',
    entries: [
      file('opt/tool/bin/tool', program(['libown.so'], { runpath: '$ORIGIN/../lib' }), 0o755),
      file('opt/tool/lib/libown.so', elfThatNeeds(['libc.so.6'])),
    ],
  };
  const direct = {
    name: 'tool',
    entries: [
      file('opt/tool/bin/tool', program(['libown.so'], { runpath: '/opt/tool/lib' }), 0o755),
      file('opt/tool/lib/libown.so', elfThatNeeds([])),
    ],
  };
  expect(layout([libc, tool]).problems).toEqual([]);
  expect(layout([libc, direct]).problems).toEqual([]);
});

test('keep overrules a rule, for libraries that are loaded by name too', () => {
  const result = layout([libc], { keep: ['/usr/share/doc/libc6/*', '/usr/lib/*/libresolv.so.2'] });
  expect(names(result)).toEqual(expect.arrayContaining(['usr/share/doc/libc6/copyright', `${LIB}/libresolv.so.2`]));
});

test('a script whose interpreter is not in the image goes; one whose interpreter is stays', () => {
  const tools = {
    name: 'tools',
    entries: [
      file('usr/bin/p', '#!/usr/bin/perl -w\n', 0o755),
      file('usr/bin/s', '#! /bin/sh\n', 0o755),
      file('usr/share/p', '#!/usr/bin/perl\n'),
    ],
  };
  const result = layout([tools], { provided: new Set(['usr/bin/sh']) });
  expect(names(result)).toEqual(['usr/bin/s', 'usr/share/p']);
  expect(result.leftOut).toEqual([
    { path: 'usr/bin/p', owner: 'tools', reason: 'a script for /usr/bin/perl, which is not in the image', bytes: 19 },
  ]);
});

test('one path in two packages is a problem, one folder is not', () => {
  const a = { name: 'a', entries: [folder('usr/share/x'), file('usr/share/x/f')] };
  const b = { name: 'b', entries: [folder('usr/share/x'), file('usr/share/x/f')] };
  expect(layout([a, b]).problems).toEqual(['/usr/share/x/f is in two packages, a and b']);
});

test('a hard link whose file was left out becomes the file', () => {
  const tool = {
    name: 'tool',
    entries: [
      file('usr/share/doc/x', 'content'),
      link('usr/share/one', 'usr/share/doc/x'),
      link('usr/share/two', 'usr/share/doc/x'),
    ],
  };
  const kept = layout([tool]).files.map(({ entry }) => entry);
  expect(kept.find(({ path }) => path === 'usr/share/one')).toMatchObject({
    kind: 'file',
    data: new TextEncoder().encode('content'),
  });
  expect(kept.find(({ path }) => path === 'usr/share/two')).toMatchObject({ kind: 'link', target: 'usr/share/one' });
});

test('empty folders stay where programs expect them', () => {
  const a = { name: 'a', entries: ['usr/share/empty', 'var/lib/nginx', 'etc/x.d', 'usr/share/doc/a'].map(folder) };
  expect(
    layout([a])
      .files.map(({ entry }) => entry.path)
      .sort(),
  ).toEqual(['etc/x.d', 'var/lib/nginx']);
});

test('/bin and /lib are /usr/bin and /usr/lib', () => {
  expect(mergedPath('bin/sh')).toBe('usr/bin/sh');
  expect(mergedPath('lib')).toBe('lib');
  expect(mergedPath('library/x')).toBe('library/x');
});

const GLOBS: [string, string, boolean][] = [
  ['/usr/share/doc/', '/usr/share/doc/a/b', true],
  ['/usr/share/doc/', '/usr/share/doc', true],
  ['/usr/share/doc/', '/usr/share/docs', false],
  ['/usr/lib/*/gconv/', '/usr/lib/x86_64-linux-gnu/gconv/X.so', true],
  ['/usr/lib/*/gconv/', '/usr/lib/gconv/X.so', false],
  ['/usr/lib/**/*.a', '/usr/lib/x/y/z.a', true],
  ['/etc/rc?.d/', '/etc/rc2.d/S01x', true],
  ['/etc/a.b', '/etc/axb', false],
  ['/etc/a+(b)', '/etc/a+(b)', true],
];
for (const [pattern, path, want] of GLOBS) {
  test(`${pattern} ${want ? 'means' : 'does not mean'} ${path}`, () => expect(matcherOf([pattern])(path)).toBe(want));
}
test('no patterns mean no path', () => expect(matcherOf([])('')).toBe(false));

test('a file of one package where another has a folder: said, with the package', () => {
  const [a, b] = [
    { name: 'a', entries: [file('opt/a')] },
    { name: 'b', entries: [file('opt/a/b')] },
  ];
  expect(layout([a, b]).problems).toEqual(['/opt/a/b of b lies below /opt/a, which is no folder']);
});
