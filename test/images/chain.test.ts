// Where a fault of one package is told: at the line of the lowest recipe that brings it.

import { expect, test } from 'vitest';
import { Fault } from '../../formats/errors.ts';
import type { ArchivePackage } from '../../images/apt.ts';
import { placedPackage } from '../../images/chain.ts';
import { type LoadedRecipe, parseRecipe } from '../../images/recipe.ts';

const load = (role: string, text: string): LoadedRecipe => {
  const file = `${role}/recipe.yaml`;
  const parsed = parseRecipe(file, `version: 1\n${text}`);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return { role, file, recipe: parsed.value, positions: parsed.positions };
};
const CHAIN = [
  load('base', 'packages: [busybox]\nkernel: {package: linux-image, modules: virtio}\n'),
  load('web', 'packages: [busybox, nginx]\nsupervisor: rouse\nfirmware: {packages: [firmware-bnx2]}\n'),
];
const one = (name: string, ...depends: string[]): ArchivePackage => ({
  name,
  version: '1',
  architecture: 'amd64',
  sha256: '0'.repeat(64),
  bytes: 1,
  depends: depends.map((other) => [other]),
  provides: [],
});
const SOLUTION = [
  one('busybox', 'libc6'),
  one('libc6'),
  one('nginx', 'libc6', 'libssl3'),
  one('libssl3'),
  one('linux-image', 'linux-image-6.1'),
  one('linux-image-6.1'),
  one('libstdc++6'),
  one('firmware-bnx2'),
];

const ROWS: [string, string][] = [
  ['busybox', 'base/recipe.yaml:2:12'],
  ['libc6', 'base/recipe.yaml:2:12'],
  ['libssl3', 'web/recipe.yaml:2:21'],
  ['linux-image-6.1', 'base/recipe.yaml:3:19'],
  ['libstdc++6', 'web/recipe.yaml:3:13'],
  ['firmware-bnx2', 'web/recipe.yaml:4:23'],
];
const damaged = new Fault('E_ARCHIVE', {
  what: 'the package is damaged',
  why: 'its SHA-256 differs',
  todo: 'build again',
});

for (const [name, place] of ROWS) {
  test(`${name} is brought by ${place}`, () => {
    expect(placedPackage(CHAIN, SOLUTION, name, damaged)).toMatchObject({
      code: 'E_ARCHIVE',
      message: `${place} the package is damaged: its SHA-256 differs; build again`,
    });
  });
}

test('what no recipe brings, and what is no fault of a package, is told as it is', () => {
  expect(placedPackage(CHAIN, SOLUTION, 'other', damaged)).toBe(damaged);
  const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  expect(placedPackage(CHAIN, SOLUTION, 'libc6', full)).toBe(full);
});
