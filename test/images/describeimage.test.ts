// When a build has made another generation: whatever nodes or people are told of it counts, its time and its list of versions do not.

import { expect, test } from 'vitest';
import { isSameImage } from '../../images/describeimage.ts';
import type { Manifest } from '../../images/manifest.ts';

const SHA = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);
const BEFORE: Manifest = {
  version: 1,
  image: 'web',
  generation: 3,
  builtAt: '2026-01-02T03:04:05.000Z',
  lock: SHA,
  recipe: { file: 'web/recipe.yaml', sha256: SHA },
  kernel: { release: '6.1', package: 'linux-image', sha256: SHA, bytes: 1 },
  layers: [
    {
      name: 'base',
      sha256: SHA,
      compression: 'zstd',
      servedSha256: SHA,
      servedBytes: 1,
      unpackedBytes: 1,
      files: 1,
    },
  ],
  packages: [{ name: 'nginx', version: '1', architecture: 'amd64', sha256: SHA, licences: ['MIT'], bytes: 1 }],
  memoryMb: 128,
  vars: {},
  templates: [],
  services: ['nginx'],
  missingFirmware: [{ module: 'ice', files: ['intel/ice/x.pkg'], packages: ['firmware-misc-nonfree'] }],
};
const [layer] = BEFORE.layers;
const [one] = BEFORE.packages;
if (layer === undefined || one === undefined) throw new Error('there is one of each');

const SAME: [string, Partial<Manifest>][] = [
  ['its time', { builtAt: '2027-01-02T03:04:05.000Z' }],
  ['its list of versions', { lock: OTHER }],
  ['how a layer is compressed', { layers: [{ ...layer, compression: 'gzip', servedSha256: OTHER, servedBytes: 2 }] }],
  ['licences, which are read later', { packages: [{ name: 'nginx', version: '1', architecture: 'amd64', bytes: 1 }] }],
];
const ANOTHER: [string, Partial<Manifest>][] = [
  ['the recipe', { recipe: { ...BEFORE.recipe, sha256: OTHER } }],
  ['the kernel', { kernel: { ...BEFORE.kernel, sha256: OTHER } }],
  ['a layer', { layers: [{ ...layer, sha256: OTHER }] }],
  ['a version', { packages: [{ ...one, version: '2' }] }],
  ['memory', { memoryMb: 256 }],
  ['a var', { vars: { port: { type: 'number', default: 80, text: 'where it listens' } } }],
  ['a service', { services: [] }],
  [
    'the hint for firmware',
    { missingFirmware: [{ module: 'ice', files: ['intel/ice/x.pkg'], packages: ['firmware-intel-misc'] }] },
  ],
  ['firmware that is there now', { missingFirmware: undefined }],
  ['Node', { runtime: { node: { version: '24', bytes: 1 }, rouse: { version: '1', bytes: 1 } } }],
];

for (const [what, change] of SAME) {
  test(`no other generation: ${what}`, () => expect(isSameImage(BEFORE, { ...BEFORE, ...change })).toBe(true));
}
for (const [what, change] of ANOTHER) {
  test(`another generation: ${what}`, () => expect(isSameImage(BEFORE, { ...BEFORE, ...change })).toBe(false));
}
