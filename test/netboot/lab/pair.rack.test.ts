// Two load balancers on real guests before web servers that are namespaces on the web image's own tree: direct return and NAT,
// one nginx that dies, a third web server by one file, the active balancer without power while two downloads run.
//
// By hand (npm run test:rack): two guests, 5 to 15 minutes. Emulated machines stall for seconds: what converges is asserted,
// what it took is printed.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unpackImage } from '../../services/image-tree.ts';
import { Asker, say, seconds } from './asker.ts';
import { SpaceNode, wire } from './space-node.ts';
import { BOOT_MS, Story } from './story.ts';

const DIRECT = '10.77.0.200';
const NAT = '10.77.0.201';
const INSIDE = '10.77.0.254';
const SERVERS = { web1: '52:54:00:77:00:01', web2: '52:54:00:77:00:02', web3: '52:54:00:77:00:03' };
const PAYLOAD = randomBytes(6_000_000);

const LB = `extends: role/lb
image: lb
cmdline: [console=ttyS0, rouse.console=shell]
loader: undionly
vars:
  advertIntervalS: 4
  insideVip: ${INSIDE}
  virtualServices:
    - {vip: ${DIRECT}, port: 80, mode: dr, scheduler: rr, pool: web, check: {kind: http, path: /healthz}}
    - {vip: ${NAT}, port: 80, mode: nat, scheduler: rr, pool: web, check: {kind: http, path: /healthz}}
`;
const WEB = `extends: role/web
image: web
vars: {gateway: ${INSIDE}}
`;

const story = process.getuid?.() === 0 ? describe : describe.skip;

