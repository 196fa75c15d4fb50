// Nodes in service, played by curl in network namespaces: they report, take orders, fetch live files, are drained and
// switched; the boot server is killed in between and knows everything afterwards.

import { type ChildProcess, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { orderService } from '../../../netboot/api/ask.io.ts';
import { Rack } from '../dhcp/rack.ts';
import { publishImage, writeTree } from '../home.ts';
import { filesOf, ShellNode } from './shell-node.ts';

const MAC1 = '52:54:00:77:00:01';
const MAC2 = '52:54:00:77:00:02';

let rack: Rack;
let home: string;
let lb1: ShellNode;
let web1: ShellNode;
let log = '';

const LB_TEMPLATE = `{% for service in vars.virtualServices %}{{ service.vip }} vrid {{ vars.vrid }}
{% for member in pools[service.pool] %}{{ member.name }} {{ member.address }} weight {{ member.weight }}
{% endfor %}{% endfor %}{% for peer in peers %}peer {{ peer.name }} {{ peer.priority }}
{% endfor %}`;

beforeEach(async () => {
  rack = new Rack();
  log = '';
  home = mkdtempSync(join(tmpdir(), 'rouse-fleet-'));
  writeTree(home, {
    'etc/rouse.yaml': `version: 1
subnets:
  - {name: rack1, interface: v1, network: 10.77.1.0/24}
  - {name: rack2, interface: v2, network: 10.77.2.0/24, router: 10.77.2.1}
pools:
  web: {match: {profile: web}, minimum: 1}
`,
    'etc/profiles/web.yaml': 'extends: role/web\n',
    'etc/profiles/lb.yaml':
      'extends: role/lb\nvars:\n  virtualServices:\n    - {vip: 10.77.1.200, port: 80, mode: dr, pool: web}\n',
    'etc/profiles/spare.yaml': 'extends: role/web\nimage: spare\n',
    'etc/profiles/broken.yaml': 'extends: role/web\nimage: broken\n',
    'etc/profiles/maintenance.yaml': 'image: rescue\n',
    'etc/nodes/lb1.yaml': `macs: [${MAC1}]\nprofile: lb\naddress: 10.77.1.11\n`,
    'etc/nodes/web1.yaml': `macs: [${MAC2}]\nprofile: web\naddress: 10.77.2.11\n`,
    'services/web/profile.yaml': 'image: web\n',
    'services/lb/profile.yaml': 'image: lb\n',
  });
  const lib = join(home, 'lib');
  publishImage(lib, 'web', {
    templates: [
      {
        path: '/etc/vips',
        mode: 0o644,
        source: '{{ directVips | join: " " }} {{ subnet.router }}\n',
        origin: 'services/web/files/etc/vips.liquid',
        live: { check: 'true', reload: 'true' },
      },
    ],
  });
  publishImage(lib, 'rescue');
  publishImage(lib, 'broken', {
    templates: [
      { path: '/etc/a', mode: 0o644, source: 'a\n{{ vars.nope }}\n', origin: 'services/broken/files/etc/a.liquid' },
    ],
  });
  publishImage(lib, 'lb', {
    vars: {
      vrid: { type: 'number', default: 0, text: '' },
      virtualServices: {
        type: 'object',
        default: [],
        text: '',
        fields: {
          vip: { type: 'ipv4' },
          port: { type: 'number' },
          pool: { type: 'string' },
          mode: { type: 'string', default: 'dr', values: ['dr', 'nat'] },
        },
      },
    },
    templates: [
      {
        path: '/etc/lb.conf',
        mode: 0o644,
        source: LB_TEMPLATE,
        origin: 'services/lb/files/etc/lb.conf.liquid',
        live: { check: 'true', reload: 'true' },
      },
    ],
  });
  await rack.make(['10.77.1.1/24', '10.77.2.1/24'], [MAC1, MAC2]);
  lb1 = new ShellNode(rack, 0, MAC1, home);
  web1 = new ShellNode(rack, 1, MAC2, home);
});
afterEach(async () => {
  await rack.take();
  rmSync(home, { recursive: true, force: true });
});

async function start(): Promise<ChildProcess> {
  const child = rack.start(rack.server, process.execPath, [join(import.meta.dirname, '..', 'run-netboot.ts'), home]);
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  await expect
    .poll(
      () =>
        api('/v1/health').then(
          () => true,
          () => log,
        ),
      { timeout: 20_000 },
    )
    .toBe(true);
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

function api(path: string, method = 'GET'): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: join(home, 'run/netboot.sock'), path, method, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode, ...(JSON.parse(text) as object) }));
    });
    asking.on('error', reject);
    asking.end();
  });
}

