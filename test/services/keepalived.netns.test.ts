// keepalived.conf of the lb role under Debian's own keepalived, in the image's own tree and network namespaces: what operators
// may set is taken, and what they may get wrong is refused or does no harm; among the balancers of a profile, whoever joins
// moves nothing, whoever dies is followed by exactly one, and both sides hear of it.

import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import type { Template } from '../../images/manifest.ts';
import { Rack } from '../netboot/dhcp/rack.ts';
import { ShellNode } from '../netboot/fleet/shell-node.ts';
import { publishImage, writeTree } from '../netboot/home.ts';
import { BUILD_MS, TEST_CACHE, unpackImage } from './image-tree.ts';
import { Balancers, INSIDE, KEEPALIVED_CONF as CONF, OUTSIDE, peersNamed, renderConf } from './balancers.ts';
import { member, type Vars, virtualService } from './values.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const needsRoot = test.skipIf(process.getuid?.() !== 0);
const NODE = { name: 'lb1', address: '10.77.0.11' };
const PEERS = peersNamed('lb1', 'lb2');
const POOLS = { web: [member('web1', '10.77.0.21'), member('web2', '10.77.0.22', 0)], empty: [] };

let folder = '';
let tree = '';
let templates: readonly Template[] = [];
let servedBytes = 0;
const wires = new Balancers();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-keepalived-'));
  const image = await unpackImage('lb', folder);
  ({ tree } = image);
  ({ templates } = image.manifest);
  servedBytes = image.manifest.layers.reduce((sum, layer) => sum + layer.servedBytes, 0);
}, BUILD_MS);
afterAll(async () => {
  await wires.take();
  rmSync(folder, { recursive: true, force: true });
});

/** The rendered file, and what keepalived says to it in a namespace that has eth0 and eth1. */
function judge(vars: Vars, given: Record<string, unknown> = {}): { conf: string; status: number | null; said: string } {
  const conf = renderConf(templates, NODE, vars, { pools: POOLS, peers: PEERS, ...given });
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

test('the image of a balancer is small', () => {
  expect(servedBytes).toBeLessThanOrEqual(14_000_000);
});

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
  needsRoot(`${what}: keepalived takes it without a word`, () => {
    const { conf, status, said } = judge(vars, given);
    expect({ status, said }, conf).toEqual({ status: 0, said: '' });
  });
}

const REFUSED: Record<string, [Vars, string]> = {
  'a port that is none': [{ virtualServices: [service({ port: 70_000 })] }, "number '70000' outside range"],
  'an interface that is not there': [{ interface: 'eth9', virtualServices: [service({})] }, 'interface eth9'],
};
for (const [what, [vars, word]] of Object.entries(REFUSED)) {
  needsRoot(`${what}: refused, with the reason`, () => {
    const { status, said } = judge(vars);
    expect(status).not.toBe(0);
    expect(said).toContain(word);
  });
}

