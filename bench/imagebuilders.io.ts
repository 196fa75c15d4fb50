// bench/imagebuilders.io.ts - the same web server as an initrd, by rouse and by the builders of the field.
//
// Owns: each builder's commands, as its manual has them, told to take no more than it must. Does not own: the clock
// (images.io.ts).
//
// What all of them put in: nginx, a configuration, a page, busybox, and the modules of a virtio network card. All are booted
// with one kernel on one machine, in two ways: by one script for all of them, so that only the images differ, and by the init
// that each brings. What each is told is its `text`, which is printed under the table. docs/benchmarks.md: how to read it.
//
// Sources: mmdebstrap(1), dracut(8), initramfs-tools(7), mkinitramfs(8).

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PACKAGES = 'nginx,busybox-static,linux-image-cloud-amd64,kmod,cpio,zstd';
const DRIVERS = ['virtio_pci', 'virtio_net'];
const NGINX_CONF = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events {}
http { access_log off; server { listen 80; root /srv/www; } }
`;

/** What all builders work with. */
export type Workshop = {
  /** Thrown away at the end; a warm build finds packages here. */
  readonly folder: string;
  /** The installed system that dracut and initramfs-tools copy from. */
  readonly root: string;
  /** Changes the page. */
  readonly page: (text: string) => void;
};

export type Builder = {
  /** What it makes of the same content, and what it starts: one sentence for the reader of the table. */
  readonly text: string;
  /** Copies from an installed system, which its users have: making that one is told apart. */
  readonly copies: boolean;
  /** Removes everything of the image but the packages. */
  readonly forget: (shop: Workshop) => void;
  /** @returns the initrd's path. */
  readonly build: (shop: Workshop) => Promise<string>;
  /** What its own init is told on the kernel's command line, behind the console; absent: it has none. */
  readonly cmdline?: (shop: Workshop) => Promise<readonly string[]>;
};

/** A folder for temporary files that is also there below a changed root. */
async function run(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  if (isAbandoned) throw new Error('interrupted');
  const child = execa(file, args, { env: { TMPDIR: '/var/tmp', ...env }, stdin: 'ignore', maxBuffer: 256 * 2 ** 20 });
  running.add(child);
  try {
    return await child;
  } finally {
    running.delete(child);
  }
}

const running = new Set<Promise<unknown> & { readonly kill: () => boolean }>();
let isAbandoned = false;

/** Ends the builder that is at work, and starts none any more: for when the benchmark itself is told to end. */
export async function abandonBuilders(): Promise<void> {
  isAbandoned = true;
  for (const child of running) child.kill();
  await Promise.allSettled(running);
}

const siteFiles = (shop: Workshop): string => join(shop.folder, 'site');
const rouseHome = (shop: Workshop): string => join(shop.folder, 'rouse');
const debs = (shop: Workshop): string => join(shop.folder, 'debs');

/** The first program of all images, where their own init is left aside: the shortest that can serve the page. */
export const SCRIPT_CMDLINE = ['rdinit=/bench-init'];
const SCRIPT = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mkdir -p /proc /sys /dev /run /tmp /var/log/nginx /var/lib/nginx
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
modprobe virtio_pci
modprobe virtio_net
busybox ip link set lo up
busybox ip link set eth0 up
busybox ip addr add 10.0.2.15/24 dev eth0
exec nginx -e stderr -g 'daemon off;'
`;

/** What runs nginx below dracut's init: a root that is never mounted, and a hook in its place (dracut.modules(7)). */
const DRACUT_HOOKS = {
  'cmdline/50-bench.sh': 'root=bench\nrootok=1\n',
  'pre-mount/50-bench.sh': `busybox ip link set lo up
busybox ip link set eth0 up
busybox ip addr add 10.0.2.15/24 dev eth0
mkdir -p /var/log/nginx /var/lib/nginx
exec nginx -e stderr -g 'daemon off;'
`,
};

/** The same below that of initramfs-tools: a boot script in place of "local" or "nfs" (initramfs-tools(7)). */
const BOOT_SCRIPT = `mountroot() {
  configure_networking
  mkdir -p /var/log/nginx /var/lib/nginx
  exec nginx -e stderr -g 'daemon off;'
}
`;

