// Images from an archive of the recipe's own: made and signed here, asked by the real apt. Firmware by module and microcode
// come from its component non-free-firmware, as on Debian; what nobody signed is refused at the line that names it.
//
// Among the fault tests because it needs Debian packages (gnupg, dpkg) and runs apt. No network is asked.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { diffImages } from '../../images/compare.io.ts';
import { renderBillOfMaterials, renderDifference } from '../../images/compare.ts';
import { describeBuildEvent } from '../../images/event.ts';
import { flattenImage } from '../../images/flatten.io.ts';
import { inspectFile } from '../../images/inspect.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { findOutdated } from '../../images/outdated.io.ts';
import { pruneStore } from '../../images/prune.io.ts';
import { renderInspection, renderManifest } from '../../images/report.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { elfWithSection } from './elf-fixture.ts';
import { amdContainer, intelUpdate } from './microcode-fixture.ts';
import { type MadePackage, makeArchive, makeKey, type SigningKey } from './repository.ts';

const module = (name: string, ...firmware: string[]): Uint8Array =>
  elfWithSection('.modinfo', [`name=${name}`, ...firmware.map((one) => `firmware=${one}`), ''].join('\0'));
const kernelFiles = (release: string, config: string): MadePackage['files'] => ({
  [`boot/vmlinuz-${release}`]: `kernel ${release}`,
  [`boot/config-${release}`]: config,
  [`lib/modules/${release}/kernel/bnx2.ko`]: module('bnx2', 'bnx2/a.fw', 'bnx2/b.fw'),
  [`lib/modules/${release}/kernel/ice.ko`]: module('ice', 'intel/ice/ddp/ice.pkg'),
  [`lib/modules/${release}/kernel/tg3.ko`]: module('tg3', 'tigon/tg3.bin'),
  [`lib/modules/${release}/modules.builtin.modinfo`]: 'ext4.license=GPL\0',
});
const xz = (octets: Uint8Array): Uint8Array => execFileSync('xz', ['-c'], { input: octets });
const FREE = 'non-free-firmware';
const METAL = 'CONFIG_MICROCODE=y\nCONFIG_FW_LOADER_COMPRESS=y\nCONFIG_FW_LOADER_COMPRESS_XZ=y\n';
const PACKAGES: MadePackage[] = [
  { name: 'linux-image-metal', depends: 'linux-image-6.9-metal', files: {} },
  { name: 'linux-image-6.9-metal', files: kernelFiles('6.9-metal', METAL) },
  { name: 'linux-image-6.9-cloud', files: kernelFiles('6.9-cloud', '# CONFIG_MICROCODE is not set\n') },
  {
    // As in Debian 13: modules compressed, in the merged folder.
    name: 'linux-image-6.12-xz',
    files: {
      'boot/vmlinuz-6.12-xz': 'kernel 6.12-xz',
      'boot/config-6.12-xz': METAL,
      'usr/lib/modules/6.12-xz/kernel/bnx2.ko.xz': xz(module('bnx2', 'bnx2/a.fw')),
      'usr/lib/modules/6.12-xz/modules.builtin.modinfo': 'ext4.license=GPL\0',
    },
  },
  { name: 'firmware-bnx2', component: FREE, files: { 'lib/firmware/bnx2/a.fw': 'a', 'lib/firmware/bnx2/c.fw': 'c' } },
  {
    name: 'firmware-misc-nonfree',
    component: FREE,
    files: {
      'lib/firmware/intel/ice/ddp/ice.pkg': '-> ice-1.3.pkg',
      'lib/firmware/intel/ice/ddp/ice-1.3.pkg': 'ice',
      'lib/firmware/bnx2/b.fw.xz': 'b',
      'lib/firmware/wireless/much': 'x'.repeat(100_000),
    },
  },
  { name: 'intel-microcode', component: FREE, files: { 'lib/firmware/intel-ucode/06-55-04': intelUpdate(0x50654, 7) } },
  { name: 'amd64-microcode', component: FREE, files: { 'lib/firmware/amd-ucode/microcode_amd.bin': amdContainer(20) } },
];
const NEWER: MadePackage = {
  ...(PACKAGES.find(({ name }) => name === 'firmware-bnx2') as MadePackage),
  version: '2',
};

