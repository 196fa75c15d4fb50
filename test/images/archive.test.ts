// Which archive the recipes of a chain ask for, and the sources that apt is given for it.

import { expect, test } from 'vitest';
import { type Archive, deriveSources, joinArchives } from '../../images/archive.ts';

const join = (...chain: (Archive | undefined)[]) =>
  joinArchives(
    chain.map((archive, index) => ({
      archive,
      folder: `/roles/r${index}`,
      place: (...path) => `r${index}:${path.join('.')}`,
    })),
  );

test('no word of an archive: none', () => expect(join(undefined, undefined)).toBeUndefined());

test('components of all recipes add up, other suites replace, and each key knows its line', () => {
  const joined = join({ components: ['contrib'], suites: ['bookworm'] }, undefined, {
    components: ['non-free-firmware', 'contrib'],
    suites: ['trixie'],
  });
  expect(joined?.archive).toEqual({ components: ['contrib', 'non-free-firmware'], suites: ['trixie'] });
  expect(joined?.places).toEqual({
    all: 'r2:archive',
    components: 'r2:archive.components',
    suites: 'r2:archive.suites',
  });
});

test('a mirror takes the place of all that was said below it; a keyring lies beside its recipe', () => {
  const mirror = { mirror: 'http://a/debian', suites: ['x'], keyring: 'a.gpg' };
  expect(join({ components: ['contrib'] }, mirror)?.archive).toEqual({ ...mirror, keyring: '/roles/r1/a.gpg' });
  expect(join(mirror, { components: ['contrib'] })?.archive).toEqual({
    ...mirror,
    keyring: '/roles/r0/a.gpg',
    components: ['contrib'],
  });
  expect(join({ ...mirror, keyring: '/etc/k.asc' })?.archive.keyring).toBe('/etc/k.asc');
});

const DEB822 = `# the distribution
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEXEcE6R
# between

Types: deb
URIs: http://deb.debian.org/debian-security/
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://other.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://deb.nodesource.com/node_20.x
Suites: nodistro
Components: main
`;
const HOST = [
  { name: 'x.sources', text: DEB822 },
  {
    name: 'x.list',
    text: '# old\ndeb [arch=amd64 signed-by=/k] mirror+file:/etc/apt/mirrors/debian.list sid main # a word\n',
  },
];

test('components: the host’s files as they are, and beside them what its Debian sources lack', () => {
  const derived = deriveSources({ components: ['non-free-firmware', 'contrib'] }, HOST);
  expect(derived).toEqual({
    ok: true,
    files: [
      { name: '00.sources', text: DEB822 },
      { name: '01.list', text: HOST[1]?.text },
      {
        name: '02.sources',
        text: 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: non-free-firmware\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEXEcE6R\n',
      },
      {
        name: '03.sources',
        text: 'Types: deb\nURIs: http://deb.debian.org/debian-security/\nSuites: bookworm-security\nComponents: non-free-firmware contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n',
      },
      {
        name: '04.list',
        text: 'deb [arch=amd64 signed-by=/k] mirror+file:/etc/apt/mirrors/debian.list sid non-free-firmware contrib\n',
      },
    ],
  });
});

test('a component that the host has already is not asked twice', () => {
  const host = [{ name: 'x.list', text: 'deb http://a/debian bookworm main contrib\n' }];
  const derived = deriveSources({ components: ['contrib'] }, host);
  expect(derived).toEqual({ ok: true, files: [{ name: '00.list', text: host[0]?.text }] });
});

test('suites: from the host’s Debian mirror, security from where its own is', () => {
  const derived = deriveSources({ suites: ['trixie', 'trixie-security'], components: ['non-free'] }, HOST.slice(0, 1));
  expect(derived.ok && derived.files.map(({ text }) => text.split('\n').slice(1, 4))).toEqual([
    ['URIs: http://deb.debian.org/debian', 'Suites: trixie', 'Components: main contrib non-free'],
    ['URIs: http://deb.debian.org/debian-security/', 'Suites: trixie-security', 'Components: main non-free'],
  ]);
});

test('a mirror: nothing of the host, and nobody but its keyring', () => {
  const derived = deriveSources({ mirror: 'file:/srv/debian', suites: ['a', 'b'] }, HOST, '/cache/key.gpg');
  expect(derived).toEqual({
    ok: true,
    files: [
      {
        name: 'mirror.sources',
        text: 'Types: deb\nURIs: file:/srv/debian\nSuites: a b\nComponents: main\nSigned-By: /cache/key.gpg\n',
      },
    ],
  });
});

test('what a host cannot answer is said, with the key that asks', () => {
  expect(deriveSources({ components: ['contrib'] }, [])).toMatchObject({ ok: false, key: 'components' });
  const one = [{ name: 'x.list', text: 'deb http://a/debian bookworm main\n' }];
  expect(deriveSources({ suites: ['trixie-security'] }, one)).toMatchObject({ ok: false, key: 'suites' });
});
