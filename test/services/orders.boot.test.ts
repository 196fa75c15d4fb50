// One guest, booted as web and switched to lb by an order: reports, live files, drains, and everything that may go wrong with
// them, between the real node and the boot server's own codecs.
//
// About 5 minutes under emulation. The guest is QEMU's user network's only machine: the real servers of its balancer are
// HTTP servers on the host.

import { createServer, type Server } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { openStore } from '../../images/store.io.ts';
import type { NodeReport } from '../../netboot/fleet/reports.ts';
import { type Guest, startGuest } from '../images/guest.ts';
import { type Boot, type BootServer, startBootServer } from './boot-server.ts';
import { LB_VARS, member, valuesFor, virtualService, WEB_VARS } from './values.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const WAIT = { timeout: 120_000, interval: 250 };
const NODE = { name: 'n1', address: '10.0.2.15' };
const VIP = '10.0.2.200';

let folder = '';
let server: BootServer;
let guest: Guest;
let web: Boot;
let lb: Boot;
const reals: Server[] = [];
const realPorts: number[] = [];
const images: Record<string, Manifest> = {};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-orders-'));
  const libDir = join(folder, 'lib');
  for (const role of ['web', 'lb']) {
    const { manifest } = await buildImage({ roleDirs: [join(ROOT, 'services')], role, libDir, cacheDir });
    images[role] = manifest;
  }
  server = await startBootServer(openStore(libDir));
  for (const name of ['one', 'two']) {
    const real = createServer((_, response) => response.end(`${name}\n`));
    await new Promise<void>((resolve) => {
      real.listen(0, '127.0.0.1', resolve);
    });
    reals.push(real);
    realPorts.push((real.address() as { port: number }).port);
  }
});
afterAll(async () => {
  await guest?.kill();
  await server?.close();
  for (const real of reals) real.close();
  rmSync(folder, { recursive: true, force: true });
});

const image = (role: string): Manifest => {
  const manifest = images[role];
  if (manifest === undefined) throw new Error(`no image ${role}`);
  return manifest;
};
const webValues = (given: Record<string, unknown> = {}) => valuesFor(NODE, 'web', { vars: WEB_VARS, ...given });
/** NAT to two servers of the host: the pool's members have one address, so each is a service of its own. */
const lbValues = (ports: readonly (number | undefined)[], given: Record<string, unknown> = {}) =>
  valuesFor(NODE, 'lb', {
    vars: {
      ...LB_VARS,
      virtualServices: ports.map((realPort = 0, index) =>
        virtualService({ vip: VIP, port: 80 + index, mode: 'nat', realPort, check: { kind: 'http' } }),
      ),
    },
    pools: { web: [member('one', '10.0.2.2')] },
    ...given,
  });

/** The first report of a boot that satisfies. */
async function reported(bootId: string, what: (report: NodeReport) => boolean): Promise<NodeReport> {
  let last: NodeReport | undefined;
  await expect
    .poll(() => {
      last = server.report(bootId);
      return last !== undefined && what(last);
    }, WAIT)
    .toBe(true);
  if (last === undefined) throw new Error('a report');
  return last;
}

const service = (report: NodeReport, name: string) => report.services.find((one) => one.name === name);
const holds = (report: NodeReport, address: string): boolean => report.addresses.some((one) => one.address === address);

