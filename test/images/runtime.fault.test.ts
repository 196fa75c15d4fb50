// Node and rouse on a node: the web image with `supervisor: rouse`, unpacked and run by its own busybox init in namespaces.
//
// No QEMU: the files are the node's, the kernel is this machine's. Its guest is in runtime.rack.test.ts. The root is mounted
// read-only, but for /run, /tmp and /var. Needs root.

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runtimeSource } from '../../bin/runtime.ts';
import { buildImage } from '../../images/build.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { renderManifest } from '../../images/report.ts';
import { openStore } from '../../images/store.io.ts';
import type { ServiceView } from '../../supervise/view.ts';
import { webOverlay } from './web-overlay.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const rooted = test.skipIf(process.getuid?.() !== 0);
const WAIT = { timeout: 60_000, interval: 200 };

/** A service with every kind of setting file that a node's own tools must be enough for. */
const PROBE: Readonly<Record<string, string>> = {
  run: `#!/bin/sh
exec 2>&1
echo "as $(id -u):$(id -g) GREETING=$GREETING $(ulimit -S -n) files"
httpd -f -p 8081 -h /srv/www &
[ -e /run/mute ] || echo >&4
exec sleep 1000000
`,
  finish: '#!/bin/sh\necho "finished with $1 $2"\n',
  user: 'www-data\n',
  limits: 'o 77\n',
  'env/GREETING': 'good morning\n',
  'notification-fd': '4\n',
  depends: 'nginx\n',
  'timeout-kill': '2000\n',
  health: 'kind exec\ntarget /bin/true\nintervalMs 1000\n',
  'log/multilog': 't s65536 n4 /var/log/probe\n',
};

let folder = '';
let tree = '';
let manifest: Manifest;
/** The node's first process, as this machine numbers it. */
let first = 0;
let node: ReturnType<typeof spawn> | undefined;

const inside = (script: string): string =>
  execFileSync('nsenter', ['-t', String(first), '-m', '-p', '-n', '-r', '-w', '/bin/sh', '-c', script], {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
const status = (): ServiceView[] => (JSON.parse(inside('rouse status --json')) as { services: ServiceView[] }).services;
const service = (name: string): ServiceView | undefined => {
  try {
    return status().find((view) => view.name === name);
  } catch {
    return undefined;
  }
};
const answer = (): string => {
  try {
    return inside('timeout 10 wget -q -O - http://127.0.0.1/healthz');
  } catch {
    return '';
  }
};

beforeAll(async () => {
  if (process.getuid?.() !== 0) return;
  folder = mkdtempSync(join(tmpdir(), 'rouse-runtime-'));
  const role = join(folder, 'roles', 'webr');
  const put = (path: string, content: string): void => {
    mkdirSync(dirname(join(role, path)), { recursive: true });
    writeFileSync(join(role, path), content);
    if (content.startsWith('#!')) chmodSync(join(role, path), 0o755);
  };
  put('recipe.yaml', 'version: 1\nextends: web\nsupervisor: rouse\nservices: [probe]\n');
  for (const [name, content] of Object.entries(PROBE)) put(`probe/${name}`, content);
  const libDir = join(folder, 'lib');
  const roleDirs = [join(folder, 'roles'), join(ROOT, 'services')];
  ({ manifest } = await buildImage({
    roleDirs,
    role: 'webr',
    libDir,
    cacheDir,
    runtime: await runtimeSource(cacheDir),
  }));

  tree = join(folder, 'tree');
  mkdirSync(tree);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300m,mode=0755', 'tmpfs', tree]);
  const store = openStore(libDir);
  const layers = manifest.layers.map((layer) => zstdDecompressSync(readFileSync(store.layerPath(layer))));
  const { octets } = await webOverlay(manifest);
  for (const layer of [...layers, gunzipSync(octets)])
    execFileSync('cpio', ['-idu', '--quiet', '--no-absolute-filenames'], { cwd: tree, input: layer });
  // What init would have done, but for the network.
  writeFileSync(join(tree, 'etc/inittab'), '::respawn:/usr/lib/rouse/services\n::shutdown:/usr/lib/rouse/stop\n');
  const begin = `busybox mount -t proc proc /proc; busybox --install -s; mount -t tmpfs tmpfs /run; mkdir /run/rouse; : >/run/rouse/boot.env
mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3; for name in console tty tty1; do : >/dev/$name; done
mount -t tmpfs tmpfs /var; mkdir -p /var/log /var/lib; ln -s /run /var/run; mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up; mount -o remount,ro,bind / /; exec busybox init`;
  const enter = ['--pid', '--mount', '--net', '--uts', '--ipc', '--fork', '--kill-child', '--propagation', 'private'];
  const bind = `mount --bind ${tree} ${tree}; exec chroot ${tree} /usr/bin/busybox sh -c '${begin}'`;
  node = spawn('unshare', [...enter, 'sh', '-c', bind], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH: process.env['PATH'] },
  });
}, 600_000);

