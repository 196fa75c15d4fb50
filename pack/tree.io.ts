// pack/tree.io.ts - what lies where once the package is installed, and the control files that dpkg reads.
//
// Owns: the tree below /usr/lib/rouse, the launcher, unit, man page, the pages of docs/, dependencies.
// Does not own: the bundles (bundle.io.ts), the scripts of the package (files/), making the archive (pack.io.ts).
// Source: Debian Policy 4.6, deb-control(5).

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  copyFileSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { reasonOf } from '../formats/errors.ts';
import { writeApplets } from '../supervise/applets/write.io.ts';
import { buildProgram } from '../bin/program.ts';
import { bundle } from './bundle.io.ts';
import { manPage } from './man.ts';

/** By the name that Node gives an architecture: the name that Debian gives it. */
export const DEBIAN_ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

export type TreeFacts = {
  /** The clone. */
  readonly root: string;
  readonly version: string;
  readonly debianArch: string;
  /** Modification time of every file, in seconds since 1970: the same sources make the same package. */
  readonly timeS: number;
};

const LIB = 'usr/lib/rouse';
const NODE = `/${LIB}/node/bin/node`;

/** Fills the folder, DEBIAN/ included. */
export async function makeTree(tree: string, { root, version, debianArch, timeS }: TreeFacts): Promise<void> {
  const files = join(root, 'pack', 'files');
  const put = (path: string, content: string | Uint8Array, mode = 0o644): void => {
    const full = join(tree, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, content);
    chmodSync(full, mode);
  };
  const scripts = join(tree, LIB, 'supervise/applets/scripts');
  await bundle(root, join(tree, LIB, 'bin'));
  mkdirSync(join(tree, LIB, 'node/bin'), { recursive: true });
  copyFileSync(join(root, 'node_modules', `node-linux-${process.arch}`, 'bin/node'), join(tree, NODE));
  strip(join(tree, NODE));
  chmodSync(join(tree, NODE), 0o755);
  cpSync(join(root, 'services'), join(tree, LIB, 'services'), { recursive: true });
  cpSync(join(root, 'supervise/applets/scripts'), scripts, { recursive: true });
  writeApplets(join(tree, LIB, 'applets'), {
    scriptsDir: scripts,
    front: [NODE, '--max-semi-space-size=1', `/${LIB}/bin/rouse-supervise.cjs`, 'applet'],
  });
  put(`${LIB}/bin/rouse`, readFileSync(join(files, 'rouse')), 0o755);
  // Also tells Node that what lies here is CommonJS.
  put(`${LIB}/package.json`, `${JSON.stringify({ name: 'rouse', version, type: 'commonjs' })}\n`);
  put(`${LIB}/stop`, readFileSync(join(files, 'stop')), 0o755);
  put('lib/systemd/system/rouse.service', readFileSync(join(files, 'rouse.service')));
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  symlinkSync(`../lib/rouse/bin/rouse`, join(tree, 'usr/bin/rouse'));
  mkdirSync(join(tree, 'etc/rouse/services'), { recursive: true });
  put('usr/share/man/man8/rouse.8.gz', gzipSync(page(version, timeS)));
  put('usr/share/doc/rouse/changelog.gz', gzipSync(readFileSync(join(root, 'CHANGELOG.md'))));
  put('usr/share/doc/rouse/copyright', readFileSync(join(root, 'LICENSE')));
  for (const [name, text] of installedPages(root)) put(`usr/share/doc/rouse/${name}`, text);

  const installedKiB = Math.ceil(
    listFiles(tree).reduce((sum, path) => sum + lstatSync(join(tree, path)).size, 0) / 1024,
  );
  put('DEBIAN/control', control(version, debianArch, installedKiB));
  for (const script of ['postinst', 'prerm', 'postrm'])
    put(`DEBIAN/${script}`, readFileSync(join(files, script)), 0o755);
  put('DEBIAN/md5sums', sums(tree));
  for (const path of ['', ...listAll(tree)]) lutimesSync(join(tree, path), timeS, timeS);
}

/** The pages for people, all in one folder, which their links follow: who needs them at night has no clone beside him. */
export function installedPages(root: string): Map<string, string> {
  const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
  const paths = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...docs.map((name) => `docs/${name}`)];
  return new Map(
    paths.map((path) => [basename(path), readFileSync(join(root, path), 'utf8').replaceAll('](docs/', '](')]),
  );
}

/** Takes the symbols out, a seventh of the file. Without binutils it stays as npm has it: larger, and no worse. */
function strip(path: string): void {
  try {
    execFileSync('strip', [path]);
  } catch (thrown) {
    process.stderr.write(`rouse: Node is packed with its symbols, 4 MB more: ${reasonOf(thrown)}\n`);
  }
}

function control(version: string, debianArch: string, installedKiB: number): string {
  return `Package: rouse
Version: ${version}
Architecture: ${debianArch}
Maintainer: rouse <rouse@localhost>
Installed-Size: ${installedKiB}
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6, passwd, perl-base, util-linux
Recommends: ca-certificates, iproute2
Section: admin
Priority: optional
Description: process supervisor and network boot server
 rouse supervise keeps the services of a host running: daemontools' service
 directories, adopted and not restarted when the supervisor itself is replaced.
 rouse netboot boots nodes without disks into what their profile says.
 .
 The package brings its own Node runtime below /usr/lib/rouse.
`;
}

function page(version: string, timeS: number): string {
  const program = buildProgram(() => ({
    places: () => {
      throw new Error('the table is read, not run');
    },
    print: () => undefined,
    warn: () => undefined,
    isTerminal: false,
    exit: () => undefined,
  }));
  return manPage(program, version, new Date(timeS * 1000).toISOString().slice(0, 10));
}

function sums(tree: string): string {
  return listFiles(tree)
    .filter((path) => !path.startsWith('DEBIAN/'))
    .map(
      (path) =>
        `${createHash('md5')
          .update(readFileSync(join(tree, path)))
          .digest('hex')}  ${path}\n`,
    )
    .join('');
}

/** Everything below the folder, sorted; folders after what is in them, so that their times can be set. */
function listAll(tree: string): string[] {
  return readdirSync(tree, { recursive: true, encoding: 'utf8' }).sort().reverse();
}

function listFiles(tree: string): string[] {
  return listAll(tree)
    .filter((path) => lstatSync(join(tree, path)).isFile())
    .reverse();
}