/** Types a command at the guest's console; the shell puts the halves together, so that the echo does not match. */
async function shell(command: string): Promise<string> {
  guest.type(`echo "ans"wer="$(${command} 2>&1 | tr '\\n' ';')"`);
  const [, found = ''] = await guest.sees(/^answer=(.*?)\r?\n/m);
  return found;
}
async function healthz(): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${guest.httpPort}/healthz`, { signal: AbortSignal.timeout(20_000) });
  await response.text();
  return response.status;
}

test('a web node reports that it is ready, with its services, its address and the revision of its overlay', async () => {
  web = await server.boot(image('web'), 'aaaaaaaaaaaaaaaa', webValues());
  const layers = image('web').layers.map((layer) => openStore(join(folder, 'lib')).layerPath(layer));
  const { readFileSync } = await import('node:fs');
  guest = await startGuest({
    kernel: openStore(join(folder, 'lib')).kernelPath(image('web').kernel.sha256),
    initrd: [...layers.map((path) => readFileSync(path)), web.overlay.octets],
    memoryMb: 256,
    cmdline: server.cmdlineOf(web),
  });
  const report = await reported(web.id, ({ isReady }) => isReady);
  expect(service(report, 'nginx')).toMatchObject({ isUp: true, isReady: true });
  expect(report.addresses).toEqual([{ interface: 'eth0', address: NODE.address, prefixLength: 24 }]);
  expect(report.filesRevision).toBe(web.live.revision);
  expect(report.memoryFreeKb).toBeGreaterThan(50_000);
  expect(report.refused).toEqual([]);
  expect(server.refused).toEqual([]);
});

test('a drained web node says 503 to balancers, and is well; undrained it says 200', async () => {
  expect(await server.order(web.id, 'drain')).toMatchObject({ isDone: true });
  expect(await healthz()).toBe(503);
  await expect.poll(() => service(server.report(web.id) as NodeReport, 'nginx')?.isReady, WAIT).toBe(true);
  expect(await server.order(web.id, 'undrain')).toMatchObject({ isDone: true });
  expect(await healthz()).toBe(200);
});

test('VIPs for direct return come to lo and go again, on the running node, silent to ARP', async () => {
  const { revision, ...ack } = await server.files(web, webValues({ directVips: ['10.0.2.50', '10.0.2.51'] }));
  expect(ack).toEqual({ isDone: true, detail: '' });
  const report = await reported(web.id, ({ filesRevision }) => filesRevision === revision);
  expect(report.addresses).toContainEqual({ interface: 'lo', address: '10.0.2.50', prefixLength: 32 });
  expect(await shell('cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce')).toBe(
    '1;2;',
  );
  await server.files(web, webValues({ directVips: ['10.0.2.51'] }));
  const after = await reported(web.id, (one) => !holds(one, '10.0.2.50'));
  expect(holds(after, '10.0.2.51')).toBe(true);
});

test('a web node becomes a proxy for a pool while nginx runs on; a file that nginx -t refuses changes nothing', async () => {
  const pid = service(await reported(web.id, () => true), 'nginx')?.pid;
  const vars = { ...WEB_VARS, upstreamPool: 'app', upstreamPort: realPorts[0] ?? 0 };
  const proxied = webValues({ vars, pools: { app: [member('one', '10.0.2.2'), member('two', '10.0.2.3', 0)] } });
  expect(await server.files(web, proxied)).toMatchObject({ isDone: true, detail: '' });
  const page = async () => (await fetch(`http://127.0.0.1:${guest.httpPort}/`)).text();
  await expect.poll(page, WAIT).toBe('one\n');

  const broken = await server.files(web, webValues(), (file) =>
    file.path.endsWith('nginx.conf') ? { ...file, content: new TextEncoder().encode('http { nonsense; }\n') } : file,
  );
  expect(broken.isDone).toBe(false);
  expect(broken.detail).toContain('/etc/nginx/nginx.conf');
  const report = await reported(web.id, ({ refused }) => refused.length > 0);
  expect(report.refused[0]).toMatchObject({
    path: '/etc/nginx/nginx.conf',
    detail: expect.stringContaining('nonsense'),
  });
  expect(await page()).toBe('one\n');
  expect(await shell('ls /etc/nginx')).not.toContain('.new');
  expect(service(report, 'nginx')?.pid).toBe(pid);

  expect(await server.files(web, webValues())).toMatchObject({ isDone: true });
  await reported(web.id, ({ refused }) => refused.length === 0);
  await expect.poll(page, WAIT).toContain('<dt>hostname</dt>');
});

test('a revision that is damaged, unknown or superseded is refused, and the next order is heard', async () => {
  expect(await server.order(web.id, 'files', '0123456789abcdef')).toMatchObject({
    isDone: false,
    detail: expect.stringContaining('404'),
  });
  expect(await server.order(web.id, 'files', '../../etc')).toMatchObject({ isDone: false });
  expect(await server.order(web.id, 'service', 'nosuch restart')).toMatchObject({
    isDone: false,
    detail: 'there is no service nosuch',
  });
});