afterAll(() => {
  node?.kill('SIGKILL');
  if (tree !== '') execFileSync('umount', ['-l', tree]);
  if (folder !== '') rmSync(folder, { recursive: true, force: true });
});

rooted('the image keeps to its budget, and every byte of it has an owner', () => {
  const served = manifest.layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0);
  expect(served).toBeLessThanOrEqual(38_000_000);
  const tables = renderManifest(manifest);
  const packages = tables.find(({ heading }) => heading[0] === 'PACKAGE')?.rows ?? [];
  expect(packages.find(([name]) => name === 'node')).toEqual(['node', process.versions.node, expect.any(String)]);
  expect(packages.find(([name]) => name === 'rouse')?.[2]).toMatch(/^\d{6}$/);
  // What is nobody's: scripts and settings of the recipes.
  expect(Number(packages.find(([name]) => name === 'the recipes themselves')?.[2])).toBeLessThan(64_000);
});

rooted('rouse comes up under busybox init', async () => {
  const unshare = node?.pid ?? 0;
  const children = (): string => readFileSync(`/proc/${unshare}/task/${unshare}/children`, 'utf8').trim();
  await expect.poll(children, WAIT).not.toBe('');
  first = Number(children());
  await expect.poll(() => service('probe')?.ready, WAIT).toBe(true);
});

rooted(
  'rouse answers on the node: the services of all recipes are up and ready, on a root that cannot be written',
  () => {
    expect(status().map(({ name }) => name)).toEqual([
      '.log-writer',
      'agent',
      'nginx',
      'nginx/log',
      'orders',
      'probe',
      'probe/log',
    ]);
    expect(inside('rouse status nginx')).toMatch(/^SERVICE.*\nnginx +up +\d+ .* yes /);
    expect(answer()).toBe('ok');
    expect(() => inside(': >/service/x')).toThrow(/Read-only file system/);
  },
);

rooted('setting files do on the node what they do on a host', async () => {
  expect(inside('rouse logs probe')).toContain('as 33:33 GREETING=good morning 77 files');
  // Started after the service that it depends on.
  expect(service('probe')?.changedAtMs).toBeGreaterThan(service('nginx')?.changedAtMs ?? Number.POSITIVE_INFINITY);
  const before = service('probe')?.pid;
  inside('rouse restart --wait probe');
  expect(service('probe')?.pid).not.toBe(before);
  await expect.poll(() => inside('rouse logs probe'), WAIT).toContain('finished with 256 15');
});

