// Reading what apt says. The samples are apt 2.6's own words.

import { expect, test } from 'vitest';
import {
  type ArchivePackage,
  archiveFileName,
  aptReason,
  parseSimulation,
  parseStanzas,
  reachable,
  renderAptConfig,
} from '../../images/apt.ts';

test('a simulation names what would be installed', () => {
  const output = [
    'NOTE: This is only a simulation!',
    'Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])',
    'Inst libc6 [2.36-8] (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []',
    'Conf gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])',
  ].join('\n');
  expect(parseSimulation(output)).toEqual([
    { name: 'gcc-12-base', version: '12.2.0-14+deb12u1', origins: ['Debian:12.15/oldstable'] },
    { name: 'libc6', version: '2.36-9+deb12u14', origins: ['Debian:12.15/oldstable'] },
  ]);
});

const STANZA = `Package: nginx
Version: 1.22.1-9+deb12u11
Architecture: amd64
Provides: httpd, httpd-cgi, nginx-abi-1.22.1-7
Pre-Depends: dpkg (>= 1.15)
Depends: libc6 (>= 2.34), nginx-common (<< 1.22.1-9+deb12u11.1~), debconf (>= 0.5) | debconf-2.0,
 python3:any
Description: small, powerful, scalable web/proxy server
Size: 532468
SHA256: 4e2778e675c07d0f2d8d3b6f5ff84f6483ade1d82c21c910eb9a2787e1cf1b1a
`;

test('a stanza becomes a package; one without a hash is no package', () => {
  expect(parseStanzas(`${STANZA}\n\nPackage: virtual\nVersion: 1\n\n`)).toEqual([
    {
      name: 'nginx',
      version: '1.22.1-9+deb12u11',
      architecture: 'amd64',
      sha256: '4e2778e675c07d0f2d8d3b6f5ff84f6483ade1d82c21c910eb9a2787e1cf1b1a',
      bytes: 532_468,
      depends: [['dpkg'], ['libc6'], ['nginx-common'], ['debconf', 'debconf-2.0'], ['python3']],
      provides: ['httpd', 'httpd-cgi', 'nginx-abi-1.22.1-7'],
    },
  ]);
});

const one = (name: string, depends: string[][] = [], provides: string[] = []): ArchivePackage => ({
  name,
  version: '1',
  architecture: 'all',
  sha256: name,
  bytes: 1,
  depends,
  provides,
});

test('the walk follows alternatives and provided names, ends in circles, and stops at what is left out', () => {
  const solution = [
    one('web', [['b', 'c'], ['mail-agent'], ['dpkg'], ['loop']]),
    one('c'),
    one('exim', [], ['mail-agent']),
    one('dpkg', [['tar']]),
    one('tar'),
    one('loop', [['web']]),
    one('unrelated'),
  ];
  const names = reachable(solution, ['web'], (name) => name === 'dpkg').map(({ name }) => name);
  expect(names).toEqual(['c', 'exim', 'loop', 'web']);
});

test('a named package comes even if the rules leave it out', () => {
  expect(reachable([one('dpkg')], ['dpkg'], () => true).map(({ name }) => name)).toEqual(['dpkg']);
});

test("apt's file name escapes the epoch", () => {
  expect(archiveFileName({ ...one('zlib1g'), version: '1:1.2.13.dfsg-1', architecture: 'amd64' })).toBe(
    'zlib1g_1%3a1.2.13.dfsg-1_amd64.deb',
  );
});

test("apt's reason is its E: lines, or else its last words", () => {
  expect(aptReason('Reading...\nE: Unable to locate package nginxx\n')).toBe('Unable to locate package nginxx');
  expect(aptReason('a\nb\n\n')).toBe('b');
  const stranger = "x InRelease: The following signatures couldn't be verified: NO_PUBKEY 1";
  expect(aptReason(`W: GPG error: ${stranger}\nE: The repository 'x InRelease' is not signed.\n`)).toBe(stranger);
});

test('the configuration clears hooks of the host and cannot be broken out of by a folder name', () => {
  const config = renderAptConfig('/x";evil "', 'amd64');
  expect(config).toContain('#clear APT::Update::Post-Invoke;');
  expect(config).toContain('Dir::State "/x;evil ";');
});