test('an order restarts a service, and the change is reported before the next round', async () => {
  const before = service(await reported(web.id, () => true), 'nginx')?.pid;
  expect(await server.order(web.id, 'service', 'nginx restart')).toMatchObject({ isDone: true });
  const report = await reported(web.id, (one) => {
    const nginx = service(one, 'nginx');
    return nginx?.isReady === true && nginx.pid !== before;
  });
  expect(report.isReady).toBe(true);
});

test('while the boot server is away the node serves, and it hears what was ordered meanwhile', async () => {
  server.setAway(true);
  const pid = await shell('cat /run/nginx.pid');
  const order = server.order(web.id, 'drain');
  // Long enough for the waiting poll to end and some to fail.
  await new Promise((resolve) => setTimeout(resolve, 40_000));
  expect(await healthz()).toBe(200);
  expect(await shell('cat /run/nginx.pid')).toBe(pid);
  server.setAway(false);
  expect(await order).toMatchObject({ isDone: true });
  expect(await server.order(web.id, 'undrain')).toMatchObject({ isDone: true });
});

test('orders are taken up again where the agent was killed, each once', async () => {
  await shell('rm -f /run/n; /usr/bin/svc -k /service/orders /service/agent');
  expect(await server.order(web.id, 'drain')).toMatchObject({ isDone: true });
  expect(await server.order(web.id, 'undrain')).toMatchObject({ isDone: true });
  expect((await shell('cat /run/rouse/order')).replace(';', '')).toMatch(/^\d+$/);
  expect(guest.said().match(/order 1: drain/g)).toHaveLength(1);
});

test('a switch that is damaged on the way, or too large, is refused, and the node serves on', async () => {
  lb = await server.boot(image('lb'), 'bbbbbbbbbbbbbbbb', lbValues([realPorts[0]]));
  server.damageNext = Buffer.from('not a kernel');
  expect(await server.order(web.id, 'switch', lb.id)).toMatchObject({
    isDone: false,
    detail: expect.stringMatching(/^\/kernel\/[0-9a-f]{64} has 12 bytes, expected \d+$/),
  });
  const { kernel } = image('lb');
  server.damageNext = Buffer.alloc(kernel.bytes);
  expect(await server.order(web.id, 'switch', lb.id)).toMatchObject({
    isDone: false,
    detail: expect.stringContaining(`expected ${kernel.sha256}`),
  });
  const large = { ...kernel, bytes: 900_000_000 };
  const huge = await server.boot({ ...image('lb'), kernel: large }, 'cccccccccccccccc', lbValues([]));
  expect(await server.order(web.id, 'switch', huge.id)).toMatchObject({
    isDone: false,
    detail: expect.stringMatching(/^the plan needs \d+ KiB of memory free, this node has \d+ KiB$/),
  });
  expect(await healthz()).toBe(200);
  expect(await shell('ls /run/rouse/switch')).toContain('No such file');
});

test('kexec: the web node stops its services, starts as lb, and keepalived fills IPVS and holds the VIP', async () => {
  const startedMs = Date.now();
  expect(await server.order(web.id, 'switch', lb.id)).toEqual({ isDone: true, detail: '' });
  const loadedMs = Date.now();
  const report = await reported(lb.id, ({ isReady }) => isReady);
  process.stdout.write(
    `fetched, verified and loaded in ${loadedMs - startedMs} ms, ready ${Date.now() - loadedMs} ms later\n`,
  );
  // Stages have their own way to the server: the report may overtake the last one.
  const stages = () => server.stages.filter(({ bootId }) => bootId === lb.id).map(({ stage }) => stage);
  await expect.poll(stages, WAIT).toEqual(['init', 'layers', 'network', 'services', 'ready']);
  expect(service(report, 'keepalived')).toMatchObject({ isUp: true, isReady: true });
  expect(guest.said()).toContain('stopping services, then starting the new plan');
  await reported(lb.id, (one) => holds(one, VIP));
  await expect.poll(() => shell('ipvsadm -Ln'), WAIT).toContain(`-> 10.0.2.2:${realPorts[0]}`);
  expect(await shell('ipvsadm -Ln')).toContain(`TCP  ${VIP}:80 wrr`);
  expect(await shell('timeout 20 wget -q -O - http://10.0.2.200/')).toBe('one;');
  expect(await shell('ipvsadm -l --daemon')).toContain('master sync daemon');
  expect(await shell('cat /proc/sys/net/ipv4/vs/expire_nodest_conn /proc/sys/net/ipv4/ip_forward')).toBe('1;1;');
});