const members = async (): Promise<unknown> => (await api('/v1/pools/web'))['members'];
const IN = { name: 'web1', address: '10.77.2.11', weight: 1, state: 'in' };

/** Takes the live files that a node was ordered, and says so. */
async function apply(node: ShellNode, order: string): Promise<Map<string, string>> {
  const [, number = '', verb, revision = ''] = order.split(' ');
  expect(verb).toBe('files');
  const { status, body } = await node.ask(`files/${revision}`, '--raw');
  expect(status, body.toString()).toBe(200);
  const archive = gunzipSync(body);
  expect(createHash('sha256').update(archive).digest('hex').slice(0, 16)).toBe(revision);
  await node.report(`files ${revision}\n`);
  await node.tell('acks', `order ${number} done\n`);
  return filesOf(archive);
}

async function bothUp(): Promise<ChildProcess> {
  const server = await start();
  await lb1.lease();
  await lb1.boot();
  await lb1.report(`files ${lb1.overlay.get('etc/rouse/live.revision') ?? ''}`);
  await web1.lease();
  await web1.boot();
  await web1.report(`files ${web1.overlay.get('etc/rouse/live.revision') ?? ''}`);
  const [order = ''] = await lb1.orders();
  await apply(lb1, order);
  return server;
}

test('a node that gets ready comes into the pool, and the balancer that waits is told; a killed server forgets nothing', async () => {
  const first = await start();
  await lb1.lease();
  await lb1.boot();
  const atBoot = lb1.overlay.get('etc/rouse/live.revision')?.trim() ?? '';
  expect(lb1.overlay.get('etc/lb.conf')).toMatch(/^10\.77\.1\.200 vrid \d+\npeer lb1 200\n$/);
  await lb1.report(`files ${atBoot}\naddress eth0 10.77.1.11/24\naddress eth0 10.77.1.200/32\n`);
  expect(await api('/v1/vips')).toMatchObject({
    vips: [{ vip: '10.77.1.200', profile: 'lb', holders: [{ node: 'lb1', interface: 'eth0' }] }],
  });
  // Nothing has changed since its overlay was made: it is left waiting, and answered when there is something.
  const waiting = lb1.orders();
  await web1.lease();
  await web1.boot('services');
  expect(web1.overlay.get('etc/vips')).toBe('10.77.1.200 10.77.2.1\n');
  expect(await members()).toEqual([]);
  await web1.report();
  expect(await members()).toEqual([IN]);
  const [order = '', ...others] = await waiting;
  expect(others).toEqual([]);
  expect(order).toMatch(/^order 1 files [0-9a-f]{16}$/);

  // Killed between the order and its fetching.
  await kill(first);
  const second = await start();
  expect(await members()).toEqual([IN]);
  expect(await lb1.orders()).toEqual([order]);
  const before = await api('/v1/nodes/lb1/diff');
  expect(before).toMatchObject({ appliedRevision: atBoot, isSame: false });
  const files = await apply(lb1, order);
  expect(files.get('etc/lb.conf')).toMatch(/^10\.77\.1\.200 vrid \d+\nweb1 10\.77\.2\.11 weight 1\npeer lb1 200\n$/);
  expect(await api('/v1/nodes/lb1/diff')).toMatchObject({ isSame: true, files: [] });
  // Said twice, it stays done.
  await lb1.tell('acks', 'order 1 failed too late\n');
  expect(await api('/v1/nodes/lb1/orders')).toMatchObject({ orders: [{ number: 1, outcome: { kind: 'done' } }] });

  await kill(second);
  await start();
  expect(await members()).toEqual([IN]);
  expect(await api('/v1/nodes/web1')).toMatchObject({
    runs: 'web generation 1 as web',
    should: 'web generation 1',
    isChanging: false,
    readiness: 'ready',
  });
  // Nobody reported since: nothing shrank, and no order was made of it.
  expect(await api('/v1/nodes/lb1/orders')).toMatchObject({ orders: [{ number: 1 }] });
  writeFileSync(
    join(home, 'etc/profiles/lb.yaml'),
    readFileSync(join(home, 'etc/profiles/lb.yaml'), 'utf8') + '  vrid: 77\n',
  );
  const [edited = ''] = await lb1.orders(1);
  expect((await apply(lb1, edited)).get('etc/lb.conf')).toMatch(/^10\.77\.1\.200 vrid 77\n/);
});