/** Lays out the files that all builders take, and a role of rouse with the same. */
export function makeWorkshop(folder: string, root = join(folder, 'installed')): Workshop {
  const site = join(folder, 'site');
  const role = join(folder, 'rouse/etc/roles/bench');
  for (const path of ['etc/nginx', 'srv/www']) {
    mkdirSync(join(site, path), { recursive: true });
    mkdirSync(join(role, 'files', path), { recursive: true });
  }
  mkdirSync(join(role, 'nginx'), { recursive: true });
  for (const base of [site, join(role, 'files')]) writeFileSync(join(base, 'etc/nginx/nginx.conf'), NGINX_CONF);
  for (const base of [site, join(role, 'files')]) {
    writeFileSync(join(base, 'bench-init'), SCRIPT);
    chmodSync(join(base, 'bench-init'), 0o755);
  }
  writeFileSync(join(role, 'nginx/run'), "#!/bin/sh\nmkdir -p /var/lib/nginx\nexec nginx -e stderr -g 'daemon off;'\n");
  chmodSync(join(role, 'nginx/run'), 0o755);
  writeFileSync(
    join(role, 'recipe.yaml'),
    'version: 1\nextends: base\npackages: [nginx]\nleaveOut: [/etc/nginx/, /usr/share/nginx/, /var/www/]\nservices: [nginx]\nusers: [{name: www-data, uid: 33}]\n',
  );
  const page = (text: string): void => {
    for (const base of [site, join(role, 'files')]) writeFileSync(join(base, 'srv/www/index.html'), text);
  };
  page('first\n');
  return { folder, root, page };
}

const rouse = (shop: Workshop, args: readonly string[]) =>
  run(join(ROOT, 'bin/rouse'), args, {
    ROUSE_HOME: rouseHome(shop),
    ROUSE_CACHE: join(rouseHome(shop), 'cache'),
    ROUSE_CONFIG: join(rouseHome(shop), 'etc'),
  });

