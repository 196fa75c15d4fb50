// bin/bootstrap.mjs - the first stage of `npm start`, `test`, `pack`, `bench`: readies a fresh machine, then hands over.
//
// Plain JavaScript for Node 18 without dependencies, because on a fresh machine nothing else is there yet: it installs
// the npm packages of the lock file (the pinned Node is one of them), says which Debian packages are missing and, as
// root, installs them. Everything after that runs under the pinned Node.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Debian packages by what shows that they are there: a program on PATH, or a file.
 * `for`, one or more: start = the lab needs it; test = only the tests do (peers that rouse is measured against);
 * rack = only the long tests, by hand; images = `npm run bench images`.
 */
const DEBIAN_PACKAGES = [
  { name: 'qemu-system-x86', shows: 'qemu-system-x86_64', for: 'start images' },
  { name: 'seabios', shows: '/usr/share/seabios/bios-256k.bin', for: 'start images' },
  { name: 'ipxe-qemu', shows: '/usr/lib/ipxe/qemu/pxe-virtio.rom', for: 'start' },
  { name: 'iproute2', shows: 'ip', for: 'start' },
  { name: 'daemontools', shows: 'multilog', for: 'start' },
  { name: 'ca-certificates', shows: '/usr/share/ca-certificates', for: 'start' },
  { name: 'runit', shows: 'sv', for: 'test' },
  { name: 's6', shows: 's6-svc', for: 'test' },
  { name: 'faketime', shows: 'faketime', for: 'test' },
  { name: 'busybox', shows: 'busybox', for: 'test' },
  { name: 'cpio', shows: 'cpio', for: 'test images' },
  { name: 'zstd', shows: 'zstd', for: 'test images' },
  { name: 'xz-utils', shows: 'xz', for: 'test' },
  { name: 'binutils', shows: 'readelf', for: 'test' },
  { name: 'gnupg', shows: 'gpg', for: 'test' },
  { name: 'kmod', shows: 'modinfo', for: 'test' },
  { name: 'curl', shows: 'curl', for: 'test' },
  { name: 'tcpdump', shows: 'tcpdump', for: 'test' },
  { name: 'udhcpc', shows: 'udhcpc', for: 'test' },
  { name: 'isc-dhcp-client', shows: 'dhclient', for: 'test' },
  { name: 'tftp-hpa', shows: '/usr/bin/tftp', for: 'test' },
  { name: 'atftp', shows: 'atftp', for: 'test' },
  { name: 'dnsmasq-base', shows: 'dnsmasq', for: 'test' },
  { name: 'dhcpcd-base', shows: 'dhcpcd', for: 'test' },
  { name: 'debootstrap', shows: 'debootstrap', for: 'test' },
  { name: 'python3-jsonschema', shows: '/usr/lib/python3/dist-packages/jsonschema/__init__.py', for: 'test' },
  { name: 'python3-minimal', shows: 'python3', for: 'test' },
  { name: 'mmdebstrap', shows: 'mmdebstrap', for: 'images' },
  { name: 'debian-archive-keyring', shows: '/usr/share/keyrings/debian-archive-keyring.gpg', for: 'images' },
  { name: 'ovmf', shows: '/usr/share/OVMF/OVMF_CODE.fd', for: 'rack' },
  { name: 'qemu-system-arm', shows: 'qemu-system-aarch64', for: 'rack' },
  { name: 'qemu-efi-aarch64', shows: '/usr/share/AAVMF/AAVMF_CODE.fd', for: 'rack' },
];

/** Peers whose packages would start a daemon of their own: unpacked for the tests and not installed. */
const UNPACKED_PACKAGES = [{ name: 'isc-dhcp-relay', shows: 'dhcrelay' }];
const PEERS = join(ROOT, '.rouse', 'cache', 'peers');
/** Tools of /usr/sbin (ip, dhclient) are not on every user's PATH. */
const ALSO_ON_PATH = ['/usr/sbin', '/sbin', join(PEERS, 'usr', 'sbin')];

/** What each word hands over to. */
const PROGRAMS = {
  start: ['bin/rouse.ts', 'lab', 'up'],
  test: ['test/run.ts'],
  pack: ['pack/pack.io.ts'],
  bench: ['bench/run.io.ts'],
};

const [command, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(PROGRAMS, command ?? ''))
  stop(100, `usage: node bin/bootstrap.mjs ${Object.keys(PROGRAMS).join('|')} [ARG ...]`);

installNpmPackages();
/** Checks and unit tests need nothing but npm's packages. */
const needsMachine =
  command === 'start' ||
  (command === 'bench' && rest[0] === 'images') ||
  (command === 'test' && !(rest.length > 0 && rest.every((word) => word === 'check' || word === 'unit')));