needsRoot('text that would leave its place stays one quoted value', () => {
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

needsRoot('a balancer whose kernel has no IPVS is refused when it is built, with file and line', async () => {
  const roles = join(folder, 'services');
  cpSync(join(ROOT, 'services'), roles, { recursive: true });
  const recipe = join(roles, 'lb/recipe.yaml');
  writeFileSync(recipe, readFileSync(recipe, 'utf8').replace(/^ {2}extraModules:\n.*\n/m, ''));
  const built = buildImage({ roleDirs: [roles], role: 'lb', libDir: join(folder, 'lib'), cacheDir: TEST_CACHE });
  const lacking = 'nf_conntrack, ip_vs, ip_vs_rr, ip_vs_wrr, ip_vs_wlc';
  await expect(built).rejects.toThrow(
    new RegExp(
      `lb/recipe\\.yaml:\\d+:\\d+ the image has no kernel module ${lacking}: lb needs it, .*lb/recipe\\.yaml:\\d+`,
    ),
  );
});

const VIP = `${OUTSIDE}.200`;
const INSIDE_VIP = `${INSIDE}.254`;

/** As the boot server renders it for a node among these. */
function confOf(name: string, ...names: readonly string[]): string {
  const peers = peersNamed(...names);
  const address = peers.find((peer) => peer.name === name)?.address ?? '';
  const vars = {
    virtualServices: [virtualService({ vip: VIP, mode: 'nat' })],
    insideVip: INSIDE_VIP,
    insideInterface: 'eth1',
  };
  return renderConf(templates, { name, address }, vars, { peers, pools: { web: [member('web1', `${INSIDE}.21`)] } });
}

needsRoot(
  'who is alone becomes one of two, and of three, and alone again, and never lets go of its addresses',
  async () => {
    wires.make(tree, folder);
    wires.add('lb2');
    wires.start('lb2', confOf('lb2', 'lb2'));
    await expect
      .poll(() => [wires.holders(VIP), wires.holders(INSIDE_VIP)], { timeout: 30_000 })
      .toEqual([['lb2'], ['lb2']]);
    const moved = wires.watchAddresses('lb2');
    // lb1 comes before it, so its priority falls as well.
    for (const names of [['lb1', 'lb2'], ['lb1', 'lb2', 'lb3'], ['lb2']]) {
      const said = await wires.reload('lb2', confOf('lb2', ...names));
      expect(said).toContain('Reload complete');
      expect(said).not.toMatch(/BACKUP STATE|removing VIPs|sent 0 priority|died/);
      expect(wires.realTimeLimit('lb2')).toMatch(/^unlimited +unlimited$/);
    }
    // Three intervals and more: nothing follows later either.
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(moved()).toBe('');
    expect(wires.holders(VIP)).toEqual(['lb2']);
  },
);

needsRoot(
  'who joins with a higher priority stays a backup; when the master dies it takes both sides and says so',
  async () => {
    const moved = wires.watchAddresses('lb2');
    await wires.reload('lb2', confOf('lb2', 'lb1', 'lb2'));
    wires.add('lb1');
    wires.start('lb1', confOf('lb1', 'lb1', 'lb2'));
    await expect.poll(() => wires.log('lb1'), { timeout: 30_000 }).toMatch(/inside\) Entering BACKUP STATE/);
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect([wires.holders(VIP), wires.holders(INSIDE_VIP), moved()]).toEqual([['lb2'], ['lb2'], '']);

    const outside = await wires.listen('outside', `arp and arp[14:4] = 0x0a4d00c8`);
    const inside = await wires.listen('inside', `arp and arp[14:4] = 0x0a6200fe`);
    await wires.cutPower('lb2');
    await expect
      .poll(() => [wires.holders(VIP), wires.holders(INSIDE_VIP)], { timeout: 30_000 })
      .toEqual([['lb1'], ['lb1']]);
    await expect.poll(outside, { timeout: 10_000 }).toContain(`${wires.macOf('lb1', 0)} > ff:ff:ff:ff:ff:ff`);
    await expect.poll(inside, { timeout: 10_000 }).toContain(`${wires.macOf('lb1', 1)} > ff:ff:ff:ff:ff:ff`);

    // Back again, the one with the lower priority leaves everything where it is.
    const stays = wires.watchAddresses('lb1');
    wires.add('lb2');
    wires.start('lb2', confOf('lb2', 'lb1', 'lb2'));
    await expect
      .poll(() => wires.log('lb2').split('inside) Entering BACKUP STATE').length, { timeout: 30_000 })
      .toBe(3);
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect([wires.holders(VIP), wires.holders(INSIDE_VIP), stays()]).toEqual([['lb1'], ['lb1'], '']);
  },
);

needsRoot(
  'two that do not hear each other both hold the address: said in the list, in the log and of the nodes',
  async () => {
    const home = join(folder, 'home');
    writeTree(home, {
      'etc/rouse.yaml': `version: 1\nsubnets: [{name: rack, interface: outside, network: ${OUTSIDE}.0/24}]\npools: {web: {match: {profile: lb}}}\n`,
      'etc/profiles/lb.yaml': `extends: role/lb\nvars: {vrid: 51, virtualServices: [{vip: ${VIP}, pool: web, mode: dr}]}\n`,
      'services/lb/profile.yaml': 'image: lb\n',
      ...Object.fromEntries(
        peersNamed('lb1', 'lb2').map(({ name, address }) => [
          `etc/nodes/${name}.yaml`,
          `macs: ['${wires.macOf(name)}']\nprofile: lb\naddress: ${address}\n`,
        ]),
      ),
    });
    const text = { default: '', text: '' } as const;
    publishImage(join(home, 'lib'), 'lb', {
      templates: [],
      vars: {
        vrid: { ...text, type: 'number', default: 0 },
        virtualServices: { ...text, type: 'object', default: [] },
      },
    });
    const rack = new Rack();
    const server = rack.start(wires.rack, process.execPath, [join(ROOT, 'test/netboot/run-netboot.ts'), home]);
    let log = '';
    server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    await expect.poll(() => log, { timeout: 30_000 }).toContain('serving DHCP');
    const rouse = (...words: string[]) =>
      spawnSync(join(ROOT, 'bin/rouse'), words, { encoding: 'utf8', env: { ...process.env, ROUSE_HOME: home } });
    const nodes = ['lb1', 'lb2'].map((name, index) => {
      rack.wires.push({ client: wires.space(name), serverInterface: 'outside', serverAddress: `${OUTSIDE}.1` });
      return { name, shell: new ShellNode(rack, index, wires.macOf(name), home, 'eth0') };
    });
    for (const { shell } of nodes) {
      await shell.lease();
      await shell.boot();
    }
    /** What each has on its interfaces now, as its agent says it. */
    const report = async (): Promise<void> => {
      for (const { name, shell } of nodes) {
        const held = wires.addresses(name).matchAll(/^\d+: (\S+) +inet (\S+)/gm);
        await shell.report(Array.from(held, ([, device, address]) => `address ${device} ${address}\n`).join(''));
      }
    };
    const listed = async (): Promise<{ status: number | null; stdout: string; stderr: string }> => {
      await report();
      return rouse('vip', 'ls');
    };
    try {
      expect(await listed()).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/10\.77\.0\.200 +lb +51 +lb1 \(eth0, \d+ s ago\) +lb1$/m) as unknown,
      });

      for (const { name } of nodes) wires.isolate(name, true);
      const both = {
        status: 1,
        stderr: expect.stringMatching(/ALARM: lb1 and lb2 both hold 10\.77\.0\.200 for/) as unknown,
      };
      await expect.poll(listed, { timeout: 60_000, interval: 500 }).toMatchObject(both);
      expect((await listed()).stdout).toMatch(/ +lb1 lb2$/m);
      expect(log).toMatch(/ALARM: lb1 and lb2 both hold 10\.77\.0\.200: they do not hear each other's VRRP/);
      expect(rouse('node', 'ls').stderr).toMatch(/ALARM: lb1 and lb2 both hold/);

      for (const { name } of nodes) wires.isolate(name, false);
      await expect.poll(listed, { timeout: 60_000, interval: 500 }).toMatchObject({ status: 0, stderr: '' });
      expect(wires.holders(VIP)).toHaveLength(1);
      expect(rouse('node', 'ls').stderr).toBe('');
    } finally {
      await rack.take();
    }
  },
);