let folder = '';
let archive = '';
let ours: SigningKey;
let theirs: SigningKey;
let notes: string[] = [];
const recipe = (): string => join(folder, 'roles/rack/recipe.yaml');
const KERNEL = 'kernel: {package: linux-image-metal, modules: metal}';
/** Line 2 is the archive's, 3 the kernel's, 4 and on what a test adds. */
const write = (archiveLine: string, ...lines: string[]): void =>
  writeFileSync(
    recipe(),
    ['version: 1', archiveLine, lines.some((line) => line.startsWith('kernel:')) ? '#' : KERNEL, ...lines, ''].join(
      '\n',
    ),
  );
const mirror = (more = ''): string => `archive: {mirror: 'file:${archive}', suites: [stable]${more}}`;
const places = () => ({
  roleDirs: [join(folder, 'roles')],
  role: 'rack',
  libDir: join(folder, 'lib'),
  cacheDir: join(folder, 'cache'),
});
const build = async (refresh = false) => {
  notes = [];
  return buildImage({ ...places(), refresh, onProgress: (event) => notes.push(describeBuildEvent(event)) });
};
const refusal = (refresh = false): Promise<string> =>
  build(refresh).then(
    () => 'it was built',
    (error: Error) => `${error.name}: ${error.message}`,
  );
const pathsOf = async (manifest: Manifest, name: string): Promise<string[]> => {
  const layer = manifest.layers.find((one) => one.name === name);
  if (layer === undefined) return [];
  const { layers } = await inspectFile(openStore(join(folder, 'lib')).layerPath(layer));
  return (layers[0]?.entries ?? []).filter(({ kind }) => kind !== 'directory').map(({ path }) => path);
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-archive-'));
  archive = join(folder, 'srv/debian');
  mkdirSync(join(folder, 'roles/rack'), { recursive: true });
  ours = makeKey(folder, 'ours');
  theirs = makeKey(folder, 'theirs');
  writeFileSync(join(folder, 'roles/rack/ours.gpg'), readFileSync(ours.file));
});
afterEach(() => {
  delete process.env['APT_CONFIG'];
});
afterAll(() => {
  ours.forget();
  theirs.forget();
  rmSync(folder, { recursive: true, force: true });
});

test('a mirror with a key of its own: firmware by module, microcode first, and what is missing is named and remembered', async () => {
  makeArchive(archive, PACKAGES, ours);
  write(
    mirror(`, components: [main, ${FREE}], keyring: ours.gpg`),
    'firmware: {packages: [firmware-bnx2, firmware-misc-nonfree], required: [bnx2, ice]}',
    'microcode: [intel, amd]',
  );
  const { manifest } = await build();
  expect(manifest.layers.map(({ name, compression }) => [name, compression])).toEqual([
    ['microcode', 'none'],
    ['modules', 'zstd'],
    ['firmware', 'zstd'],
  ]);
  expect((await pathsOf(manifest, 'firmware')).slice(0, -1)).toEqual([
    'usr/lib/firmware/bnx2/a.fw',
    'usr/lib/firmware/bnx2/b.fw.xz',
    'usr/lib/firmware/intel/ice/ddp/ice-1.3.pkg',
    'usr/lib/firmware/intel/ice/ddp/ice.pkg',
  ]);
  expect((await pathsOf(manifest, 'microcode')).slice(0, -1)).toEqual([
    'early_cpio',
    'kernel/x86/microcode/AuthenticAMD.bin',
    'kernel/x86/microcode/GenuineIntel.bin',
  ]);
  expect(manifest.packages.map(({ name, bytes }) => [name, bytes])).toEqual([
    ['amd64-microcode', 20],
    ['firmware-bnx2', 1],
    ['firmware-misc-nonfree', 4],
    ['intel-microcode', 1024 + 8],
    ['linux-image-6.9-metal', expect.any(Number)],
  ]);
  expect(manifest.missingFirmware).toEqual([{ module: 'tg3', files: ['tigon/tg3.bin'], packages: [] }]);
  const told = notes.filter((note) => note.startsWith('module '));
  expect(told).toEqual(['module tg3 asks for firmware that is not in the image, tigon/tg3.bin']);
  const shown = renderManifest(manifest).flatMap(({ rows }) => rows.map((row) => row.join(' ')));
  expect(shown).toContain('tg3 tigon/tg3.bin  ');
  expect(await verifyImage(openStore(join(folder, 'lib')), 'rack')).toEqual([]);

  // The archive is away: nothing is asked of it, and the same is said.
  rmSync(archive, { recursive: true });
  const again = await build();
  expect(again).toMatchObject({ built: false, manifest: { generation: 1, missingFirmware: manifest.missingFirmware } });
  expect(notes.filter((note) => note.startsWith('module '))).toEqual(told);
});

