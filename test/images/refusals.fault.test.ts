// Recipes and archives that cannot become an image: each ends in one sentence with file and line, and what is published
// stays as it was. Built with the real apt from the shared package cache.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const GOOD = 'version: 1\nextends: base\n';

let folder = '';
let libDir = '';
const recipe = (): string => join(folder, 'services/bad/recipe.yaml');
const build = (cache = cacheDir) =>
  buildImage({ roleDirs: [join(folder, 'services')], role: 'bad', libDir, cacheDir: cache });
const published = (): string[] =>
  readdirSync(join(libDir, 'images'), { recursive: true, encoding: 'utf8' })
    .filter((path) => !/^(?:layers|kernels|packages|locks)\//.test(path))
    .sort();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-refusals-'));
  libDir = join(folder, 'lib');
  cpSync(join(ROOT, 'services'), join(folder, 'services'), { recursive: true });
  mkdirSync(join(folder, 'services/bad'));
  writeFileSync(recipe(), GOOD);
  await build();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Builds, and sees that it is refused with these words and changes nothing. */
async function refused(words: string | RegExp, cache = cacheDir): Promise<string> {
  const before = published();
  const failure = await build(cache).then(
    () => new Error('it was built'),
    (error: Error) => error,
  );
  expect(failure.message).toMatch(words);
  expect(failure.name).toBe('Fault');
  expect(published()).toEqual(before);
  expect(await openStore(libDir).summary('bad')).toMatchObject({ generations: [1], current: 1 });
  expect(await verifyImage(openStore(libDir), 'bad')).toEqual([]);
  return failure.message;
}

const RECIPES: [string, string, string][] = [
  ['a package that no archive has', 'packages: [no-such-package]', '3:12: Unable to locate package no-such-package'],
  [
    'a module that the kernel does not have',
    'kernel: {package: linux-image-cloud-amd64, modules: virtio, extraModules: [ip_vs, nosuch]}',
    '3:83 cannot take the kernel module nosuch: the kernel package has no such module',
  ],
  [
    'a module that the image lacks',
    'requiresModules: [virtio_net, ip_vs]',
    '3:31 the image has no kernel module ip_vs: bad needs it',
  ],
  ['a path that leaves the root', 'links: {/etc/../../x: y}', '3:9 '],
  ['a memory that is too small', 'memoryMb: 48', '3:11 the image does not fit nodes of 48 MiB: unpacked'],
];
for (const [what, line, words] of RECIPES) {
  test(`${what}: refused with its place`, async () => {
    writeFileSync(recipe(), `${GOOD}${line}\n`);
    const message = await refused('');
    expect(message).toContain(`${recipe()}:${words}`);
    writeFileSync(recipe(), GOOD);
  });
}

test('files of a role that would pass for a layer, or end one: refused with the recipe', async () => {
  const files = join(folder, 'services/bad/files');
  for (const [path, why] of [
    [`.layers/${'0'.repeat(64)}`, 'it is where layers have their markers'],
    ['TRAILER!!!', 'it is the name that ends an archive'],
  ] as const) {
    mkdirSync(dirname(join(files, path)), { recursive: true });
    writeFileSync(join(files, path), '');
    expect(await refused('')).toContain(`${recipe()}:1:1 no image holds /${path}: ${why}`);
    rmSync(files, { recursive: true });
  }
});

test('a file of a lower layer that the recipe does not override', async () => {
  mkdirSync(join(folder, 'services/bad/files'));
  writeFileSync(join(folder, 'services/bad/files/init'), '#!/bin/sh\n');
  const message = await refused('');
  expect(message).toMatch(
    /recipe\.yaml:\d+:\d+ bad replaces \/init of the layer base: two layers of one image hold it; /,
  );
  rmSync(join(folder, 'services/bad/files'), { recursive: true });
});

test('a file where a lower recipe has a template, which would be rendered over it', async () => {
  const files = join(folder, 'services/bad/files');
  mkdirSync(join(files, 'etc/rouse'), { recursive: true });
  writeFileSync(join(files, 'etc/rouse/addresses'), '');
  expect(await refused('')).toMatch(/recipe\.yaml:1:1 bad replaces \/etc\/rouse\/addresses of the layer base: /);
  rmSync(files, { recursive: true });
});

test('an archive that nobody signed', async () => {
  const repository = join(folder, 'archive');
  mkdirSync(repository);
  writeFileSync(join(repository, 'Packages'), '');
  writeFileSync(join(folder, 'sources.list'), `deb [arch=amd64] file:${repository} ./\n`);
  writeFileSync(
    join(folder, 'apt.conf'),
    `Dir::Etc::sourcelist "${join(folder, 'sources.list')}"; Dir::Etc::sourceparts "/dev/null";\n`,
  );
  process.env['APT_CONFIG'] = join(folder, 'apt.conf');
  // Another choice of packages than the lock of the generation that is there, from a cache that knows none.
  writeFileSync(recipe(), `${GOOD}packages: [zlib1g]\n`);
  try {
    const message = await refused('', join(folder, 'cache'));
    expect(message).toContain(`${recipe()}:3:11 cannot read the package lists: `);
    expect(message).toMatch(/does not have a Release file|is not signed/);
  } finally {
    delete process.env['APT_CONFIG'];
    writeFileSync(recipe(), GOOD);
  }
});