test('tokens, bad words and superseded revisions are refused with the reason', async () => {
  await bothUp();
  const stranger = await lb1.fetch(
    `/node/v1/boots/${lb1.bootId}/orders?after=0`,
    '-H',
    `Authorization: Bearer ${web1.token}`,
  );
  expect([stranger.status, stranger.body.toString()]).toEqual([403, 'wrong token\n']);
  const old = await lb1.ask('files/0123456789abcdef');
  expect([old.status, old.body.toString()]).toEqual([
    404,
    'revision 0123456789abcdef is superseded: take the next order\n',
  ]);
  const bad = await lb1.ask('report', '--data-binary', 'ready perhaps\n');
  expect([bad.status, bad.body.toString()]).toEqual([400, "expected a line 'ready' with yes or no\n"]);
  // A script that is asked for by a node that goes on running is no new boot.
  const { bootId } = web1;
  await web1.script();
  expect(await members()).toEqual([IN]);
  web1.bootId = bootId;
  await web1.report();
  expect(await members()).toEqual([IN]);
  expect((await lb1.ask(`switch/${web1.bootId}`)).body.toString()).toBe(`no switch to ${web1.bootId} is ordered\n`);
});

test('what would empty a pool, has no image or no memory is refused before anything is touched', async () => {
  await bothUp();
  const refusals = async (path: string) => [(await api(path, 'POST'))['error'], await api('/v1/nodes/web1/orders')];
  const untouched = expect.objectContaining({ orders: [] }) as unknown;
  const short = "pool 'web' would keep 0 of 1 in service, and its minimum is 1; to do it all the same: --force";
  expect(await refusals('/v1/nodes/web1/boot?now=1')).toEqual([`web1 was not touched: ${short}`, untouched]);
  expect(await refusals('/v1/nodes/web1/drain')).toEqual([`web1 was not touched: ${short}`, untouched]);
  expect(await refusals('/v1/nodes/web1/boot?now=1&force=1&once=spare')).toEqual([
    expect.stringMatching(
      /^web1 was not touched: .*; but profiles\/spare\.yaml:2:8 image: image 'spare' is not built; build it with: rouse image build spare$/,
    ),
    untouched,
  ]);
  expect(await refusals('/v1/nodes/web1/boot?now=1&force=1&once=broken')).toEqual([
    'web1 was not touched: services/broken/files/etc/a.liquid:2:4 undefined variable: vars.nope',
    untouched,
  ]);
  await lb1.report('address eth0 10.77.1.200/32\n');
  expect((await refusals('/v1/nodes/lb1/drain'))[0]).toBe(
    'lb1 was not touched: no other node could take 10.77.1.200; to do it all the same: --force',
  );
  await web1.report('', 1000);
  expect(await refusals('/v1/nodes/web1/boot?now=1&force=1')).toEqual([
    'web1 was not touched: a kexec needs 16 MB free and it has 1 MB; use --cold',
    untouched,
  ]);
  await api('/v1/nodes/web1/set?set=profile%3Dspare', 'POST');
  const plan = await api('/v1/plan');
  expect(plan).toMatchObject({
    nodes: [
      { node: 'lb1', how: 'nothing' },
      { node: 'web1', runs: 'web generation 1 as web', should: 'nothing', how: 'refused' },
    ],
    pools: [{ name: 'web', now: 1, meanwhile: 0, minimum: 1 }],
  });
  // The file names another profile, but without it nobody would serve: it stays.
  expect(await members()).toEqual([{ ...IN, state: 'kept' }]);
  expect(await api('/v1/nodes/web1')).toMatchObject({ isChanging: true });
});