if (needsMachine) {
  installDebianPackages(command);
  if (command === 'test') unpackPeers();
}
handOver();

function installNpmPackages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex');
  const stamp = join(ROOT, 'node_modules', '.rouse-lock');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock && existsSync(pinnedNode())) return;
  say('installing the npm packages of package-lock.json, the pinned Node among them (once; about 450 MB on disk)');
  // Two starts in one clone, or one that was killed and left its npm running, would install over each other: the lock is
  // held by npm itself, and whoever had to wait looks again. Engines are those of the pinned Node: npm, running under
  // another one, would warn about them line by line.
  const script = `exec 9>"$0" || exit 111
    flock -n 9 || { echo 'rouse: another rouse is installing the npm packages of this folder; waiting for it' >&2; flock 9; }
    [ "$(cat "$1" 2>/dev/null)" = "$2" ] && exit 0
    npm ci --no-audit --no-fund --loglevel=error && printf %s "$2" >"$1"`;
  mkdirSync(join(ROOT, '.rouse'), { recursive: true });
  const words = ['-c', script, join(ROOT, '.rouse', 'npm.lock'), stamp, lock];
  const done = spawnSync('sh', words, { cwd: ROOT, stdio: 'inherit' });
  if (done.error) stop(111, `cannot run sh: ${done.error.message}`);
  if (done.status === 127) stop(111, 'npm or flock is not there; install them with: apt-get install npm util-linux');
  if (done.status !== 0) stop(111, `npm ci failed (status ${done.status ?? done.signal}); its words are above`);
}

function installDebianPackages(purpose) {
  const all = ['start', ...(purpose === 'test' ? ['test'] : []), ...(rest.includes('rack') ? ['rack'] : [])];
  const purposes = purpose === 'bench' ? ['images'] : all;
  const wanted = DEBIAN_PACKAGES.filter((row) => row.for.split(' ').some((word) => purposes.includes(word)));
  const missing = wanted.filter((row) => !isThere(row.shows)).map((row) => row.name);
  if (missing.length === 0) return;
  const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid() !== 0) {
    if (purpose === 'test')
      return say(`without root and without ${missing.join(', ')} some tests are skipped; to run them: sudo ${line}`);
    stop(111, `these Debian packages are missing: ${missing.join(', ')}; install them with: sudo ${line}`);
  }
  say(`installing Debian packages: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) =>
    spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  const updated = apt('update');
  if (updated.error)
    stop(111, `cannot run apt-get: ${updated.error.message}; rouse needs Debian 12 or a relative of it`);
  const installed = apt('install', '-y', '--no-install-recommends', ...missing);
  if (installed.status !== 0) stop(111, `apt-get could not install them; try by hand: ${line}`);
  const still = wanted.filter((row) => !isThere(row.shows));
  if (still.length > 0)
    stop(
      111,
      `${still[0].name} is installed but ${still[0].shows} is not there; this release of Debian packs it differently`,
    );
}

function unpackPeers() {
  for (const { name, shows } of UNPACKED_PACKAGES) {
    if (isThere(shows)) continue;
    mkdirSync(PEERS, { recursive: true });
    const run = (program, args) => spawnSync(program, args, { cwd: PEERS, stdio: ['ignore', 'ignore', 'inherit'] });
    run('apt-get', ['-q', 'download', name]);
    const file = readdirSync(PEERS).find((entry) => entry.startsWith(`${name}_`));
    // Without it the tests that need it fail (as root) or are skipped, and say so.
    if (file === undefined) say(`the package ${name} could not be downloaded; its tests cannot run`);
    else run('dpkg-deb', ['-x', file, '.']);
  }
}

function isThere(shows) {
  if (shows.startsWith('/')) return existsSync(shows);
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...ALSO_ON_PATH, '/usr/bin', '/bin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, shows), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function pinnedNode() {
  return join(ROOT, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
}

/** Signals go to the whole foreground group, so this stage has only to wait for the one it started. */
function handOver() {
  const [program, ...words] = PROGRAMS[command];
  const args = [join(ROOT, program), ...words, ...rest];
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
  const path = [join(ROOT, 'node_modules', `node-linux-${process.arch}`, 'bin'), process.env.PATH, ...ALSO_ON_PATH];
  const env = { ...process.env, PATH: path.join(delimiter) };
  const child = spawn(pinnedNode(), ['--disable-warning=ExperimentalWarning', ...args], {
    cwd: ROOT,
    stdio: 'inherit',
    env,
  });
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) =>
    stop(111, `cannot start ${pinnedNode()}: ${error.message}; run: rm -r node_modules && npm ci`),
  );
  child.on('close', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 111)));
}

function say(text) {
  console.error(`rouse: ${text}`);
}

function stop(code, text) {
  say(text);
  process.exit(code);
}
