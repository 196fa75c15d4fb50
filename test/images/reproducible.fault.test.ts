// The same recipe gives the same octets: in another folder, at another time, under another umask, time zone and language, by root
// and by a user, for the base, the kernel's modules, packages, the role, and Node with rouse.
//
// The user (65534, nobody) builds from a copy of the sources, with nothing in his cache but Debian's packages. Node's own
// layer would take a minute to compress: in the image a small program with its needs stands in for it, and of the true one the
// octets are compared before they are compressed; how they are compressed is seen on the other layers. Needs root.

import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { elfThatNeeds } from './elf-fixture.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const SOURCES = ['bin', 'formats', 'supervise', 'netboot', 'images', 'pack', 'services', 'test', 'package.json'];
const NODE = `node_modules/node-linux-${process.arch}/bin/node`;
const rooted = test.skipIf(process.getuid?.() !== 0);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-again-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What Node needs, and nothing else. */
const standIn = (path: string): void =>
  writeFileSync(
    path,
    elfThatNeeds(['libdl.so.2', 'libstdc++.so.6', 'libm.so.6', 'libgcc_s.so.1', 'libpthread.so.0', 'libc.so.6'], {
      interpreter: '/lib64/ld-linux-x86-64.so.2',
    }),
    { mode: 0o755 },
  );

/** A role with everything. */
const writeRole = (services: string): void => {
  mkdirSync(join(services, 'all'), { recursive: true });
  writeFileSync(join(services, 'all/recipe.yaml'), 'version: 1\nextends: web\nsupervisor: rouse\n');
};

type Built = { layers: { name: string }[]; kernel: unknown; node: unknown };
const wordsOf = (tree: string, home: string, cache: string): string[] => [
  ...[join(tree, NODE), join(tree, 'test/images/reproduce.ts'), join(home, 'services'), 'all', join(home, 'lib')],
  ...[cache, join(home, 'node')],
];

/** By this user, from the sources as they lie here; layers that an earlier test has made are taken from the cache. */
function buildHere(home: string): Built {
  cpSync(join(ROOT, 'services'), join(home, 'services'), { recursive: true });
  writeRole(join(home, 'services'));
  standIn(join(home, 'node'));
  const [node = '', ...words] = wordsOf(ROOT, home, cacheDir);
  return JSON.parse(execFileSync(node, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })) as Built;
}

/** By another, from a copy of the sources that only he may read, with an empty cache but for Debian's packages. */
function buildElsewhere(home: string): Built {
  const tree = join(home, 'rouse');
  for (const source of SOURCES) cpSync(join(ROOT, source), join(tree, source), { recursive: true });
  // Bundling looks for the compiler's settings, and a clone is told by them.
  cpSync(join(ROOT, 'tsconfig.base.json'), join(tree, 'tsconfig.base.json'));
  mkdirSync(join(tree, 'node_modules'));
  cpSync(join(ROOT, 'services'), join(home, 'services'), { recursive: true });
  writeRole(join(home, 'services'));
  cpSync(join(cacheDir, 'apt'), join(home, 'cache/apt'), { recursive: true, preserveTimestamps: true });
  standIn(join(home, 'node'));
  execFileSync('chmod', ['-R', 'go-rwx', home]);
  execFileSync('chown', ['-R', '65534:65534', home]);
  // From the home upwards others may pass.
  for (let path = join(home, '..'); path.startsWith(folder); path = join(path, '..')) chmodSync(path, 0o755);
  const script = `mount --bind ${realpathSync(join(ROOT, 'node_modules'))} ${tree}/node_modules
umask 077; cd ${home}; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`;
  const out = execFileSync(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-euc', script, 'sh', ...wordsOf(tree, home, join(home, 'cache'))],
    {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: home, TZ: 'Pacific/Kiritimati', LANG: 'tr_TR.UTF-8' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  return JSON.parse(out) as Built;
}

rooted('by root and by a user, each in a world of his own: the same octets', () => {
  const ours = buildHere(join(folder, 'a'));
  const theirs = buildElsewhere(join(folder, 'elsewhere/and/deeper'));
  expect(ours.layers.map(({ name }) => name)).toEqual([
    ...['base-packages', 'base', 'modules', 'rouse-packages', 'node', 'rouse', 'web-packages', 'web'],
  ]);
  expect(theirs).toEqual(ours);
});