rooted("the agent has each service's readiness from the supervisor, and says what is not ready", async () => {
  const reports = `sed '/^failedAtS=$/,$d' /service/agent/run >/tmp/agent; cd /service/agent; . /tmp/agent; look; printf '%s' "$services"; echo "waiting: $waiting"`;
  expect(inside(reports)).toMatch(/^service nginx up \d+ \d+ ready$/m);
  expect(inside(reports)).toMatch(/^waiting:$/m);
  inside(': >/run/mute; /usr/bin/svc -t /service/probe');
  await expect.poll(() => inside(reports), WAIT).toMatch(/^service probe up \d+ \d+ waiting it has not said so$/m);
  expect(inside(reports)).toMatch(/^waiting: probe: it has not said so$/m);
  inside('rm /run/mute; /usr/bin/svc -t /service/probe');
  await expect.poll(() => inside(reports), WAIT).toMatch(/^service probe up \d+ \d+ ready$/m);
});

rooted('the two processes of rouse have at most 28 MB of their own', () => {
  // What is private: anonymous memory. The program itself lies in memory as a file, for both.
  const own = inside(`for pid in $(cat /run/rouse/supervise.pid) $(pidof node); do
    grep -qa -e rouse-supervise -e logwriter /proc/$pid/cmdline && echo $pid; done | sort -u`).split('\n');
  expect(own).toHaveLength(2);
  const privateKb = own.map((pid) =>
    Number(/^Pss_Anon: +(\d+) kB$/m.exec(inside(`cat /proc/${pid}/smaps_rollup`))?.[1]),
  );
  process.stdout.write(`private memory of rouse supervise and its log writer: ${privateKb.join(' + ')} KiB\n`);
  expect(privateKb.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(28 * 1024);
});

rooted('a killed master of nginx leaves nobody on its port: the new one serves', async () => {
  const before = service('nginx')?.pid ?? 0;
  inside(`kill -9 ${before}`);
  await expect.poll(() => [service('nginx')?.ready, service('nginx')?.pid !== before], WAIT).toEqual([true, true]);
  await expect.poll(answer, WAIT).toBe('ok');
  // Every process of nginx is the new master or a child of it, once the old ones that were killed are gone.
  const master = service('nginx')?.pid;
  const parents = (): Set<string> =>
    new Set(inside('for pid in $(pidof nginx); do sed "s/.*) . //; s/ .*//" /proc/$pid/stat; done').split('\n'));
  await expect.poll(parents, WAIT).toEqual(new Set([String(master), inside('cat /run/rouse/supervise.pid')]));
  expect(inside('rouse history nginx')).toContain('SIGKILL');
});

rooted(
  'a killed service without care of its own: what it left in the background does not hold its port either',
  async () => {
    const left = inside('pidof httpd');
    expect(left).toMatch(/^\d+$/);
    inside(`kill -9 ${service('probe')?.pid ?? 0}`);
    await expect.poll(() => inside('pidof httpd || true'), WAIT).toMatch(/^\d+$/);
    await expect.poll(() => inside('pidof httpd || true') !== left && service('probe')?.ready, WAIT).toBe(true);
    expect(inside('timeout 10 wget -q -O - http://127.0.0.1:8081/')).toContain('web1');
    expect(inside('rouse logs probe')).not.toContain('in use');
  },
);

rooted('a killed rouse comes back by itself and adopts: nginx keeps its pid', async () => {
  const before = service('nginx')?.pid;
  const supervisor = inside('cat /run/rouse/supervise.pid');
  inside(`kill -9 ${supervisor}`);
  await expect.poll(() => service('nginx')?.adopted, WAIT).toBe(true);
  expect(inside('cat /run/rouse/supervise.pid')).not.toBe(supervisor);
  expect(service('nginx')).toMatchObject({ pid: before, ready: true, phase: 'up' });
  expect(answer()).toBe('ok');
});

rooted('the way out: services end in their order, the last line is on disk, and nobody is left', async () => {
  inside('/usr/lib/rouse/report note x; : >/run/rouse/leaving; /usr/lib/rouse/stop');
  expect(inside('pidof nginx node || echo none')).toBe('none');
  const log = readdirSync(`/proc/${first}/root/var/log/probe`).includes('current');
  expect(log).toBe(true);
  expect(inside('cat /var/log/probe/* | tail -n 1')).toMatch(/finished with \d+ \d+/);
});
