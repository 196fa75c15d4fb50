// Which files belong into a backup, and that nothing else comes out of one.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isKept, readNote, refusalOf } from '../../../netboot/host/backup.ts';

const SHA = 'a'.repeat(64);
const KEPT: readonly [string, boolean | 'images'][] = [
  ['etc/rouse.yaml', true],
  ['etc/nodes/web1.yaml', true],
  ['etc/profiles/web.yaml', true],
  ['etc/roles/own/files/etc/x', true],
  ['etc/services/netboot/run', true],
  ['etc/services/netboot/supervise/status', false],
  ['etc/services/netboot/log/main/current', false],
  ['etc/nodes/.web1.yaml.new', false],
  ['lib/store.sqlite', true],
  ['lib/store.sqlite-wal', false],
  ['lib/store.sqlite.v2', false],
  ['lib/audit.jsonl', true],
  ['lib/keys/images.key', true],
  ['lib/loaders/snponly.efi', true],
  ['lib/images/web/3.json', true],
  ['lib/images/web/current', true],
  [`lib/images/locks/${SHA}.json`, true],
  ['lib/images/locks/current.json', false],
  [`lib/images/layers/${SHA}.zst`, 'images'],
  [`lib/images/layers/${SHA}.cpio`, 'images'],
  [`lib/images/kernels/${SHA}`, 'images'],
  [`lib/images/packages/${SHA}.deb`, 'images'],
  ['lib/backup-1.sqlite', false],
  ['lib/keys/../../etc/passwd', false],
  ['etc//rouse.yaml', false],
  ['usr/bin/x', false],
];
for (const [name, want] of KEPT) {
  test(`${name}: ${want}`, () =>
    expect([isKept(name, false), isKept(name, true)]).toEqual([want === true, want !== false]));
}

const ENTRIES: readonly [string, string, string | undefined, string | undefined][] = [
  ['etc/rouse.yaml', 'file', undefined, undefined],
  ['lib/images/web/current', 'symlink', '3.json', undefined],
  ['lib/images/web/current', 'symlink', '../../../etc/passwd', 'its target is no generation'],
  ['etc/profiles/lb.yaml', 'symlink', '../profiles/web.yaml', undefined],
  ['etc/profiles/lb.yaml', 'symlink', '../../shadow', 'its target lies outside the configuration'],
  ['etc/profiles/lb.yaml', 'symlink', '/etc/shadow', 'its target lies outside the configuration'],
  ['lib/keys/images.key', 'symlink', 'x', 'it is a link'],
  ['lib/keys/images.key', 'link', 'etc/rouse.yaml', 'it is a link'],
  ['etc/rouse.yaml', 'character-device', undefined, 'it is a character-device'],
  ['../etc/passwd', 'file', undefined, 'it is no file of a boot server'],
  ['/etc/passwd', 'file', undefined, 'it is no file of a boot server'],
];
for (const [name, kind, target, want] of ENTRIES) {
  test(`${kind} ${name}${target === undefined ? '' : ` to ${target}`}: ${want ?? 'taken'}`, () =>
    expect(refusalOf(name, kind, target)).toBe(want));
}

test('whatever is taken lies below etc or lib', () => {
  const step = fc.constantFrom('etc', 'lib', '..', '.', '', 'nodes', 'keys', 'services', 'x.yaml');
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
      const name = steps.join('/');
      if (refusalOf(name, 'file', undefined) !== undefined) return;
      expect(new URL(name, 'file:///root/').pathname).toMatch(/^\/root\/(etc|lib)\/./);
    }),
    { numRuns: 2000 },
  );
});

test('a note of a later rouse is refused, one of this rouse read', () => {
  expect(readNote('{"version":2}')).toEqual({
    ok: false,
    why: 'it is of version 2, and this rouse knows versions up to 1',
  });
  expect(readNote('{"version":1,"host":"a"}')).toMatchObject({ ok: true, note: { host: 'a', hasImages: false } });
  expect(readNote('[]')).toEqual({ ok: false, why: 'its backup.json names no version' });
  expect(readNote('{')).toEqual({ ok: false, why: 'its backup.json is no JSON' });
  expect(readNote('null')).toMatchObject({ ok: false });
});
