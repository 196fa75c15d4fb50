// images/cpio.ts beside GNU cpio, and against foreign bytes.

import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { concat, type CpioEntry, encodeEntries, encodeTrailer, pathProblem } from '../../images/cpio.ts';
import { decodeArchive } from '../../images/cpioread.ts';

const octets = (text: string): Uint8Array => new TextEncoder().encode(text);
const root = { uid: 0, gid: 0 };

const SAMPLE: readonly CpioEntry[] = [
  { kind: 'directory', path: 'etc', mode: 0o755, ...root },
  { kind: 'file', path: 'etc/odd', mode: 0o640, uid: 33, gid: 44, data: octets('abc') },
  { kind: 'file', path: 'etc/empty', mode: 0o644, ...root, data: octets('') },
  { kind: 'file', path: 'etc/setuid', mode: 0o4755, ...root, data: octets('four') },
  { kind: 'symlink', path: 'bin', mode: 0o777, ...root, target: 'usr/bin' },
  { kind: 'character', path: 'null', mode: 0o666, ...root, major: 1, minor: 3 },
  { kind: 'fifo', path: 'pipe', mode: 0o600, ...root },
  { kind: 'file', path: 'one', mode: 0o644, ...root, data: octets('twins') },
  { kind: 'link', path: 'another', mode: 0o644, ...root, target: 'one' },
  { kind: 'link', path: 'zwei', mode: 0o644, ...root, target: 'one' },
  { kind: 'file', path: 'ö', mode: 0o644, ...root, data: octets('utf-8') },
];

const archive = (entries: readonly CpioEntry[]): Uint8Array => concat([encodeEntries(entries), encodeTrailer()]);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-cpio-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('GNU cpio unpacks what we write: content, modes, owners, links, devices', () => {
  const isRoot = process.getuid?.() === 0;
  const entries = isRoot ? SAMPLE : SAMPLE.filter(({ kind }) => kind !== 'character');
  execFileSync('cpio', ['-idm', '--quiet', ...(isRoot ? [] : ['--no-preserve-owner'])], {
    cwd: folder,
    input: archive(entries),
  });
  expect(readFileSync(join(folder, 'etc/odd'), 'utf8')).toBe('abc');
  expect(lstatSync(join(folder, 'etc/odd')).mode & 0o7777).toBe(0o640);
  expect(readlinkSync(join(folder, 'bin'))).toBe('usr/bin');
  expect(lstatSync(join(folder, 'pipe')).isFIFO()).toBe(true);
  expect(lstatSync(join(folder, 'one')).mtimeMs).toBe(0);
  for (const name of ['one', 'another', 'zwei']) {
    expect(readFileSync(join(folder, name), 'utf8')).toBe('twins');
    expect(lstatSync(join(folder, name)).nlink).toBe(3);
  }
  if (!isRoot) return;
  expect(lstatSync(join(folder, 'etc/odd'))).toMatchObject({ uid: 33, gid: 44 });
  expect(lstatSync(join(folder, 'etc/setuid')).mode & 0o7777).toBe(0o4755);
  expect(lstatSync(join(folder, 'null')).isCharacterDevice()).toBe(true);
  expect(lstatSync(join(folder, 'null')).rdev).toBe(0x103);
});

test('we read what GNU cpio writes', () => {
  const names = ['.', 'etc', 'etc/odd', 'bin', 'pipe', 'one', 'another', 'zwei'];
  const written = execFileSync('cpio', ['-o', '-H', 'newc', '--quiet'], {
    cwd: folder,
    input: `${names.join('\n')}\n`,
  });
  const reading = decodeArchive(Uint8Array.from(written));
  if (!reading.ok) throw new Error(reading.reason);
  const byPath = new Map(reading.entries.map((entry) => [entry.path, entry]));
  expect(byPath.get('etc/odd')).toMatchObject({ kind: 'file', mode: 0o640, data: octets('abc') });
  expect(byPath.get('bin')).toMatchObject({ kind: 'symlink', target: 'usr/bin' });
  const links = names.slice(5).map((name) => byPath.get(name)?.kind ?? '');
  expect(links.sort()).toEqual(['file', 'link', 'link']);
});