test('a switch by kexec: drained, fetched, booted and back, with the server killed on the way', async () => {
  const first = await bothUp();
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  await expect.poll(() => api('/v1/nodes/web1'), { timeout: 15_000 }).toMatchObject({ isChanging: true });
  expect(await api('/v1/nodes/web1/boot?now=1&force=1&who=me', 'POST')).toMatchObject({
    status: 200,
    draining: 'change',
  });
  expect(await web1.orders()).toEqual(['order 1 drain']);
  const [weightless = ''] = await lb1.orders(1);
  await web1.tell('acks', 'order 1 done\n');
  expect(await api('/v1/nodes/web1/orders')).toMatchObject({ orders: [{ verb: 'drain' }] });
  // Only when the balancer has it is the node out of service.
  expect((await apply(lb1, weightless)).get('etc/lb.conf')).toMatch(/web1 10\.77\.2\.11 weight 0\n/);
  const [order = ''] = await web1.orders(1);
  const bootId = /^order 2 switch ([0-9a-f]{16})$/.exec(order)?.[1] ?? '';
  await kill(first);
  await start();

  const lines = (await web1.ask(`switch/${bootId}`)).body.toString().trimEnd().split('\n');
  expect(lines.map((line) => line.split(' ')[0])).toEqual(['kernel', 'initrd', 'initrd', 'cmdline', 'memoryKb']);
  for (const line of lines.slice(0, 3)) {
    const [, sha, bytes, path = ''] = line.split(' ');
    const { status, body } = await web1.fetch(path);
    expect([status, createHash('sha256').update(body).digest('hex'), String(body.length)]).toEqual([200, sha, bytes]);
  }
  expect(lines[3]).toMatch(new RegExp(`rouse\\.boot=${bootId} rouse\\.layers=[0-9a-f]{64},[0-9a-f]{64}`));
  await web1.tell('acks', 'order 2 done\n');
  await web1.become(bootId);
  expect(await members()).toEqual([]);
  for (const stage of ['init', 'layers', 'network', 'services', 'ready']) {
    await web1.tell('stage', `stage ${stage}\nuptimeMs 5\n`);
  }
  await web1.report();
  expect(await members()).toEqual([IN]);
  await expect
    .poll(() => api('/v1/nodes/web1/boot'), { timeout: 10_000 })
    .toMatchObject({ draining: 'no', change: { outcome: { kind: 'done' } } });
  const { boots } = (await api('/v1/boots?node=web1&limit=1')) as { boots: { stages: object; outcome: object }[] };
  expect(boots[0]).toMatchObject({ bootId, outcome: { kind: 'ready' } });
  expect(Object.keys(boots[0]!.stages)).toEqual(expect.arrayContaining(['drain', 'fetch', 'kexec', 'init', 'ready']));
  expect(await api('/v1/nodes/web1')).toMatchObject({ runs: 'web generation 2 as web', isChanging: false });
  expect(log).toMatch(/web1 is web: drain [\d.]+ s, fetch [\d.]+ s, kexec [\d.]+ s, boot [\d.]+ s/);
  const audit = readFileSync(join(home, 'lib/audit.jsonl'), 'utf8').trim().split('\n');
  expect(JSON.parse(audit.at(-1) ?? '')).toMatchObject({
    who: 'unknown (says: me)',
    what: 'node boot now',
    node: 'web1',
  });
});

test('a boot server that has just come back takes orders for nodes that it last heard an hour ago, and waits for their balancers', async () => {
  const first = await bothUp();
  await kill(first);
  const store = new DatabaseSync(join(home, 'lib/store.sqlite'));
  const anHourAgo = Date.now() - 3_600_000;
  store.prepare("UPDATE nodes SET state = json_set(state, '$.report.atMs', ?)").run(anHourAgo);
  store.close();
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  await start();
  await expect.poll(() => api('/v1/plan?nodes=web1')).toMatchObject({ nodes: [{ node: 'web1', how: 'kexec' }] });
  expect(await api('/v1/nodes/web1/boot?now=1&force=1', 'POST')).toMatchObject({ status: 200, draining: 'change' });
  expect(await web1.orders()).toEqual(['order 1 drain']);
  const [weightless = ''] = await lb1.orders(1);
  await web1.tell('acks', 'order 1 done\n');
  // The balancer has said nothing since the start, and still the node does not leave before it has weight 0 there.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await api('/v1/nodes/web1/orders')).toMatchObject({ orders: [{ verb: 'drain' }] });
  expect((await apply(lb1, weightless)).get('etc/lb.conf')).toMatch(/web1 10\.77\.2\.11 weight 0\n/);
  expect(await web1.orders(1)).toEqual([expect.stringMatching(/^order 2 switch [0-9a-f]{16}$/)]);
});

test('a balancer that refuses the files with weight 0 has not taken the node out: the drain goes on to its limit', async () => {
  await bothUp();
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  await api('/v1/nodes/web1/boot?now=1&force=1&drainTimeoutS=4', 'POST');
  expect(await web1.orders()).toEqual(['order 1 drain']);
  const [weightless = ''] = await lb1.orders(1);
  await web1.tell('acks', 'order 1 done\n');
  await lb1.tell('acks', `order ${weightless.split(' ')[1]} failed /etc/lb.conf: no\n`);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await api('/v1/nodes/web1/orders')).toMatchObject({ orders: [{ verb: 'drain' }] });
  expect(await web1.orders(1)).toEqual([expect.stringMatching(/^order 2 switch /)]);
});