/** Makes the system that others copy from, unless it is there. @returns whether it was made. */
export async function installRoot(shop: Workshop): Promise<boolean> {
  if (existsSync(shop.root)) return false;
  const unfinished = `${shop.root}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  await debstrap(shop, unfinished, `${PACKAGES},mount,binutils,dracut-core,initramfs-tools-core`);
  renameSync(unfinished, shop.root);
  return true;
}

/** Puts the site's files where a builder below the changed root finds them, with the accounts that nginx asks for. */
function placeSite(shop: Workshop): void {
  const into = join(shop.root, 'bench');
  cpSync(siteFiles(shop), into, { recursive: true });
  for (const name of ['passwd', 'group']) cpSync(join(shop.root, 'etc', name), join(into, 'etc', name));
}

/** Removes every kernel module that the network card does not need, as who makes an image for one kind of machine would. */
async function keepDrivers(root: string): Promise<void> {
  const release = releaseOf(root);
  const { stdout } = await run('chroot', [root, 'modprobe', '-S', release, '-a', '--show-depends', ...DRIVERS]);
  const kept = new Set(stdout.split('\n').map((line) => basename(line.trim())));
  const folder = join(root, 'lib/modules', release);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko') && !kept.has(basename(path))) rmSync(join(folder, path));
  }
  await run('chroot', [root, 'depmod', release]);
}

/** mmdebstrap, with the packages of the build before put back, as its manual says. */
async function debstrap(shop: Workshop, into: string, packages: string): Promise<void> {
  mkdirSync(debs(shop), { recursive: true });
  await run('mmdebstrap', [
    ...['--quiet', '--mode=root', '--variant=apt', `--include=${packages}`, '--skip=download/empty,cleanup/apt'],
    `--setup-hook=mkdir -p "$1/var/cache/apt/archives"; cp -al ${debs(shop)}/. "$1/var/cache/apt/archives/"`,
    `--customize-hook=cp -aln "$1"/var/cache/apt/archives/*.deb ${debs(shop)}/; rm -f "$1"/var/cache/apt/archives/*.deb`,
    ...['bookworm', into],
  ]);
}

function releaseOf(root: string): string {
  const [release] = readdirSync(join(root, 'lib/modules'));
  if (release === undefined) throw new Error(`${root} has no kernel modules`);
  return release;
}

/** By the names that people know them by. */
export const BUILDERS = {
  rouse: {
    text: 'a signed generation of layers, joined to one file; its init is the one that nodes boot: layers proved, DHCP, nginx and an agent under svscan',
    copies: false,
    forget(shop) {
      rmSync(join(rouseHome(shop), 'lib'), { recursive: true, force: true });
      const cache = join(rouseHome(shop), 'cache');
      for (const name of readdirSync(cache).filter((one) => one !== 'apt')) {
        rmSync(join(cache, name), { recursive: true, force: true });
      }
    },
    async build(shop) {
      const initrd = join(shop.folder, 'rouse.initrd');
      await rouse(shop, ['image', 'build', 'bench', '--flatten', initrd]);
      return initrd;
    },
    async cmdline(shop) {
      // The edited one waits for its promotion.
      await rouse(shop, ['image', 'promote', 'bench']);
      const { stdout } = await rouse(shop, ['image', 'show', 'bench', '--json']);
      const { layers } = JSON.parse(stdout) as { layers: { sha256: string }[] };
      return [`rouse.layers=${layers.map(({ sha256 }) => sha256).join(',')}`, 'rouse.readyTimeoutS=600'];
    },
  },
  mmdebstrap: {
    text: 'a small Debian with apt, without documentation, translations and the modules of other machines, zstd -19; it has no init',
    copies: false,
    forget(shop) {
      rmSync(join(shop.folder, 'debstrapped'), { recursive: true, force: true });
    },
    async build(shop) {
      const root = join(shop.folder, 'debstrapped');
      const initrd = join(shop.folder, 'mmdebstrap.initrd');
      rmSync(root, { recursive: true, force: true });
      await debstrap(shop, root, PACKAGES);
      cpSync(siteFiles(shop), root, { recursive: true });
      for (const path of ['boot', 'usr/share/doc', 'usr/share/locale', 'usr/share/man', 'var/lib/apt', 'var/cache']) {
        rmSync(join(root, path), { recursive: true, force: true });
      }
      await keepDrivers(root);
      await run('sh', ['-c', `cd ${root} && find . | cpio -o -H newc --quiet | zstd -q -19 -T0 -f -o ${initrd}`]);
      return initrd;
    },
  },
  dracut: {
    text: 'modules base and kernel-modules, the drivers named, zstd; its init runs udev, then nginx from a hook, with a fixed address',
    copies: true,
    forget() {
      // It keeps nothing from one build to the next.
    },
    async build(shop) {
      const { root } = shop;
      placeSite(shop);
      const hooks = join(root, 'bench-dracut/usr/lib/dracut/hooks');
      for (const [path, text] of Object.entries(DRACUT_HOOKS)) {
        mkdirSync(join(hooks, dirname(path)), { recursive: true });
        writeFileSync(join(hooks, path), text);
        chmodSync(join(hooks, path), 0o755);
      }
      const out = 'dracut.initrd';
      await run('chroot', [
        root,
        ...['dracut', '--quiet', '--force', '--no-hostonly', '--zstd', '--modules', 'base kernel-modules'],
        ...['--drivers', DRIVERS.join(' '), '--install', 'nginx busybox modprobe'],
        ...['--include', '/bench', '/', '--include', '/bench-dracut', '/', '--kver', releaseOf(root), `/${out}`],
      ]);
      return join(root, out);
    },
    cmdline: async () => ['rd.shell=0'],
  },
  'initramfs-tools': {
    text: 'MODULES=list with the drivers named, a hook for nginx, zstd; its init runs udev, asks DHCP, then starts nginx from a boot script',
    copies: true,
    forget() {
      // It keeps nothing from one build to the next.
    },
    async build(shop) {
      const { root } = shop;
      const conf = join(root, 'bench-conf');
      placeSite(shop);
      for (const name of ['hooks', 'scripts', 'conf.d']) mkdirSync(join(conf, name), { recursive: true });
      writeFileSync(join(conf, 'initramfs.conf'), 'MODULES=list\nBUSYBOX=y\nCOMPRESS=zstd\nFSTYPE=auto\n');
      writeFileSync(join(conf, 'modules'), `${DRIVERS.join('\n')}\n`);
      writeFileSync(
        join(conf, 'hooks/nginx'),
        '#!/bin/sh\n[ "$1" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\ncopy_exec /usr/sbin/nginx\ncopy_exec /bin/busybox /bin/busybox\ncp -a /bench/. "$DESTDIR/"\n',
      );
      chmodSync(join(conf, 'hooks/nginx'), 0o755);
      writeFileSync(join(conf, 'scripts/bench'), BOOT_SCRIPT);
      const out = 'initramfs-tools.initrd';
      await run('chroot', [root, 'mkinitramfs', '-d', '/bench-conf', '-o', `/${out}`, releaseOf(root)]);
      return join(root, out);
    },
    cmdline: async () => ['boot=bench', 'ip=dhcp'],
  },
} as const satisfies Record<string, Builder>;

export type BuilderName = keyof typeof BUILDERS;

/** The kernel that all initrds are booted with: the one that rouse's image names. */
export async function kernelOf(shop: Workshop): Promise<string> {
  const { stdout } = await rouse(shop, ['image', 'show', 'bench', '--json']);
  const { kernel } = JSON.parse(stdout) as { kernel: { sha256: string } };
  return join(rouseHome(shop), 'lib/images/kernels', kernel.sha256);
}

export function bytesOf(path: string): number {
  return statSync(path).size;
}