test('the order of entries is that of their octets, whatever order they come in', () => {
  const names = ['b', 'a', 'ö', 'a/b', 'a-b', 'Z', '\u{1F600}', '\uFFFD'];
  const entries = names.map((path): CpioEntry => ({ kind: 'directory', path, mode: 0o755, ...root }));
  const reading = decodeArchive(archive(entries));
  if (!reading.ok) throw new Error(reading.reason);
  // U+FFFD is EF BF BD and comes before F0 9F 98 80; in UTF-16 it is the other way round.
  expect(reading.entries.map(({ path }) => path)).toEqual(['Z', 'a', 'a-b', 'a/b', 'b', 'ö', '\uFFFD', '\u{1F600}']);
  expect(archive(entries.toReversed())).toEqual(archive(entries));
});

test('reading gives back what was written', () => {
  const reading = decodeArchive(archive(SAMPLE));
  if (!reading.ok) throw new Error(reading.reason);
  const sorted = SAMPLE.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  // The file of a group of links is the last of them by name, which carries the data.
  expect(reading.entries.filter(({ kind }) => kind !== 'link' && kind !== 'file')).toEqual(
    sorted.filter(({ kind }) => kind !== 'link' && kind !== 'file'),
  );
  expect(reading.entries.find(({ path }) => path === 'zwei')).toMatchObject({ kind: 'file', data: octets('twins') });
  expect(reading.end).toBe(archive(SAMPLE).length);
});

const REFUSED = [
  ['/etc/passwd', 'starts with a slash'],
  ['../x', 'leaves the root'],
  ['a/../../x', 'leaves the root'],
  ['a//b', 'leaves the root or is not canonical'],
  ['', 'is empty'],
  ['a\0b', 'holds a NUL'],
  ['x'.repeat(5000), 'is longer than'],
] as const;
for (const [path, why] of REFUSED) {
  test(`a name such as ${JSON.stringify(path.slice(0, 20))} is refused when written and when read`, () => {
    expect(pathProblem(path)).toContain(why);
    const entry: CpioEntry = { kind: 'directory', path, mode: 0o755, ...root };
    expect(() => encodeEntries([entry])).toThrow(why);
  });
}

test('a foreign archive whose name leaves the root is refused', () => {
  const good = archive([{ kind: 'file', path: 'aa/etc/x', mode: 0o644, ...root, data: octets('x') }]);
  const bad = Buffer.from(good).toString('latin1').replace('aa/etc/x', '../etc/x');
  expect(decodeArchive(Buffer.from(bad, 'latin1'))).toMatchObject({ ok: false });
});

test('one path twice, and a link to nothing, are bugs of the caller', () => {
  const entry: CpioEntry = { kind: 'directory', path: 'a', mode: 0o755, ...root };
  expect(() => encodeEntries([entry, entry])).toThrow('is there twice');
  for (const uid of [-5, 0x1_0000_0000, 99_999_999_999, 1.5, Number.NaN])
    expect(() => encodeEntries([{ ...entry, uid }])).toThrow(`uid cannot be ${uid}`);
  expect(() => encodeEntries([{ kind: 'link', path: 'b', mode: 0o644, ...root, target: 'c' }])).toThrow('links to c');
});

test('no bytes make the reader throw, and none make it read beyond the end', () => {
  const whole = archive(SAMPLE);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, cut) => {
      const mutated = whole.slice(0, cut);
      if (at < cut) mutated[at] = value;
      const reading = decodeArchive(mutated);
      expect(reading.ok ? reading.end : reading.offset).toBeLessThanOrEqual(mutated.length);
    }),
    { numRuns: 2000 },
  );
});

test('a cut archive says so', () => {
  const whole = archive(SAMPLE);
  for (let cut = 0; cut < whole.length - 3; cut += 7) expect(decodeArchive(whole.subarray(0, cut)).ok).toBe(false);
});
