// What becomes of the members of a package's archive: nothing is carried as something else, and nothing is lost in silence.

import { expect, test } from 'vitest';
import type { CpioEntry } from '../../images/cpio.ts';
import { memberOf, settle, type TarHeader } from '../../images/member.ts';

const header = (more: Partial<TarHeader>): TarHeader => ({
  name: './opt/a',
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  ...more,
});

const REFUSED: readonly [string, Partial<TarHeader>, string][] = [
  ['ten digits of an owner', { uid: 99_999_999_999 }, 'an owner or a group that no image has: 99999999999'],
  ['an owner below 0', { gid: -5 }, 'no image has: -5'],
  ['the owner that chown(2) leaves as it is', { uid: 0xffff_ffff }, 'no image has: 4294967295'],
  ['an owner that is no number', { uid: null }, 'no image has: NaN'],
  ['a large owner in an extended header', { pax: { uid: '99999999999' } }, 'no image has: 99999999999'],
  [
    'a device beyond those of Linux',
    { type: 'character-device', devmajor: 2_000_000, devminor: 0 },
    'is no device: 2000000, 0',
  ],
  ['its other number', { type: 'block-device', devmajor: 8, devminor: 1 << 20 }, 'is no device: 8, 1048576'],
  ['a type that the reader does not know', { type: null }, 'is sparse or of another type'],
  ['a sparse file of pax', { pax: { 'GNU.sparse.major': '1' } }, 'is sparse'],
  ['octets that are no UTF-8', { name: 'opt/\uFFFD' }, 'a name that is not UTF-8'],
  ['a NUL', { name: 'opt/a\0b' }, 'its file opt/a\\x00b holds a NUL'],
  ['a path that is too long', { name: `opt/${'a/'.repeat(3000)}b` }, 'is longer than 4095 bytes'],
  ['the name that ends an archive', { name: 'TRAILER!!!' }, 'is the name that ends an archive'],
  ['a way out', { name: 'opt/../../x' }, 'its file opt/../../x leaves the root'],
  ['a symlink to nothing', { type: 'symlink', linkname: '' }, 'leads nowhere'],
  ['a symlink too far', { type: 'symlink', linkname: 'a'.repeat(4096) }, 'leads further than 4095 bytes'],
];
for (const [what, more, why] of REFUSED) {
  test(`${what}: refused`, () => {
    const member = memberOf(header(more));
    expect(member).toEqual({ kind: 'refused', why: expect.stringContaining(why) });
    // However long the name is, the sentence is one that can be read.
    expect(member.kind === 'refused' && member.why.length).toBeLessThan(200);
  });
}

test('steps that lead nowhere are no part of a path; the root is no file', () => {
  expect(memberOf(header({ name: './opt/./a//b' }))).toMatchObject({ kind: 'entry', entry: { path: 'opt/a/b' } });
  expect(memberOf(header({ name: './', type: 'directory' }))).toEqual({ kind: 'root' });
});

test('what an image has room for is taken as it is', () => {
  expect(memberOf(header({ uid: 0xffff_fffe, pax: { gid: '65536' } }))).toMatchObject({
    entry: { kind: 'file', uid: 0xffff_fffe, gid: 65_536 },
  });
  expect(memberOf(header({ type: 'character-device', devmajor: 0xfff, devminor: 0xf_ffff }))).toMatchObject({
    entry: { kind: 'character', major: 0xfff, minor: 0xf_ffff },
  });
});

const base = { mode: 0o644, uid: 0, gid: 0 };
const file = (path: string): CpioEntry => ({ ...base, path, kind: 'file', data: new Uint8Array(1) });
const link = (path: string, target: string): CpioEntry => ({ ...base, path, kind: 'link', target });
const symlink = (path: string, target: string): CpioEntry => ({ ...base, path, kind: 'symlink', target });
const folder = (path: string): CpioEntry => ({ ...base, path, kind: 'directory' });
const settled = (...entries: readonly CpioEntry[]) => settle(new Map(entries.map((entry) => [entry.path, entry])));

const UNSETTLED: readonly [string, readonly CpioEntry[], string][] = [
  ['a hard link to nothing', [link('a', 'b')], 'its file a is a hard link to b, which is no file of it'],
  ['to itself', [link('a', 'a')], 'a hard link to a, which'],
  ['in a ring', [link('a', 'b'), link('b', 'a')], 'a hard link to b, which'],
  ['out of the root', [link('a', '../../etc/passwd')], 'a hard link to ../../etc/passwd, which'],
  ['to a folder', [folder('b'), link('a', 'b')], 'a hard link to b, which'],
  ['a file below a file', [file('opt/a'), file('opt/a/b')], 'its file opt/a/b lies below /opt/a, which is no folder'],
  ['a marker', [file(`.layers/${'0'.repeat(64)}`)], 'is where layers have their markers (/.layers)'],
  ['no folder for the markers', [symlink('.layers', '/tmp')], 'is where layers have their markers'],
];
for (const [what, entries, why] of UNSETTLED) {
  test(`${what}: refused`, () => expect(settled(...entries)).toEqual({ why: expect.stringContaining(why) }));
}

test('a hard link leads to a file, through however many; to anything else it is that thing again', () => {
  expect(settled(link('c', 'b'), link('b', 'a'), file('a'))).toMatchObject({
    entries: [{ path: 'c', kind: 'link', target: 'a' }, { path: 'b', kind: 'link', target: 'a' }, { path: 'a' }],
  });
  expect(settled(symlink('a', '/x'), link('b', 'a'))).toEqual({ entries: [symlink('a', '/x'), symlink('b', '/x')] });
});

test('what lies behind a symlink stays: whoever unpacks follows it', () => {
  expect(settled(symlink('var/run', '/run'), folder('var/run/x'))).toHaveProperty('entries.length', 2);
});