test('a service of a node is ordered by name, and the node says how it went', async () => {
  await bothUp();
  const places = { configDir: join(home, 'etc'), libDir: join(home, 'lib'), runDir: join(home, 'run'), roleDirs: [] };
  const ordered = (service: string, verb: string) => orderService(places, 'web1', service, verb);
  await expect(ordered('nginx', 'restart')).rejects.toThrow(
    "web1: unknown service 'nginx', expected a service that exists",
  );
  await web1.report('service nginx up 100 20 ready\n');
  await expect(ordered('ngnix', 'restart')).rejects.toThrow("web1: unknown service 'ngnix', did you mean 'nginx'?");
  await expect(ordered('nginx', 'burn')).rejects.toThrow("web1: unknown order 'burn', expected up, down,");
  expect(await api('/v1/nodes/web1/orders')).toMatchObject({ orders: [] });
  const going = ordered('nginx', 'restart');
  expect(await web1.orders()).toEqual(['order 1 service nginx restart']);
  await web1.tell('acks', 'order 1 done\n');
  await going;
  const failing = expect(ordered('nginx', 'up')).rejects.toThrow('web1 could not carry out nginx up: svc is gone');
  expect(await web1.orders(1)).toEqual(['order 2 service nginx up']);
  await web1.tell('acks', 'order 2 failed svc is gone\n');
  await failing;
});

test('a node that cannot switch goes back into service, and says why', async () => {
  await bothUp();
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  await api('/v1/nodes/web1/boot?now=1&force=1&drainTimeoutS=0', 'POST');
  const switching = await (async (): Promise<string> => {
    let seen: string[] = [];
    while (!seen.some((line) => line.includes(' switch '))) seen = await web1.orders(1);
    return seen.find((line) => line.includes(' switch ')) ?? '';
  })();
  await web1.tell('acks', `order ${switching.split(' ')[1]} failed no memory left\n`);
  await expect
    .poll(() => api('/v1/nodes/web1/boot'), { timeout: 10_000 })
    .toMatchObject({
      draining: 'no',
      change: { outcome: { kind: 'failed', why: 'it cannot switch: no memory left' } },
    });
  expect(await members()).toEqual([IN]);
  expect((await web1.orders(2)).at(-1)).toMatch(/^order \d+ undrain$/);
});

test('a generation that never gets ready is followed by the last good one; three boots in vain by maintenance', async () => {
  await bothUp();
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  await expect.poll(() => web1.script(), { timeout: 15_000 }).toMatch(/image web generation 2/);
  // A loader that only asks again has not tried it.
  expect(await web1.script()).toMatch(/image web generation 2/);
  await web1.become(web1.bootId);
  await web1.tell('stage', 'stage init\nuptimeMs 1\n');
  expect(await web1.script()).toMatch(/image web generation 1,/);
  await expect.poll(() => log).toMatch(/web1 boots as web instead: web generation 2 as web was not ready in time/);
  await web1.become(web1.bootId);
  await web1.tell('stage', 'stage init\nuptimeMs 1\n');
  expect(await web1.script()).toMatch(/image web generation 1,/);
  await web1.become(web1.bootId);
  await web1.tell('stage', 'stage init\nuptimeMs 1\n');
  expect(await web1.script()).toMatch(/web1 boots as maintenance, image rescue/);
  expect(await members()).toEqual([]);
});

test('rouse status and rouse node show tell what nodes reported, how long ago, and by which supervisor', async () => {
  await bothUp();
  await web1.report(
    'supervisor rouse\nservice nginx up 212 58 ready\nservice agent up 80 59 waiting its check fails\n',
  );
  const rouse = (...words: string[]): string => {
    const env = { ...process.env, ROUSE_HOME: home };
    return execFileSync(join(import.meta.dirname, '../../../bin/rouse'), words, { env, encoding: 'utf8' });
  };
  expect(rouse('status', 'web1')).toMatch(
    /^NODE +SERVICE +STATE +PID +SINCE +READY +REPORTED +NOTES\nweb1 +nginx +up +212 +\d+ s +yes +\d+ s ago, by rouse\nweb1 +agent .* no .* by rouse +its check fails\n/,
  );
  expect(rouse('status', 'web[1-1]:nginx', 'lb1').split('\n')).toEqual([
    expect.stringContaining('NODE'),
    expect.stringMatching(/^web1 +nginx/),
    expect.stringMatching(/^lb1 +none .* \d+ s ago$/),
    '',
  ]);
  expect(() => rouse('status', 'web1:ngin')).toThrow(/web1 reports no service 'ngin': it reports nginx, agent/);
  expect(() => rouse('status', 'web9')).toThrow(/there is no node 'web9'/);
  expect(rouse('node', 'show', 'web1')).toMatch(
    /reported \d+ s ago: ready, up \d+ s, load 0.1, \d+ MB free, services under rouse\n +SERVICE .*\n +nginx +up +212/,
  );
});