test('live files change the services of a running balancer: keepalived and the VIP stay', async () => {
  const pid = service(await reported(lb.id, () => true), 'keepalived')?.pid;
  expect(await server.files(lb, lbValues(realPorts))).toMatchObject({ isDone: true, detail: '' });
  await expect.poll(() => shell('ipvsadm -Ln'), WAIT).toContain(`-> 10.0.2.2:${realPorts[1]}`);
  expect(await shell(`timeout 20 wget -q -O - http://${VIP}:81/`)).toBe('two;');
  const drained = lbValues(realPorts, { pools: { web: [member('one', '10.0.2.2', 0)] } });
  expect(await server.files(lb, drained)).toMatchObject({ isDone: true, detail: '' });
  await expect.poll(() => shell('ipvsadm -Ln'), WAIT).toMatch(/10\.0\.2\.2:\d+ +Masq +0 /);
  const report = await reported(lb.id, () => true);
  expect(service(report, 'keepalived')?.pid).toBe(pid);
  expect(holds(report, VIP)).toBe(true);
});

test('a balancer refuses a broken file, keeps the old one, and says why', async () => {
  const broken = await server.files(lb, lbValues([70_000]));
  expect(broken).toMatchObject({ isDone: false, detail: expect.stringContaining('/etc/keepalived/keepalived.conf: ') });
  const report = await reported(lb.id, ({ filesRevision }) => filesRevision === broken.revision);
  expect(report.refused).toEqual([
    { path: '/etc/keepalived/keepalived.conf', detail: expect.stringContaining('70000') },
  ]);
  expect(await shell('grep -c 70000 /etc/keepalived/keepalived.conf')).toBe('0;');
  expect(await server.files(lb, lbValues(realPorts))).toMatchObject({ isDone: true });
  await reported(lb.id, ({ refused }) => refused.length === 0);
});

test('a dead real server leaves IPVS by the check, and comes back', async () => {
  const real = reals[1];
  const port = realPorts[1] ?? 0;
  real?.closeAllConnections();
  await new Promise((resolve) => {
    real?.close(resolve);
  });
  await expect.poll(() => shell('ipvsadm -Ln'), WAIT).not.toContain(`:${port} `);
  await new Promise<void>((resolve) => {
    real?.listen(port, '127.0.0.1', resolve);
  });
  await expect.poll(() => shell('ipvsadm -Ln'), WAIT).toContain(`:${port} `);
});

test('keepalived killed outright comes back without leaving a second set of children or VIPs', async () => {
  const before = service(await reported(lb.id, () => true), 'keepalived')?.pid;
  await shell('kill -9 $(cat /run/keepalived.pid)');
  const report = await reported(lb.id, (one) => {
    const found = service(one, 'keepalived');
    return found?.isReady === true && found.pid !== before && holds(one, VIP);
  });
  expect(report.addresses.filter(({ address }) => address === VIP)).toHaveLength(1);
  expect(await shell('pidof keepalived | wc -w')).toBe('3;');
});

test('a drained balancer gives its VIPs away, and takes part again when undrained', async () => {
  expect(await server.order(lb.id, 'drain')).toEqual({ isDone: true, detail: '' });
  await reported(lb.id, (one) => !holds(one, VIP) && service(one, 'keepalived')?.isUp === false);
  expect(await server.order(lb.id, 'undrain')).toMatchObject({ isDone: true });
  await reported(lb.id, (one) => holds(one, VIP) && one.isReady);
  expect(server.refused.filter((line) => !line.includes('superseded') && !line.includes('0123456789abcdef'))).toEqual(
    [],
  );
});

test('an order to reboot is acknowledged before the machine goes', async () => {
  expect(await server.order(lb.id, 'reboot')).toEqual({ isDone: true, detail: '' });
  await guest.ended();
  expect(guest.said()).toContain('The system is going down');
});
