// A Debian archive made here: packages by dpkg-deb, indices written down, a Release that gpg signs with a key of its own.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Files by path; `-> x` is a link to x. */
export type PackageFiles = Readonly<Record<string, string | Uint8Array>>;

export type MadePackage = {
  readonly name: string;
  readonly version?: string;
  readonly component?: string;
  readonly depends?: string;
  readonly files: PackageFiles;
};

/** A key of the tests' own, in a key ring that no user has. */
export type SigningKey = { readonly home: string; readonly file: string; readonly forget: () => void };

export function makeKey(folder: string, name: string): SigningKey {
  const home = join(folder, `gpg-${name}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const gpg = (...args: string[]): Buffer =>
    execFileSync('gpg', ['--homedir', home, '--batch', '-q', ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  gpg('--passphrase', '', '--quick-generate-key', `${name} <${name}@rouse.example>`, 'ed25519', 'sign', 'never');
  const file = join(folder, `${name}.gpg`);
  writeFileSync(file, gpg('--export'));
  // gpg leaves an agent behind, which ends when it is told so by the name of its own folder.
  const forget = (): void => {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore' });
  };
  return { home, file, forget };
}

/** Writes the archive anew; without a key nobody signed it. Components other than those of packages are not there. */
export function makeArchive(root: string, packages: readonly MadePackage[], key: SigningKey | undefined): void {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(join(root, 'pool'), { recursive: true });
  const release = join(root, 'dists/stable');
  const components = [...new Set(['main', ...packages.map(({ component = 'main' }) => component)])];
  const sums: string[] = [];
  for (const component of components) {
    const stanzas = packages.filter((one) => (one.component ?? 'main') === component).map((one) => makeDeb(root, one));
    const path = `${component}/binary-amd64/Packages`;
    const text = stanzas.join('\n');
    mkdirSync(dirname(join(release, path)), { recursive: true });
    writeFileSync(join(release, path), text);
    sums.push(` ${sha256(text)} ${Buffer.byteLength(text)} ${path}`);
  }
  const text = [
    'Origin: Rouse',
    'Suite: stable',
    'Codename: stable',
    'Date: Sat, 21 Nov 2026 12:00:00 UTC',
    'Architectures: amd64',
    `Components: ${components.join(' ')}`,
    'SHA256:',
    ...sums,
    '',
  ].join('\n');
  writeFileSync(join(release, 'Release'), text);
  if (key === undefined) return;
  const args = ['--homedir', key.home, '--batch', '-q', '--clearsign', '-o', join(release, 'InRelease')];
  execFileSync('gpg', [...args, join(release, 'Release')], { stdio: ['ignore', 'ignore', 'ignore'] });
}

function makeDeb(root: string, { name, version = '1', depends, files }: MadePackage): string {
  const tree = join(root, `tree-${name}`);
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    const target = join(tree, path);
    mkdirSync(dirname(target), { recursive: true });
    if (typeof content === 'string' && content.startsWith('-> ')) symlinkSync(content.slice(3), target);
    else writeFileSync(target, content);
    if (path.includes('bin/')) chmodSync(target, 0o755);
  }
  const control = [
    `Package: ${name}`,
    `Version: ${version}`,
    'Architecture: amd64',
    'Maintainer: Rouse <rouse@rouse.example>',
    ...(depends === undefined ? [] : [`Depends: ${depends}`]),
    'Description: made by a test',
    '',
  ].join('\n');
  writeFileSync(join(tree, 'DEBIAN/control'), control);
  const file = `pool/${name}_${version}_amd64.deb`;
  // The same files become the same package, whenever that is.
  const env = { ...process.env, SOURCE_DATE_EPOCH: '0' };
  execFileSync('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree, join(root, file)], {
    stdio: 'ignore',
    env,
  });
  rmSync(tree, { recursive: true });
  const octets = readFileSync(join(root, file));
  return `${control}Filename: ${file}\nSize: ${octets.length}\nSHA256: ${sha256(octets)}\n`;
}

function sha256(octets: string | Uint8Array): string {
  return createHash('sha256').update(octets).digest('hex');
}

/** Names of everything below a folder. */
export function namesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
}
