// bench/peers.io.ts - the supervisors that are compared: where they come from, and how each is given the services.
//
// Owns: one row per supervisor. Packages are unpacked into a folder of the cache, not installed: some would start a daemon
// of their own. A peer that cannot be had is named and left out.
// To add a supervisor: a row in PEERS.

import { execFile } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { reasonOf } from '../formats/errors.ts';
import { bundle } from '../pack/bundle.io.ts';
import { writeProgram, writeService } from './services.io.ts';

const run = promisify(execFile);
const ROOT = resolve(fileURLToPath(new URL('../', import.meta.url)));
const INSTALL_TIMEOUT_MS = 300_000;

/** A service to be supervised. */
export type Wanted = { readonly name: string; readonly script: string };

type Launch = {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

export type Peer = {
  /** Debian packages that are unpacked for it. */
  readonly packages: readonly string[];
  /** Debian package that is installed, which needs root; it starts nothing by itself. */
  readonly installs?: string;
  /** npm package with version, installed into a folder of its own. */
  readonly npm?: string;
  /** What must be there afterwards, below its folder. */
  readonly shows?: string;
  /** Writes the services below the folder. @returns what starts the supervisor in the foreground. */
  readonly prepare: (home: string, folder: string, services: readonly Wanted[]) => Launch;
  /** Whether it keeps logs in multilog's format, or its own rotated one with a stamp per line. */
  readonly logs: boolean;
};

const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';

function inHome(home: string): Record<string, string> {
  const libraries = existsSync(join(home, 'lib')) ? readdirSync(join(home, 'lib')) : [];
  const more = existsSync(join(home, 'usr/lib')) ? readdirSync(join(home, 'usr/lib')) : [];
  const folders = [
    ...libraries.map((name) => join(home, 'lib', name)),
    ...more.map((name) => join(home, 'usr/lib', name)),
  ];
  return {
    PATH: `${join(home, 'usr/bin')}:${join(home, 'usr/sbin')}:${join(home, 'bin')}:${join(home, 'sbin')}:${systemPath}`,
    LD_LIBRARY_PATH: folders.filter((folder) => folder.endsWith('linux-gnu')).join(':'),
  };
}

/** Service directories whose logger is a program. */
function directories(folder: string, services: readonly Wanted[], logger: string): string {
  const scan = join(folder, 'service');
  mkdirSync(scan, { recursive: true });
  for (const { name, script } of services) {
    // A scanned folder must never show half a service directory.
    const home = join(folder, 'directories', name);
    writeService(home, script, { run: `#!/bin/sh\nmkdir -p main\nexec ${logger}\n` });
    symlinkSync(home, join(scan, name));
  }
  return scan;
}

export const PEERS = {
  rouse: {
    packages: [],
    logs: true,
    prepare: (home, folder, services) => {
      const scan = join(folder, 'service');
      for (const { name, script } of services) {
        writeService(join(scan, name), script, { multilog: 't s16777215 n3 ./main\n' });
      }
      return {
        argv: [join(home, 'node'), '--max-semi-space-size=1', join(home, 'bin/rouse-supervise.cjs'), 'supervise', scan],
        env: { PATH: systemPath, ROUSE_HOME: join(folder, 'home') },
      };
    },
  },
  daemontools: {
    packages: ['daemontools'],
    shows: 'usr/bin/svscan',
    logs: true,
    prepare: (home, folder, services) => ({
      argv: ['svscan', directories(folder, services, 'multilog t s16777215 n3 ./main')],
      env: inHome(home),
    }),
  },
  runit: {
    packages: ['runit'],
    shows: 'usr/bin/runsvdir',
    logs: true,
    prepare: (home, folder, services) => ({
      argv: ['runsvdir', directories(folder, services, 'svlogd -t ./main')],
      env: inHome(home),
    }),
  },
  s6: {
    // Its programs name each other by /usr/bin: unpacked elsewhere they do not find themselves.
    packages: [],
    installs: 's6',
    shows: '/usr/bin/s6-svscan',
    logs: true,
    prepare: (home, folder, services) => ({
      argv: ['s6-svscan', '-c', '4000', directories(folder, services, 's6-log t s16777215 n3 ./main')],
      env: inHome(home),
    }),
  },
  supervisord: {
    packages: ['supervisor', 'python3-pkg-resources'],
    shows: 'usr/bin/supervisord',
    logs: false,
    prepare: (home, folder, services) => {
      const rows = services.map(({ name, script }) => {
        const program = join(folder, `${name}.run`);
        writeProgram(program, script);
        return `[program:${name}]\ncommand=${program}\nautorestart=true\nstdout_logfile=${join(folder, `${name}.log`)}\n`;
      });
      const config = join(folder, 'supervisord.conf');
      const head = `[supervisord]\nnodaemon=true\nminfds=20000\nlogfile=${folder}/supervisord.log\npidfile=${folder}/pid\n`;
      writeFileSync(config, `${head}${rows.join('')}`);
      return {
        argv: ['python3', join(home, 'usr/bin/supervisord'), '-c', config],
        env: { ...inHome(home), PYTHONPATH: join(home, 'usr/lib/python3/dist-packages') },
      };
    },
  },
  pm2: {
    packages: [],
    npm: 'pm2@7.0.4',
    shows: 'node_modules/pm2/bin/pm2',
    logs: false,
    prepare: (home, folder, services) => {
      const apps = services.map(({ name, script }) => {
        const program = join(folder, `${name}.run`);
        writeProgram(program, script);
        return {
          name,
          script: program,
          interpreter: 'none',
          out_file: join(folder, `${name}.log`),
          error_file: '/dev/null',
        };
      });
      const config = join(folder, 'pm2.json');
      writeFileSync(config, JSON.stringify({ apps }));
      return {
        argv: [join(home, 'node'), join(home, 'node_modules/pm2/bin/pm2'), 'start', config],
        env: { PATH: systemPath, PM2_HOME: join(folder, 'pm2'), HOME: folder },
      };
    },
  },
} as const satisfies Record<string, Peer>;

export type PeerName = keyof typeof PEERS;

/** Fetches what is compared where it is not there. @returns its folder, or why it cannot be had. */
export async function obtain(
  name: string,
  peer: Pick<Peer, 'packages' | 'installs' | 'npm' | 'shows'>,
  cache: string,
): Promise<{ readonly home: string } | { readonly why: string }> {
  const home = join(cache, name);
  const isThere = (): boolean => peer.shows === undefined || existsSync(resolve(home, peer.shows));
  const options = { cwd: home, timeout: INSTALL_TIMEOUT_MS };
  try {
    mkdirSync(home, { recursive: true });
    if (name === 'rouse' || name === 'pm2') await ownNode(home);
    // What ships, as it is now.
    if (name === 'rouse') await bundle(ROOT, join(home, 'bin'));
    if (isThere()) return { home };
    if (peer.packages.length > 0) {
      await run('apt-get', ['-q', 'download', ...peer.packages], options);
      for (const file of readdirSync(home).filter((entry) => entry.endsWith('.deb'))) {
        await run('dpkg-deb', ['-x', file, '.'], options);
      }
    }
    if (peer.installs !== undefined) {
      if (process.getuid?.() !== 0) return { why: `as root: apt-get install ${peer.installs}` };
      const words = ['-q', '-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '--no-install-recommends', peer.installs];
      await run('apt-get', words, options);
    }
    if (peer.npm !== undefined) {
      await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', home, peer.npm], options);
    }
    return isThere() ? { home } : { why: `${peer.shows} is not in its packages` };
  } catch (thrown) {
    return { why: reasonOf(thrown).split('\n').slice(0, 2).join(' ') };
  }
}

/**
 * A Node that this peer alone runs. Pages of a file are shared by all who run it, this benchmark among them, and would
 * be divided by their number.
 */
async function ownNode(home: string): Promise<void> {
  const path = join(home, 'node');
  if (!existsSync(path)) await copyFile(process.execPath, path);
}