story('two load balancers and their web servers', () => {
  let lab: Story;
  let bridge = '';
  let near = '';
  let far = '';
  const servers = new Map<string, SpaceNode>();
  const askers: Asker[] = [];
  const rack = (...words: string[]): string =>
    execFileSync('ip', ['netns', 'exec', bridge, ...words], { encoding: 'utf8' });
  const holders = (): string[] =>
    ['lb1', 'lb2'].filter((name) => {
      try {
        return lab.on(name, 'ip -o -4 address show eth0').includes(DIRECT);
      } catch {
        return false;
      }
    });
  const realServers = (name: string): string => lab.on(name, 'ipvsadm -Ln | grep -e Route -e Masq');

  const boot = async (name: keyof typeof SERVERS, tree: string): Promise<void> => {
    const server = new SpaceNode(bridge, name, SERVERS[name], tree, lab.home);
    servers.set(name, server);
    server.publish('payload', PAYLOAD);
    await server.boot();
  };
  const writeNode = (name: keyof typeof SERVERS): void =>
    writeFileSync(
      lab.file(`etc/nodes/${name}.yaml`),
      `macs: [${SERVERS[name]}]\nprofile: web\naddress: 10.77.0.1${name.slice(-1)}\n`,
    );

  beforeAll(async () => {
    lab = new Story('pair');
    await unpackImage('web', lab.home);
    mkdirSync(lab.file('etc/profiles'), { recursive: true });
    mkdirSync(lab.file('etc/nodes'), { recursive: true });
    writeFileSync(lab.file('etc/profiles/lb.yaml'), LB);
    writeFileSync(lab.file('etc/profiles/web.yaml'), WEB);
    for (const name of ['web1', 'web2'] as const) writeNode(name);
    await lab.begin('--nodes', 'lb1,lb2');
    bridge = (JSON.parse(readFileSync(lab.file('run/lab.json'), 'utf8')) as { namespace: string }).namespace;
    // One client on the servers' own wire, for direct return; one behind the router, for NAT.
    near = `${bridge}-near`;
    wire(bridge, near, 'near');
    execFileSync('ip', ['-n', near, 'address', 'add', '10.77.0.50/24', 'dev', 'c0']);
    far = `${bridge}-far`;
    execFileSync('ip', ['netns', 'add', far]);
    execFileSync('ip', ['-n', bridge, 'link', 'add', 's-far', 'type', 'veth', 'peer', 'name', 'c0', 'netns', far]);
    execFileSync('ip', ['-n', bridge, 'address', 'add', '10.99.0.1/24', 'dev', 's-far']);
    execFileSync('ip', ['-n', bridge, 'link', 'set', 's-far', 'up']);
    execFileSync('ip', ['-n', far, 'address', 'add', '10.99.0.2/24', 'dev', 'c0']);
    execFileSync('ip', ['-n', far, 'link', 'set', 'c0', 'up']);
    execFileSync('ip', ['-n', far, 'route', 'add', 'default', 'via', '10.99.0.1']);
    rack('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }, BOOT_MS * 3);

  afterAll(async () => {
    for (const asker of askers) await asker.end();
    for (const server of servers.values()) await server.take();
    await lab.end();
    for (const space of [near, far]) if (space !== '') execFileSync('ip', ['netns', 'del', space]);
  }, 120_000);

  test('both web servers join, and requests are spread over them, by direct return and by NAT', async () => {
    for (const name of ['web1', 'web2'] as const) await boot(name, lab.file('web'));
    await expect
      .poll(() => lab.rouse('pool', 'show', 'web').stdout, { timeout: 120_000, interval: 2000 })
      .toMatch(/web1 .* in\s+web2 .* in/s);
    askers.push(new Asker(near, DIRECT), new Asker(far, NAT));
    for (const asker of askers) {
      // Round robin: of twenty in a row, neither has fewer than a third.
      const least = (): number => {
        const titles = asker.answers.slice(-20).map(({ title }) => title);
        return Math.min(...['web1', 'web2'].map((name) => titles.filter((title) => title === name).length));
      };
      await expect.poll(least, { timeout: 120_000 }).toBeGreaterThan(6);
    }
    expect(holders()).toHaveLength(1);
  });

  test('an nginx that dies leaves both balancers, and comes back', async () => {
    const fromMs = Date.now();
    servers.get('web1')!.run('/usr/bin/svc', '-d', '/service/nginx');
    for (const name of ['lb1', 'lb2']) {
      await expect.poll(() => realServers(name), { timeout: 120_000, interval: 2000 }).not.toContain('10.77.0.11');
    }
    const goneMs = Date.now();
    await expect.poll(() => askers[0]!.since(goneMs).length, { timeout: 60_000 }).toBeGreaterThan(10);
    for (const asker of askers) expect(asker.since(goneMs).map(({ title }) => title)).not.toContain('web1');
    say(
      `nginx held still: gone from both after ${seconds(goneMs - fromMs)}; DSR ${askers[0]!.told(fromMs)}; NAT ${askers[1]!.told(fromMs)}`,
    );
    servers.get('web1')!.run('/usr/bin/svc', '-u', '/service/nginx');
    for (const name of ['lb1', 'lb2']) {
      await expect.poll(() => realServers(name), { timeout: 120_000, interval: 2000 }).toContain('10.77.0.11');
    }
  });

  test('a third web server joins with only its own file', async () => {
    const fromMs = Date.now();
    writeNode('web3');
    await expect.poll(() => lab.rouse('node', 'ls').stdout, { timeout: 30_000 }).toContain('web3');
    await boot('web3', lab.file('web'));
    for (const asker of askers) {
      const titles = (): Set<string> => new Set(asker.answers.slice(-30).map(({ title }) => title));
      await expect.poll(titles, { timeout: 120_000 }).toContain('web3');
    }
    say(
      `third web server: serving after ${seconds(Date.now() - fromMs)}; DSR ${askers[0]!.told(fromMs)}; NAT ${askers[1]!.told(fromMs)}`,
    );
  });

  test('the active balancer loses its power: one other takes all addresses, downloads go on', {
    timeout: BOOT_MS,
  }, async () => {
    const [active = ''] = holders();
    const other = active === 'lb1' ? 'lb2' : 'lb1';
    const mac = other === 'lb1' ? '52:54:00:77:00:81' : '52:54:00:77:00:82';
    const heard = spawn('ip', ['netns', 'exec', bridge, 'tcpdump', '-i', 'rack0', '-nle', 'arp'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let arp = '';
    heard.stdout.on('data', (chunk: Buffer) => (arp += chunk.toString()));
    const downloads = [
      [near, DIRECT],
      [far, NAT],
    ].map(([space = '', vip = '']) => {
      const words = ['curl', '-sS', '--limit-rate', '100k', '-m', '240', '-o', '/dev/null', '-w', '%{size_download}'];
      const child = spawn('ip', ['netns', 'exec', space, ...words, `http://${vip}/payload`], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
      return once(child, 'exit').then(([code]) => `${vip} ended with ${String(code)}: ${said} bytes`);
    });
    // Long enough for the peer to hear of these connections.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    expect(lab.on(other, 'ipvsadm -Lnc')).toMatch(/ESTABLISHED/);
    const fromMs = Date.now();
    expect(lab.rouse('lab', 'off', active).status).toBe(0);
    await expect
      .poll(() => lab.on(other, 'ip -o -4 address show eth0'), { timeout: 120_000, interval: 1000 })
      .toContain(DIRECT);
    const tookMs = Date.now();
    for (const address of [DIRECT, NAT, INSIDE]) {
      expect(lab.on(other, 'ip -o -4 address show eth0')).toContain(` ${address}/`);
      await expect
        .poll(() => arp, { timeout: 30_000 })
        .toMatch(new RegExp(`${mac} > ff:ff:ff:ff:ff:ff.*Request who-has ${address.replaceAll('.', '\\.')} `));
    }
    for (const asker of askers) {
      await expect.poll(() => asker.answers.slice(-5).map(({ title }) => title), { timeout: 60_000 }).not.toContain('');
    }
    say(
      `${active} without power: ${other} holds everything after ${seconds(tookMs - fromMs)}; DSR ${askers[0]!.told(fromMs)}; NAT ${askers[1]!.told(fromMs)}`,
    );
    const ended = await Promise.all(downloads);
    say(`downloads that were open: ${ended.join('; ')}`);
    expect(ended).toEqual([DIRECT, NAT].map((vip) => `${vip} ended with 0: ${PAYLOAD.length} bytes`));
    heard.kill();
    await expect
      .poll(() => lab.rouse('vip', 'ls').stdout, { timeout: 60_000, interval: 2000 })
      .toMatch(new RegExp(`${DIRECT} .*${other} \\(`));

    // Back again, whatever its priority, it takes nothing.
    const backMs = Date.now();
    expect(lab.rouse('lab', 'on', active).status).toBe(0);
    await expect.poll(() => lab.on(active, 'svstat /service/keepalived'), { timeout: 60_000 }).toContain('up');
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    expect(holders()).toEqual([other]);
    say(`${active} is back: DSR ${askers[0]!.told(backMs)}; NAT ${askers[1]!.told(backMs)}`);
  });
});