test('outdated asks the archive that the image is from', async () => {
  makeArchive(archive, [...PACKAGES.filter(({ name }) => name !== NEWER.name), NEWER], ours);
  const { libDir, cacheDir } = places();
  const found = await findOutdated(openStore(libDir), ['rack'], cacheDir, () => undefined);
  expect(found[0]?.packages).toEqual([{ name: 'firmware-bnx2', version: '1', candidate: '2', isSecurity: false }]);
  expect((await build(true)).manifest).toMatchObject({ generation: 2 });
  makeArchive(archive, PACKAGES, ours);
});

test('components beside the host’s own: its sources are read, nothing of them is changed, and they stay in force', async () => {
  const host = join(folder, 'host');
  mkdirSync(host, { recursive: true });
  const text = `Types: deb\nURIs: file:${archive}\nSuites: stable\nComponents: main\nSigned-By: ${ours.file}\n`;
  writeFileSync(join(host, 'debian.sources'), text);
  writeFileSync(join(folder, 'host.conf'), `Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "${host}";\n`);
  process.env['APT_CONFIG'] = join(folder, 'host.conf');
  write(`archive: {components: [${FREE}]}`, 'firmware: {packages: [firmware-bnx2]}');
  const { manifest } = await build(true);
  expect(manifest.packages.map(({ name }) => name)).toEqual(['firmware-bnx2', 'linux-image-6.9-metal']);
  expect(manifest.missingFirmware?.map(({ module: name, files }) => [name, files])).toEqual([
    ['bnx2', ['bnx2/b.fw']],
    ['ice', ['intel/ice/ddp/ice.pkg']],
    ['tg3', ['tigon/tg3.bin']],
  ]);
  expect(readFileSync(join(host, 'debian.sources'), 'utf8')).toBe(text);
  const lock = await openStore(join(folder, 'lib')).lockOf(manifest);
  expect(lock?.archive).toEqual({ components: [FREE] });
});

test('another keyring under the same name: what the old one verified counts no more', async () => {
  write(mirror(', keyring: ours.gpg'));
  const own = join(folder, 'roles/rack/ours.gpg');
  await build();
  writeFileSync(own, readFileSync(theirs.file));
  expect(await refusal()).toContain('NO_PUBKEY');
  writeFileSync(own, readFileSync(ours.file));
  expect(await build()).toMatchObject({ built: false });
});

test('a kernel whose modules are compressed: the image has them plain, and what they say is read', async () => {
  makeArchive(archive, PACKAGES, ours);
  const lines = ['kernel: {package: linux-image-6.12-xz, modules: metal}', 'firmware: {packages: [firmware-bnx2]}'];
  write(mirror(`, keyring: ours.gpg, components: [main, ${FREE}]`), ...lines);
  const { manifest } = await build(true);
  expect(await pathsOf(manifest, 'modules')).toContain('usr/lib/modules/6.12-xz/kernel/bnx2.ko');
  expect(await pathsOf(manifest, 'firmware')).toContain('usr/lib/firmware/bnx2/a.fw');
  expect(manifest.missingFirmware).toBeUndefined();
});

