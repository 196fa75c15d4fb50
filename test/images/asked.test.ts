// Where a fault of a package is told: at the line that asks for it, or of the lowest recipe that brings it.

import { expect, test } from 'vitest';
import { Fault } from '../../formats/errors.ts';
import type { ArchivePackage } from '../../images/apt.ts';
import { askedPackages, placedFault, placedPackage, refuseUnanswered } from '../../images/asked.ts';
import { type LoadedRecipe, parseRecipe } from '../../images/recipe.ts';
import { RUNTIME_PACKAGES } from '../../images/runtime.ts';

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

test('all that apt must choose: packages, firmware, the kernel, and what rouse needs where the highest recipe wants it', () => {
  expect(askedPackages(CHAIN)).toEqual([
    'busybox',
    'linux-image',
    'nginx',
    'firmware-bnx2',
    ...RUNTIME_PACKAGES.packages,
  ]);
  const small = [...CHAIN, load('small', 'supervisor: daemontools\nkernel: {package: linux-cloud, modules: none}\n')];
  expect(askedPackages(small)).toEqual(['busybox', 'nginx', 'firmware-bnx2', 'linux-cloud']);
});

for (const [name, place] of [
  ['busybox', 'base/recipe.yaml:2:12'],
  ['linux-image', 'base/recipe.yaml:3:19'],
  ['nginx', 'web/recipe.yaml:2:21'],
  ['libstdc++6', 'web/recipe.yaml:3:13'],
] as const) {
  test(`${name}, which no archive has, is asked for at ${place}`, () => {
    // The package that is named last is not the one that is unknown.
    const what = 'cannot choose versions of linux-image, nginx, busybox';
    for (const why of [`Unable to locate package ${name}`, `Package '${name}' has no installation candidate`]) {
      const { message } = placedFault(CHAIN, new Fault('E_ARCHIVE', { what, why }));
      expect(message).toBe(`${place}: ${why}`);
    }
    const lock = { version: 1, architecture: 'amd64', sources: '', asked: [], packages: [] } as const;
    expect(() => refuseUnanswered(lock, CHAIN, [name], 3)).toThrow(
      `${place} ${name} is not among the packages of generation 3; build without --locked`,
    );
  });
}
