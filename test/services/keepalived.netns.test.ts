// keepalived.conf of the lb role under Debian's own keepalived -t, in the image's own tree and a network namespace: what
// operators may set is taken, and what they may get wrong is refused or does no harm.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { inspectFile } from '../../images/inspect.io.ts';
import type { Template } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';
import { renderTemplates } from '../../netboot/boots/templates.ts';
import { LB_VARS, member, valuesFor, type Vars, virtualService } from './values.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const CONF = '/etc/keepalived/keepalived.conf';
const NODE = { name: 'lb1', address: '10.77.0.11' };
const PEERS = [
  { name: 'lb1', address: '10.77.0.11', index: 0, priority: 200 },
  { name: 'lb2', address: '10.77.0.12', index: 1, priority: 190 },
];
const POOLS = { web: [member('web1', '10.77.0.21'), member('web2', '10.77.0.22', 0)], empty: [] };

let folder = '';
let tree = '';
let templates: readonly Template[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-keepalived-'));
  tree = join(folder, 'tree');
  const libDir = join(folder, 'lib');
  const { manifest } = await buildImage({ roleDirs: [join(ROOT, 'services')], role: 'lb', libDir, cacheDir });
  ({ templates } = manifest);
  for (const layer of manifest.layers) {
    for (const { entries } of (await inspectFile(openStore(libDir).layerPath(layer))).layers) {
      for (const entry of entries) {
        const path = join(tree, entry.path);
        mkdirSync(entry.kind === 'directory' ? path : dirname(path), { recursive: true });
        if (entry.kind === 'file') writeFileSync(path, entry.data, { mode: entry.mode });
        if (entry.kind === 'symlink') symlinkSync(entry.target, path);
      }
    }
  }
  writeFileSync(join(tree, 'dev/null'), '');
  execFileSync('chroot', [tree, '/bin/busybox', '--install', '-s']);
  // The image may have to be compressed first.
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The rendered file, and what keepalived says to it in a namespace that has eth0 and eth1. */
function judge(vars: Vars, given: Record<string, unknown> = {}): { conf: string; status: number | null; said: string } {
  const values = valuesFor(NODE, 'lb', { vars: { ...LB_VARS, ...vars }, pools: POOLS, peers: PEERS, ...given });
  const rendered = renderTemplates(
    templates.filter(({ path }) => path === CONF),
    values,
  );
  if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
  const conf = new TextDecoder().decode(rendered.files[0]?.content);
  mkdirSync(dirname(join(tree, CONF)), { recursive: true });
  writeFileSync(join(tree, `${CONF}.new`), conf);
  const script = [
    'ip link add eth0 type veth peer name peer0 && ip link add eth1 type veth peer name peer1',
    'ip link set eth0 up && ip link set eth1 up && ip address add 10.77.0.11/24 dev eth0',
    `exec chroot "$0" /bin/busybox sh /usr/lib/rouse/keepalived-check ${CONF}.new`,
  ].join(' && ');
  const { status, stderr, stdout } = spawnSync('unshare', ['-n', 'sh', '-c', script, tree], {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    timeout: 60_000,
  });
  return { conf, status, said: `${stdout}${stderr}` };
}

const service = virtualService;
const TAKEN: Record<string, [Vars, Record<string, unknown>?]> = {
  'no virtual service': [{}],
  'direct return with an http check': [
    { virtualServices: [service({ check: { kind: 'http', host: 'www.example' } })] },
  ],
  'NAT to another port with a tcp check on a third': [
    { virtualServices: [service({ mode: 'nat', realPort: 8080, check: { port: 9000 } })] },
  ],
  'UDP with a script check': [
    {
      virtualServices: [
        service({ protocol: 'udp', port: 53, check: { kind: 'script', command: '/bin/busybox true' } }),
      ],
    },
  ],
  'a sorry server and clients that stay': [
    {
      virtualServices: [
        service({ sorryServer: '10.77.0.9', sorryPort: 8080, persistenceS: 300 }),
        service({ mode: 'nat', port: 81, sorryServer: '10.77.0.9', sorryPort: 8080 }),
      ],
    },
  ],
  'an empty pool': [{ virtualServices: [service({ pool: 'empty' }), service({ vip: '10.77.0.201' })] }],
  'a pool that drains whole': [
    { virtualServices: [service({})] },
    { pools: { web: [member('web1', '10.77.0.21', 0), member('web2', '10.77.0.22', 0)] } },
  ],
  'a balancer alone': [{ virtualServices: [service({})] }, { peers: PEERS.slice(0, 1) }],
  'an inside VIP on the same interface': [{ virtualServices: [service({ mode: 'nat' })], insideVip: '10.77.0.254' }],
  'an inside VIP on an interface of its own': [
    { virtualServices: [service({ mode: 'nat' })], insideVip: '10.98.0.254', insideInterface: 'eth1' },
  ],
  ...Object.fromEntries(
    ['rr', 'wrr', 'lc', 'wlc', 'sh', 'dh', 'mh', 'sed', 'nq', 'fo'].map((scheduler) => [
      `scheduler ${scheduler}`,
      [{ virtualServices: [service({ scheduler })] }] as [Vars],
    ]),
  ),
};

for (const [what, [vars, given]] of Object.entries(TAKEN)) {
  test.skipIf(process.getuid?.() !== 0)(`${what}: keepalived takes it without a word`, () => {
    const { conf, status, said } = judge(vars, given);
    expect({ status, said }, conf).toEqual({ status: 0, said: '' });
  });
}

const REFUSED: Record<string, [Vars, string]> = {
  'a port that is none': [{ virtualServices: [service({ port: 70_000 })] }, "number '70000' outside range"],
  'an interface that is not there': [{ interface: 'eth9', virtualServices: [service({})] }, 'interface eth9'],
};
for (const [what, [vars, word]] of Object.entries(REFUSED)) {
  test.skipIf(process.getuid?.() !== 0)(`${what}: refused, with the reason`, () => {
    const { status, said } = judge(vars);
    expect(status).not.toBe(0);
    expect(said).toContain(word);
  });
}

test.skipIf(process.getuid?.() !== 0)('text that would leave its place stays one quoted value', () => {
  const hostile = '/x"\n } } }\nvrrp_instance other { state MASTER }\n';
  const { conf, status } = judge({
    virtualServices: [
      service({ check: { kind: 'http', path: hostile, host: hostile } }),
      service({ port: 81, check: { kind: 'script', command: hostile } }),
    ],
  });
  expect(conf.split('\n').filter((line) => line.startsWith('vrrp_instance'))).toEqual(['vrrp_instance outside {']);
  expect(status).toBe(0);
});

test('joining moves no VIP, draining is weight 0, and both sides of a balancer with two interfaces move together', () => {
  const { conf } = judge({
    virtualServices: [service({}), service({ port: 443 })],
    insideVip: '10.98.0.254',
    insideInterface: 'eth1',
    advertIntervalS: 4,
  });
  expect(conf.match(/^ {2}nopreempt$/gm)).toHaveLength(2);
  expect(conf.match(/^ {2}advert_int 4$/gm)).toHaveLength(2);
  expect(conf.match(/10\.77\.0\.200\/32 dev eth0/g)).toHaveLength(1);
  expect(conf).toMatch(/# web2\n {2}real_server 10\.77\.0\.22 80 \{\n {4}weight 0\n/);
  expect(conf).toMatch(/vrrp_sync_group both/);
  expect(conf).toMatch(/unicast_peer \{\n {4}10\.77\.0\.12\n {2}\}/);
});

test('the tree holds what the role runs', () => {
  const found = execFileSync('chroot', [tree, '/bin/busybox', 'ls', '/usr/sbin'], { encoding: 'utf8' });
  expect(found.split('\n')).toEqual(expect.arrayContaining(['ipvsadm', 'keepalived', 'kexec']));
});
