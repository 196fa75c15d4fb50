// pack/pack.io.ts - `npm run pack`: rouse as a Debian package for the architecture it runs on.
//
// Owns: the arguments, the version and time of the package, dpkg-deb. Does not own: what is in it (tree.io.ts).
// The same commit makes the same bytes: every time in the package is that of the commit.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Fault, reasonOf } from '../formats/errors.ts';
import { DEBIAN_ARCHITECTURES, makeTree } from './tree.io.ts';

const ROOT = resolve(fileURLToPath(new URL('../', import.meta.url)));
const USAGE = 'usage: npm run pack -- [--out DIR] [--version VERSION]';

/** As deb-version(7) allows, without epoch. */
const VERSION = /^\d[A-Za-z0-9.+~-]*$/;

try {
  await pack();
} catch (thrown) {
  process.stderr.write(`rouse: ${reasonOf(thrown)}\n`);
  process.exitCode = thrown instanceof Fault ? thrown.exitCode : 111;
}

async function pack(): Promise<void> {
  const { out, version } = readArguments();
  const debianArch = DEBIAN_ARCHITECTURES[process.arch];
  if (debianArch === undefined) {
    throw new Fault('E_MISSING_TOOL', {
      what: `cannot pack for ${process.arch}`,
      why: 'there is no Node to pack with it',
    });
  }
  mkdirSync(out, { recursive: true });
  const tree = mkdtempSync(join(tmpdir(), 'rouse-pack-'));
  // mkdtemp made it for its owner alone, and it becomes the root folder.
  chmodSync(tree, 0o755);
  const file = join(out, `rouse_${version}_${debianArch}.deb`);
  try {
    const timeS = commitTimeS();
    await makeTree(tree, { root: ROOT, version, debianArch, timeS });
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(timeS) };
    // zstd: xz makes it a tenth smaller and takes twenty times as long.
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '-z12', '-b', tree, file], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
  process.stdout.write(`${file}  ${(statSync(file).size / 1e6).toFixed(1)} MB\n`);
}

function readArguments(): { out: string; version: string } {
  const own = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
  try {
    const { values } = parseArgs({ options: { out: { type: 'string' }, version: { type: 'string' } } });
    const version = values.version ?? own;
    if (!VERSION.test(version)) throw new Error(`'${version}' is not a version`);
    return { out: resolve(values.out ?? join(ROOT, '.rouse', 'pack')), version };
  } catch (thrown) {
    throw new Fault('E_USAGE', { what: reasonOf(thrown), todo: USAGE });
  }
}

function commitTimeS(): number {
  // The convention of reproducible-builds.org.
  const epoch = process.env['SOURCE_DATE_EPOCH'];
  if (epoch !== undefined && /^\d{1,10}$/.test(epoch)) return Number(epoch);
  try {
    const text = execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] });
    return Number(text.toString());
  } catch {
    // Not a clone with its history: the age of the sources' own list.
    return Math.floor(statSync(join(ROOT, 'package.json')).mtimeMs / 1000);
  }
}
