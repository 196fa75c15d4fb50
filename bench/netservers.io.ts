// bench/netservers.io.ts - the boot servers that are compared: where they come from, and how each serves the same files.
//
// Owns: one row per server, its configuration, and its start in a namespace. rouse is what ships: the bundled whole boot
// server on a site of its own, with the files as loaders (TFTP) and as a layer of a signed image (HTTP).
// To add a server: a row in SERVERS. Does not own the load (nettraffic.io.ts).

import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signManifest } from '../images/keys.io.ts';
import type { Manifest } from '../images/manifest.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

/** The server's address in its namespace, on the interface that the load comes by. */
export const SERVER_ADDRESS = '10.99.0.1';
export const SERVER_INTERFACE = 'v0';

/** What is fetched: a name and its octets. TFTP's names are those that rouse's table of loaders has. */
export type Content = {
  readonly tftp: Readonly<Record<string, Uint8Array>>;
  readonly http: Uint8Array;
  /** In a storm: a kernel beside the HTTP body. */
  readonly kernel?: Uint8Array;
};

export type Started = {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path of the HTTP body, with its port: ":8080/layer/…". */
  readonly http?: string;
};

export type NetServer = {
  readonly speaks: readonly ('tftp' | 'http' | 'storm')[];
  /** Debian packages that are unpacked for it. */
  readonly packages: readonly string[];
  /** The program, below its folder or on PATH. */
  readonly shows?: string;
  readonly windows: boolean;
  readonly prepare: (home: string, folder: string, content: Content) => Promise<Started>;
};

const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';
const inHome = (home: string): Readonly<Record<string, string>> => ({
  PATH: `${join(home, 'usr/sbin')}:${systemPath}`,
  LD_LIBRARY_PATH: ['usr/lib', 'lib'].map((name) => join(home, name, 'x86_64-linux-gnu')).join(':'),
});

/** The TFTP files as a folder. */
function tftpRoot(folder: string, { tftp }: Content): string {
  const root = join(folder, 'tftp');
  mkdirSync(root, { recursive: true });
  for (const [name, octets] of Object.entries(tftp)) writeFileSync(join(root, name), octets);
  return root;
}

export const SERVERS = {
  rouse: { speaks: ['tftp', 'http', 'storm'], packages: [], windows: true, prepare: prepareRouse },
  'tftpd-hpa': {
    speaks: ['tftp'],
    packages: ['tftpd-hpa', 'libwrap0'],
    shows: 'usr/sbin/in.tftpd',
    windows: false,
    prepare: (home, folder, content) =>
      Promise.resolve({
        argv: ['in.tftpd', '-L', '-4', '-a', `${SERVER_ADDRESS}:69`, '-u', 'root', '-s', tftpRoot(folder, content)],
        env: inHome(home),
      }),
  },
  atftpd: {
    speaks: ['tftp'],
    packages: ['atftpd', 'libwrap0', 'libpcre3'],
    shows: 'usr/sbin/atftpd',
    windows: true,
    prepare: (home, folder, content) =>
      Promise.resolve({
        argv: [
          ...['atftpd', '--daemon', '--no-fork', '--user', 'root.root', '--maxthread', '200'],
          ...['--bind-address', SERVER_ADDRESS, '--logfile', '/dev/null', '--verbose=0', tftpRoot(folder, content)],
        ],
        env: inHome(home),
      }),
  },
  dnsmasq: {
    speaks: ['tftp'],
    packages: [],
    windows: false,
    prepare: (_home, folder, content) =>
      Promise.resolve({
        argv: [
          ...[
            'dnsmasq',
            '--keep-in-foreground',
            '--conf-file=/dev/null',
            '--port=0',
            '--user=root',
            '--log-facility=-',
          ],
          ...['--enable-tftp', '--tftp-max=200', `--tftp-root=${tftpRoot(folder, content)}`, '--quiet-tftp'],
          `--listen-address=${SERVER_ADDRESS}`,
        ],
        env: { PATH: systemPath },
      }),
  },
  'dnsmasq + nginx': {
    speaks: ['storm'],
    packages: ['nginx'],
    shows: 'usr/sbin/nginx',
    windows: false,
    prepare: (home, folder, content) => {
      const nginx = nginxOf(home, folder, content.http);
      const base = `http://${SERVER_ADDRESS}:8080`;
      for (const path of ['kernel', 'layer', 'boot/1']) mkdirSync(join(folder, 'www', path), { recursive: true });
      writeFileSync(join(folder, 'www/kernel/vmlinuz'), content.kernel ?? '');
      writeFileSync(join(folder, 'www/layer/layer.gz'), content.http);
      writeFileSync(join(folder, 'www/boot/1/overlay'), Buffer.alloc(1024));
      writeFileSync(
        join(folder, 'www/script'),
        `#!ipxe\nkernel ${base}/kernel/vmlinuz\ninitrd ${base}/layer/layer.gz\ninitrd ${base}/boot/1/overlay\nboot\n`,
      );
      const dnsmasq = [
        ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0', '--user=root', '--log-facility=-'],
        ...[
          '--enable-tftp',
          '--tftp-max=200',
          `--tftp-root=${tftpRoot(folder, content)}`,
          '--quiet-tftp',
          '--quiet-dhcp',
        ],
        // Without its ping before each offer, and with room for the rack: as its manual has it for many machines.
        ...['--no-ping', '--dhcp-authoritative', '--dhcp-lease-max=5000', `--dhcp-leasefile=${folder}/leases`],
        ...['--dhcp-range=10.99.16.0,10.99.31.255,255.255.0.0,1h', '--dhcp-match=set:ipxe,175'],
        ...['--dhcp-boot=tag:!ipxe,snponly.efi', `--dhcp-boot=tag:ipxe,${base}/script`],
      ];
      const words = (argv: readonly string[]): string => argv.map((word) => `'${word}'`).join(' ');
      return Promise.resolve({ ...nginx, argv: ['sh', '-c', `${words(dnsmasq)} & exec ${words(nginx.argv)}`] });
    },
  },
  nginx: {
    speaks: ['http'],
    packages: ['nginx'],
    shows: 'usr/sbin/nginx',
    windows: false,
    prepare: (home, folder, { http }) => Promise.resolve(nginxOf(home, folder, http)),
  },
} as const satisfies Record<string, NetServer>;