const FIRMWARE = 'firmware: {packages: [firmware-bnx2]}';
const REFUSED: [string, () => void, string][] = [
  [
    'an archive that nobody signed',
    () => (makeArchive(archive, PACKAGES, undefined), write(mirror(', keyring: ours.gpg'))),
    ':2:19 cannot read the package lists: ',
  ],
  [
    'an archive that another key signed',
    () => (makeArchive(archive, PACKAGES, theirs), write(mirror(', keyring: ours.gpg, components: [main]'))),
    'the public key is not available: NO_PUBKEY ',
  ],
  [
    'an archive without a keyring that the host does not know',
    () => write(mirror()),
    ':2:19 cannot read the package lists: ',
  ],
  ['a keyring that is not there', () => write(mirror(', keyring: none.gpg')), 'none.gpg: '],
  [
    'a component that the archive has not',
    () => write(mirror(', keyring: ours.gpg, components: [main, extra]')),
    ' has no component extra',
  ],
  [
    'a package of a component that is not asked',
    () => write(mirror(', keyring: ours.gpg'), FIRMWARE),
    ':4:23: Unable to locate package firmware-bnx2; most firmware is of another component: archive: {components: [non-free-firmware]}',
  ],
  [
    'a name that apt would take for an order',
    () => write(mirror(`, keyring: ours.gpg, components: [main, ${FREE}]`), 'firmware: {packages: [firmware-bnx2+]}'),
    ':4:23: Unable to locate package firmware-bnx2+',
  ],
  [
    'firmware that is required and missing',
    () =>
      write(
        mirror(`, keyring: ours.gpg, components: [main, ${FREE}]`),
        'firmware:',
        '  packages: [firmware-bnx2]',
        '  required: [bnx2]',
      ),
    ':6:14 the image has no firmware for the kernel module bnx2: not there: bnx2/b.fw; no known package holds it: lay it into files/usr/lib/firmware, or take the module off',
  ],
  [
    'firmware that is required of a module that is not there',
    () => write(mirror(', keyring: ours.gpg'), 'firmware: {required: [iwlwifi]}'),
    ':4:23 the image has no firmware for the kernel module iwlwifi: no module of that name in the image asks for any',
  ],
  [
    'microcode for a kernel that loads none',
    () =>
      write(
        mirror(`, keyring: ours.gpg, components: [main, ${FREE}]`),
        'kernel: {package: linux-image-6.9-cloud, modules: metal}',
        'microcode: [intel]',
      ),
    ':5:13 linux-image-6.9-cloud loads no microcode: it is built without CONFIG_MICROCODE',
  ],
  [
    'microcode of a family that the package has not',
    () => write(mirror(`, keyring: ours.gpg, components: [main, ${FREE}]`), 'microcode: [amd, intel/06-01]'),
    ':4:18 no microcode: intel-microcode holds no microcode for intel/06-01',
  ],
];
for (const [what, prepare, words] of REFUSED) {
  test(`${what}: refused with its place, and what is published stays`, async () => {
    const store = openStore(join(folder, 'lib'));
    const before = await store.summary('rack');
    prepare();
    const said = await refusal(true);
    expect(said).toMatch(/^Fault: /);
    expect(said).toContain(recipe());
    expect(said).toContain(words);
    expect(await store.summary('rack')).toEqual(before);
    makeArchive(archive, PACKAGES, ours);
  });
}

test('flatten, inspect, diff, the bill of materials and prune know the new layers', async () => {
  const libDir = join(folder, 'lib');
  const store = openStore(libDir);
  const all = mirror(`, components: [main, ${FREE}], keyring: ours.gpg`);
  makeArchive(archive, PACKAGES, ours);
  write(all, 'firmware: {packages: [firmware-bnx2, firmware-misc-nonfree]}', 'microcode: [intel, amd]');
  const { manifest: full } = await build();
  const flat = join(folder, 'flat');
  await flattenImage(store, full, flat);
  const { layers, problems } = await inspectFile(flat);
  expect(problems).toEqual([]);
  expect(renderInspection({ layers, problems }, false)[0]).toMatch(/^1 {2}at 0 {2}none .* 8 files {2}layer /);
  const listed = execFileSync('cpio', ['-it', '--quiet'], { input: readFileSync(flat), encoding: 'utf8' });
  expect(listed).toContain('kernel/x86/microcode/GenuineIntel.bin');
  const bill = JSON.stringify(renderBillOfMaterials(full));
  expect(bill).toContain('pkg:deb/debian/amd64-microcode@1?arch=amd64');
  expect(bill).toContain('rouse:layer:microcode');

  write(all, 'firmware: {packages: [firmware-bnx2]}');
  const { manifest: less } = await build();
  const told = renderDifference(await diffImages(store, full, less));
  expect(told).toContain('package intel-microcode 1 -> absent (-1032 bytes)');
  expect(told).toContain('removed /usr/lib/firmware/intel/ice/ddp/ice-1.3.pkg (-3 bytes)');

  const [microcode] = full.layers;
  const isThere = (): boolean => microcode !== undefined && existsSync(store.layerPath(microcode));
  const askInUse = (): Promise<[]> => Promise.resolve([]);
  const prune = () => pruneStore({ libDir, askInUse, newest: 1, isDryRun: false, onEvent: () => undefined });
  await store.promote('rack', full.generation);
  await prune();
  expect(isThere()).toBe(true);
  await store.promote('rack', less.generation);
  write(all);
  const { manifest: bare } = await build();
  await store.promote('rack', bare.generation);
  await prune();
  expect(isThere()).toBe(false);
  expect(await verifyImage(store, 'rack')).toEqual([]);
});

