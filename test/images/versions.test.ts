// Version locks: what apt's words say of a choice, when a lock is used again, and what an archive has changed since.

import { expect, test } from 'vitest';
import { parseSimulation } from '../../images/apt.ts';
import { answers, mayChooseAgain, outdatedOf, parseLock, unanswered, type VersionLock } from '../../images/versions.ts';

const one = (name: string, version: string, provides: string[] = []) => ({
  name,
  version,
  architecture: 'amd64',
  sha256: 'a'.repeat(64),
  bytes: 1,
  depends: [],
  provides,
});
const LOCK: VersionLock = {
  version: 1,
  architecture: 'amd64',
  sources: 'of then',
  asked: ['awk', 'nginx'],
  packages: [one('libc6', '2.36-9'), one('mawk', '1.3', ['awk']), one('nginx', '1.22.1-9'), one('perl-base', '5.36')],
};
// As apt-get -s wrote it in October 2025 and November 2026, with versions changed.
const SIMULATION = `NOTE: This is only a simulation!
Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst mawk (1.3 Debian:12.15/oldstable [amd64])
Inst nginx (1.22.1-9+deb12u3 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])
Inst perl-base (5.36.1 Debian-Security:12/oldstable-security [amd64])
Conf nginx (1.22.1-9+deb12u3 Debian:12.15/oldstable [amd64])
`;

test('outdated: packages of the image, security updates first and named as such', () => {
  const names = new Set(['libc6', 'mawk', 'nginx']);
  expect(outdatedOf(LOCK, names, parseSimulation(SIMULATION))).toEqual([
    { name: 'nginx', version: '1.22.1-9', candidate: '1.22.1-9+deb12u3', isSecurity: true },
    { name: 'libc6', version: '2.36-9', candidate: '2.36-9+deb12u14', isSecurity: false },
  ]);
});

test('a lock answers the same question only: packages, architecture, sources', () => {
  const question = { architecture: 'amd64', sources: 'of then', asked: ['awk', 'nginx'] } as const;
  expect(answers(LOCK, question)).toBe(true);
  expect(answers(LOCK, { ...question, sources: 'of now' })).toBe(false);
  expect(answers(LOCK, { ...question, architecture: 'arm64' })).toBe(false);
  expect(answers(LOCK, { ...question, asked: ['awk', 'curl', 'nginx'] })).toBe(false);
  expect(unanswered(LOCK, ['awk', 'curl', 'nginx'])).toEqual(['curl']);
});

test('what is no lock is none', () => {
  expect(parseLock(JSON.stringify(LOCK))).toEqual(LOCK);
  for (const text of ['', '{}', '{"version":1', JSON.stringify({ ...LOCK, version: 2 })]) {
    expect(parseLock(text)).toBeUndefined();
  }
});

test('newer versions are chosen only where packages could not be had, and neither they nor one generation’s were asked for', () => {
  expect(mayChooseAgain({}, true)).toBe(true);
  expect(mayChooseAgain({}, false)).toBe(false);
  expect(mayChooseAgain({ refresh: true }, true)).toBe(false);
  expect(mayChooseAgain({ locked: 3 }, true)).toBe(false);
});