export type NetServerName = keyof typeof SERVERS;

function nginxOf(home: string, folder: string, http: Uint8Array): Started {
  mkdirSync(join(folder, 'www'), { recursive: true });
  mkdirSync(join(folder, 'logs'), { recursive: true });
  writeFileSync(join(folder, 'www', 'body'), http);
  const config = join(folder, 'nginx.conf');
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  writeFileSync(
    config,
    `daemon off; worker_processes 1; user root; pid ${folder}/pid; error_log ${folder}/error.log;\n` +
      `events { worker_connections 2048; }\n` +
      `http { access_log off; sendfile on; tcp_nopush on; keepalive_timeout 15; ${paths.join(' ')}\n` +
      `server { listen ${SERVER_ADDRESS}:8080; root ${folder}/www; } }\n`,
  );
  const argv = ['nginx', '-p', folder, '-e', join(folder, 'error.log'), '-c', config];
  return { argv, env: inHome(home), http: ':8080/body' };
}

/** The bundle looks for its version and for roles where the package has them. */
export function completeBundle(home: string): void {
  copyFileSync(join(ROOT, 'package.json'), join(home, 'package.json'));
  mkdirSync(join(home, 'services'), { recursive: true });
}

/** A site with one image, whose only layer is the HTTP body; machines without a node file boot it. */
async function prepareRouse(
  home: string,
  folder: string,
  { tftp, http, kernel = Buffer.from('no kernel') }: Content,
): Promise<Started> {
  const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');
  const lib = join(folder, 'lib');
  const images = join(lib, 'images');
  for (const name of ['layers', 'kernels', 'bench']) mkdirSync(join(images, name), { recursive: true });
  for (const name of ['loaders', '../etc/profiles']) mkdirSync(join(lib, name), { recursive: true });
  for (const [name, octets] of Object.entries(tftp)) writeFileSync(join(lib, 'loaders', name), octets);
  writeFileSync(join(images, 'kernels', sha256(kernel)), kernel);
  const layer = sha256(http);
  writeFileSync(join(images, 'layers', `${layer}.gz`), http);
  const manifest: Manifest = {
    version: 1,
    image: 'bench',
    generation: 1,
    builtAt: '2026-01-01T00:00:00Z',
    recipe: { file: 'services/bench/recipe.yaml', sha256: '0'.repeat(64) },
    kernel: { release: '6.1.0', package: 'linux-image', sha256: sha256(kernel), bytes: kernel.length },
    layers: [
      {
        name: 'bench',
        sha256: layer,
        compression: 'gzip',
        servedSha256: layer,
        servedBytes: http.length,
        unpackedBytes: http.length,
        files: 1,
      },
    ],
    packages: [],
    vars: {},
    templates: [],
    services: [],
  };
  writeFileSync(join(images, 'bench', '1.json'), await signManifest(lib, manifest));
  symlinkSync('1.json', join(images, 'bench', 'current'));
  writeFileSync(
    join(folder, 'etc/rouse.yaml'),
    `version: 1\ndefaultProfile: bench\nsubnets:\n  - {name: bench, interface: ${SERVER_INTERFACE}, network: 10.99.0.0/16, pools: [10.99.16.0-10.99.31.255], unknown: default}\n`,
  );
  completeBundle(home);
  writeFileSync(join(folder, 'etc/profiles/bench.yaml'), 'boot: linux\nimage: bench\n');
  return {
    argv: [join(home, 'node'), join(home, 'bin/rouse.cjs'), 'netboot'],
    env: { PATH: systemPath, ROUSE_HOME: folder },
    http: `:8080/layer/${layer}.gz`,
  };
}