/** Every file of the cache whose path ends so. */
const cached = (ending: RegExp): string[] =>
  readdirSync(join(folder, 'cache'), { recursive: true, encoding: 'utf8' })
    .filter((path) => ending.test(path))
    .map((path) => join(folder, 'cache', path));

const DAMAGED: [string, RegExp, (octets: Buffer) => string | Buffer][] = [
  ['choices of packages that are cut', /solutions\/[0-9a-f]+\.json$/, (octets) => octets.subarray(0, 40)],
  ['choices of packages of another shape', /solutions\/[0-9a-f]+\.json$/, () => '{"a":1}'],
  ['facts of kernels of another shape', /\.facts\.json$/, () => '{"firmware":5,"endings":[],"loadsMicrocode":true}'],
  ['notes of layers of another shape', /layers\/[0-9a-f]+\.json$/, () => '{"layer":5,"paths":null,"bytesByOwner":{}}'],
  [
    'notes of kernels whose hash is none',
    /kernels\/[^/]*[0-9a-f]\.json$/,
    (octets) => octets.toString().replace(/"sha256":"[^"]*"/, '"sha256":"x"'),
  ],
  ['notes of licences of another shape', /licences\/.*\.json$/, () => '{"licences":[5]}'],
  [
    'packages that are not what the list says',
    /archives\/[^/]*\.deb$/,
    (octets) => Buffer.from(octets).fill(0, 100, 200),
  ],
];
for (const [what, which, damage] of DAMAGED) {
  test(`${what}: the cache is not believed, and a build makes them anew`, async () => {
    makeArchive(archive, PACKAGES, ours);
    write(mirror(`, components: [main, ${FREE}], keyring: ours.gpg`), 'firmware: {packages: [firmware-bnx2]}');
    const { manifest } = await build();
    const files = cached(which);
    expect(files).not.toEqual([]);
    for (const path of files) {
      const octets = readFileSync(path);
      rmSync(path);
      writeFileSync(path, damage(octets));
    }
    // Another store has nothing of it: neither the lock, nor a layer, nor a package.
    const libDir = join(folder, 'another');
    const again = await buildImage({ ...places(), libDir });
    expect(again.manifest.layers).toEqual(manifest.layers);
    expect(again.manifest.kernel).toEqual(manifest.kernel);
    expect(again.manifest.packages).toEqual(manifest.packages);
    expect(await verifyImage(openStore(libDir), 'rack')).toEqual([]);
    rmSync(libDir, { recursive: true });
  });
}

test('a damaged layer and a damaged kernel are mended by the next build, and it is what nodes boot', async () => {
  const store = openStore(join(folder, 'lib'));
  const { manifest } = await build();
  await store.promote('rack', manifest.generation);
  for (const path of [...manifest.layers.map(store.layerPath), store.kernelPath(manifest.kernel.sha256)]) {
    const octets = readFileSync(path);
    rmSync(path);
    writeFileSync(path, octets.fill(0, 4, 8));
  }
  expect(await verifyImage(openStore(join(folder, 'lib')), 'rack')).not.toEqual([]);
  expect(await build()).toMatchObject({ built: false, manifest: { generation: manifest.generation } });
  expect(await store.problems('rack', manifest.generation)).toEqual([]);
});

test('a keyring that never ends is refused', async () => {
  write(`archive: {mirror: 'file:${archive}', suites: [stable], keyring: /dev/zero}`);
  expect(await refusal()).toMatch(/ cannot read the keyring \/dev\/zero: EINVAL: no regular file, /);
});

test('of all the archives that were asked, the cache keeps the last four', () => {
  const kept = readdirSync(join(folder, 'cache')).filter((name) => /^apt-[0-9a-f]{12}$/.test(name));
  expect(kept.length).toBeLessThanOrEqual(4);
  expect(kept.length).toBeGreaterThan(1);
});
