// The boot server as a whole, in network namespaces: a client leases, fetches its script and every file of it, reports
// its stages; the server is killed in the middle and comes back.

import { once } from 'node:events';
import { execFile, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decodeArchive } from '../../images/cpioread.ts';
import type { Manifest } from '../../images/manifest.ts';
import { bootScript } from '../../netboot/boots/script.ts';
import { Rack } from './dhcp/rack.ts';
import { publishImage, writeTree } from './home.ts';

const MAC1 = '52:54:00:77:00:01';
const MAC2 = '52:54:00:77:00:02';
const run = promisify(execFile);

let rack: Rack;
let home: string;
let image: Manifest;
let log = '';

beforeEach(async () => {
  rack = new Rack();
  log = '';
  home = mkdtempSync(join(tmpdir(), 'rouse-netboot-'));
  writeTree(home, {
    'etc/rouse.yaml':
      'version: 1\nsubnets:\n  - {name: rack1, interface: v1, network: 10.77.1.0/24, pools: [10.77.1.100-10.77.1.109], answerBesideOthers: true}\n' +
      '  - {name: rack2, interface: v2, network: 10.77.2.0/24, pools: [10.77.2.100-10.77.2.109], answerBesideOthers: true, unknown: default}\ndefaultProfile: web\n',
    'etc/profiles/web.yaml': 'extends: role/web\ncmdline: [quiet]\n',
    'etc/nodes/web1.yaml': `macs: [${MAC1}]\nprofile: web\naddress: 10.77.1.11\nloader: undionly\n`,
    'services/web/profile.yaml': 'image: web\n',
    'lib/loaders/undionly.kpxe': 'undionly '.repeat(8000),
    'udhcpc.sh':
      '#!/bin/sh\n[ "$1" = bound ] && ip address replace $ip/24 dev $interface && echo $ip > "$LEASE"\nexit 0\n',
  });
  chmodSync(join(home, 'udhcpc.sh'), 0o755);
  image = publishImage(join(home, 'lib'), 'web', { layerBytes: 2_000_000 });
  await rack.make(['10.77.1.1/24', '10.77.2.1/24'], [MAC1, MAC2]);
});
afterEach(async () => {
  await rack.take();
  rmSync(home, { recursive: true, force: true });
});

async function start(): Promise<ChildProcess> {
  const child = rack.start(rack.server, process.execPath, [join(import.meta.dirname, 'run-netboot.ts'), home]);
  const from = log.length;
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  await expect.poll(() => log.slice(from), { timeout: 20_000 }).toMatch(/serving DHCP|^rouse:/m);
  await expect
    .poll(
      () =>
        api('/v1/health').then(
          () => true,
          () => false,
        ),
      { timeout: 10_000 },
    )
    .toBe(true);
  return child;
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

/** Leases an address on a wire as a booting system does. */
async function lease(wire: number): Promise<string> {
  const space = rack.wires[wire]!.client;
  const file = join(home, `lease${wire}`);
  rmSync(file, { force: true });
  const args = ['-c', `LEASE=${file} exec busybox udhcpc -f -i c0 -n -q -t 8 -T 2 -s ${home}/udhcpc.sh`];
  const done = await rack.in(space, 'sh', args, 60_000);
  if (done.code !== 0) throw new Error(`${done.stderr}\n${log}`);
  return readFileSync(file, 'utf8').trim();
}

/** curl on a wire: status, body. */
async function fetchOn(wire: number, url: string, ...more: string[]): Promise<{ status: number; body: Buffer }> {
  const out = join(home, 'out');
  rmSync(out, { force: true });
  const { stdout, stderr } = await rack.in(rack.wires[wire]!.client, 'curl', [
    '-sS',
    '-m',
    '20',
    '-o',
    out,
    '-w',
    '%{http_code}',
    ...more,
    url,
  ]);
  if (stdout === '000') throw new Error(stderr);
  let body = Buffer.alloc(0);
  try {
    body = readFileSync(out);
  } catch {
    // No body.
  }
  return { status: Number(stdout), body };
}

const SCRIPT1 = `http://10.77.1.1:8080/ipxe/${MAC1.replaceAll(':', '-')}`;
const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

async function scriptOf(
  wire: number,
  url: string,
): Promise<{ text: string; urls: string[]; bootId: string; layers: string[] }> {
  const { status, body } = await fetchOn(wire, url);
  const text = body.toString();
  expect(status, text).toBe(200);
  const urls = [...text.matchAll(/^(?:kernel|initrd) --name \S+ (\S+)/gm)].map((match) => match[1] ?? '');
  const bootId = /rouse\.boot=([0-9a-f]{16})/.exec(text)?.[1] ?? '';
  const layers = /rouse\.layers=(\S+)/.exec(text)?.[1]?.split(',') ?? [];
  return { text, urls, bootId, layers };
}

function report(wire: number, bootId: string, token: string, stage: string): Promise<{ status: number; body: Buffer }> {
  const url = `http://10.77.${wire + 1}.1:8080/node/v1/boots/${bootId}/stage`;
  return fetchOn(wire, url, '-H', `Authorization: Bearer ${token}`, '--data-binary', `stage ${stage}\nuptimeMs 1000\n`);
}

function tokenOf(overlay: Buffer): string {
  const archive = decodeArchive(gunzipSync(overlay));
  if (!archive.ok) throw new Error(archive.reason);
  const entry = archive.entries.find(({ path }) => path === 'etc/rouse/boot');
  if (entry?.kind !== 'file') throw new Error('no token');
  return /token ([0-9a-f]{32})/.exec(new TextDecoder().decode(entry.data))?.[1] ?? '';
}

test('a boot from lease to ready, with the server killed twice on the way', async () => {
  const first = await start();
  expect(await lease(0)).toBe('10.77.1.11');
  const script = await scriptOf(0, SCRIPT1);
  const [kernelUrl, layerUrl, overlayUrl] = script.urls as [string, string, string];
  expect(sha256((await fetchOn(0, kernelUrl)).body)).toBe(image.kernel.sha256);

  await expect.poll(async () => JSON.stringify(await api('/v1/boots?node=web1'))).toMatch(/"kernel":\{/);
  // Killed between the script and the layers: the same boot goes on.
  first.kill('SIGKILL');
  await once(first, 'exit');
  const second = await start();
  expect(log).toMatch(/remembered: 1 leases, 1 boots/);
  expect(sha256((await fetchOn(0, layerUrl)).body)).toBe(image.layers[0]!.servedSha256);
  const overlay = await fetchOn(0, overlayUrl);
  expect(overlay.body.length % 512).toBe(0);
  expect(script.layers).toEqual([image.layers[0]!.sha256, expect.stringMatching(/^[0-9a-f]{64}$/)]);
  const flat = await fetchOn(0, overlayUrl.replace('overlay', 'initrd'));
  expect(flat.body.length).toBe(image.layers[0]!.servedBytes + overlay.body.length);
  const token = tokenOf(overlay.body);
  expect((await report(0, script.bootId, '0'.repeat(32), 'init')).status).toBe(403);
  for (const stage of ['init', 'layers', 'network', 'services']) {
    expect((await report(0, script.bootId, token, stage)).status).toBe(204);
  }

  second.kill('SIGKILL');
  await once(second, 'exit');
  await start();
  expect((await report(0, script.bootId, token, 'ready')).status).toBe(204);
  const { boots } = (await api('/v1/boots?node=web1')) as {
    boots: { bootId: string; outcome: { kind: string }; stages: Record<string, { bytes: number }> }[];
  };
  expect(boots[0]).toMatchObject({ bootId: script.bootId, outcome: { kind: 'ready' } });
  expect(boots[0]!.stages['kernel']!.bytes).toBe(image.kernel.bytes);
  // Once the layer, once the overlay, and once both flattened.
  expect(boots[0]!.stages['initrd']!.bytes).toBe(2 * (image.layers[0]!.servedBytes + overlay.body.length));
  // It keeps its address, and its lease is known.
  expect(await lease(0)).toBe('10.77.1.11');
  const { leases } = (await api('/v1/leases')) as { leases: { state: string }[] };
  expect(leases).toMatchObject([{ state: 'bound', address: '10.77.1.11', mac: MAC1, node: 'web1' }]);
  // The overlay went out; its token is no longer anywhere.
  expect((await fetchOn(0, overlayUrl)).status).toBe(404);
  for (const name of ['store.sqlite', 'store.sqlite-wal'])
    expect(readFileSync(join(home, 'lib', name)).includes(token)).toBe(false);
});

test('a pool address outlives a kill, and only its holder gets its script and overlay', async () => {
  const first = await start();
  const address = await lease(1);
  expect(address).toMatch(/^10\.77\.2\.10\d$/);
  const url = `http://10.77.2.1:8080/ipxe/${MAC2}`;
  const script = await scriptOf(1, url);
  expect(script.text).toMatch(/^echo rouse: node-525400770002 boots as web/m);
  first.kill('SIGKILL');
  await once(first, 'exit');
  await start();
  expect(await lease(1)).toBe(address);

  expect(await lease(0)).toBe('10.77.1.11');
  const foreign = await fetchOn(0, `http://10.77.1.1:8080/ipxe/${MAC2}`);
  expect([foreign.status, foreign.body.toString()]).toEqual([
    403,
    `the script of ${MAC2} goes only to its own address, and 10.77.1.11 is the address of ${MAC1}\n`,
  ]);
  const stolen = await fetchOn(0, `http://10.77.1.1:8080/boot/${script.bootId}/overlay`);
  expect([stolen.status, stolen.body.toString()]).toEqual([403, `boot ${script.bootId} belongs to ${address}\n`]);
});

test('TFTP gives the loaders of the table, and the journal has their bytes', async () => {
  await start();
  expect(await lease(0)).toBe('10.77.1.11');
  const tftp = (name: string) =>
    rack.in(rack.wires[0]!.client, 'curl', ['-sS', '--path-as-is', `tftp://10.77.1.1/${name}`]);
  expect(await tftp('undionly.kpxe')).toMatchObject({ code: 0, stdout: 'undionly '.repeat(8000) });
  expect((await tftp('../etc/passwd')).code).not.toBe(0);
  expect((await tftp('ipxe.efi')).code).not.toBe(0);
  await expect
    .poll(async () => JSON.stringify(await api('/v1/boots?node=web1')))
    .toMatch(/"loader":\{[^}]*"bytes":72000/);
  expect(log).toMatch(/tftp: 10\.77\.1\.11 ipxe\.efi refused: loader ipxe\.efi is not in/);
});

test('explain says beforehand what the wire then does, and changes nothing', async () => {
  await start();
  const before = await api(`/v1/explain?mac=${MAC1}&arch=bios`);
  expect(before).toMatchObject({ status: 200, boots: true, node: 'web1', profile: 'web' });
  expect(await api('/v1/leases')).toMatchObject({ leases: [] });
  expect(await api('/v1/boots')).toMatchObject({ boots: [] });
  const steps = before['steps'] as { answer: string }[];
  expect(steps[0]!.answer).toBe(
    'OFFER 10.77.1.11: the node file gives it this address; TFTP undionly.kpxe: loader: undionly',
  );
  expect(await lease(0)).toBe('10.77.1.11');
  const { text, bootId, layers } = await scriptOf(0, SCRIPT1);
  const real = text.replaceAll(bootId, 'BOOT-ID').replaceAll(layers.at(-1) ?? '', 'OVERLAY-SHA256');
  expect(before['script']).toBe(real);
  expect(bootScript.length).toBe(3);
});

test('an edit of a profile changes the next script; an image that is gone is a reason on the screen', async () => {
  await start();
  await lease(0);
  writeFileSync(join(home, 'etc/profiles/web.yaml'), 'extends: role/web\ncmdline: [edited=1]\n');
  await expect.poll(async () => (await scriptOf(0, SCRIPT1)).text, { timeout: 8000 }).toMatch(/ edited=1 \|\|/);
  publishImage(join(home, 'lib'), 'web', { generation: 2 });
  expect((await scriptOf(0, SCRIPT1)).text).toMatch(/image web generation 2/);
  rmSync(join(home, 'lib/images/web/current'));
  const { status, body } = await fetchOn(0, SCRIPT1);
  expect(status).toBe(200);
  expect(body.toString()).toMatch(
    /^#!ipxe\necho rouse: .*image 'web' is not built, build it with: rouse image build web\n:again\n/,
  );
  expect(await api('/v1/boots?node=web1&limit=1')).toMatchObject({ boots: [{ outcome: { kind: 'failed' } }] });
});

test('a layer that is not the signed one is not served, nor is a script that names it', async () => {
  await start();
  await lease(0);
  const { text, layers } = await scriptOf(0, SCRIPT1);
  const layerUrl = /http:\S+\/layer\/\S+/.exec(text)?.[0] ?? '';
  const path = join(home, 'lib/images/layers', `${layers[0]}.gz`);
  const octets = readFileSync(path);
  writeFileSync(path, Buffer.concat([octets.subarray(0, -1), Buffer.from('x')]));
  const layer = await fetchOn(0, layerUrl);
  expect(layer.status).toBe(404);
  expect(layer.body.toString()).toContain('is not the file that was published');
  expect((await fetchOn(0, SCRIPT1)).body.toString()).toMatch(/echo rouse: .*is not the file that was published/);
  writeFileSync(path, octets);
  expect((await fetchOn(0, layerUrl)).status).toBe(200);
  expect((await scriptOf(0, SCRIPT1)).text).toContain(`/layer/${layers[0]}.gz`);
});

test('a template that fails refuses the boot with file and line', async () => {
  publishImage(join(home, 'lib'), 'web', {
    generation: 2,
    templates: [{ path: '/x', mode: 0o644, source: 'a\n{{ vars.nope }}\n', origin: 'services/web/files/x.liquid' }],
  });
  await start();
  await lease(0);
  const { body } = await fetchOn(0, SCRIPT1);
  expect(body.toString()).toMatch(/echo rouse: services\/web\/files\/x\.liquid:2:4 undefined variable: vars\.nope\n/);
  expect(await api(`/v1/explain?mac=${MAC1}`)).toMatchObject({ boots: false });
});

test('the management socket is for its owner and group; an answer for what is not there is a sentence', async () => {
  await start();
  expect(statSync(join(home, 'run/netboot.sock')).mode & 0o777).toBe(0o660);
  expect(statSync(join(home, 'run')).mode & 0o777).toBe(0o750);
  expect(await api('/v1/nodes/web1')).toMatchObject({ status: 200, name: 'web1', should: 'web generation 1' });
  expect(await api('/v1/nodes/web2')).toEqual({ status: 404, error: "there is no node 'web2'; did you mean 'web1'?" });
  expect(await api('/v1/explain?mac=x')).toEqual({
    status: 400,
    error: 'mac: expected a MAC address such as 52:54:00:77:00:01',
  });
  expect(await api('/v1/nothing')).toEqual({ status: 404, error: 'there is no /v1/nothing here' });
  const { values } = (await api('/v1/nodes/web1')) as unknown as { values: { name: string; source: string }[] };
  expect(values.find(({ name }) => name === 'loader')?.source).toBe('etc/nodes/web1.yaml:4'.replace('etc/', ''));
  const address = await lease(1);
  expect(await api(`/v1/leases/${address}/release`, 'POST')).toMatchObject({ status: 200, state: 'released' });
  expect(await api('/v1/leases/10.77.2.99/release', 'POST')).toEqual({
    status: 404,
    error: 'there is no lease of 10.77.2.99; see all with: rouse lease ls',
  });
});

test('a node is set through the socket: checked as a whole, in force at once, audited, every other byte kept', async () => {
  writeFileSync(join(home, 'etc/profiles/other.yaml'), 'extends: role/web\ncmdline: [other]\n');
  const file = join(home, 'etc/nodes/web1.yaml');
  writeFileSync(file, `# the first\nmacs: [${MAC1}]\nprofile:  web   # for now\naddress: 10.77.1.11\n`);
  await start();
  const wrong = await api('/v1/nodes/web1/set?set=profile%3Dothr&who=me', 'POST');
  expect(wrong).toEqual({
    status: 400,
    error:
      "nothing was changed, for then the configuration would not validate: nodes/web1.yaml:3:11 profile: unknown profile 'othr', did you mean 'other'?",
  });
  const dry = await api('/v1/nodes/web1/set?set=profile%3Dother&dry=1', 'POST');
  expect(dry).toEqual({
    status: 200,
    changes: [{ file: 'nodes/web1.yaml', diff: ['-profile:  web   # for now', '+profile:  other   # for now'] }],
  });
  expect(readFileSync(file, 'utf8')).toMatch(/profile: {2}web/);
  expect(await api('/v1/nodes/web%5B1-2%5D/set?set=profile%3Dother', 'POST')).toMatchObject({
    status: 404,
    error: "there is no node 'web2'; did you mean 'web1'?",
  });
  await api('/v1/nodes/web1/set?set=profile%3Dother&set=vars.greeting%3Dhi&who=me', 'POST');
  expect(readFileSync(file, 'utf8')).toBe(
    `# the first\nmacs: [${MAC1}]\nprofile:  other   # for now\naddress: 10.77.1.11\nvars:\n  greeting: hi\n`,
  );
  expect(await api('/v1/nodes/web1')).toMatchObject({ profile: 'other' });
  const audit = readFileSync(join(home, 'lib/audit.jsonl'), 'utf8').trim().split('\n');
  expect(audit.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { who: 'unknown (says: me)', what: 'node set', changes: [{ file: 'nodes/web1.yaml' }] },
  ]);
});

test('the event stream tells what happens while it happens', async () => {
  await start();
  const events = rack.start(rack.server, 'curl', [
    '-sN',
    '--unix-socket',
    join(home, 'run/netboot.sock'),
    'http://rouse/v1/events',
  ]);
  let stream = '';
  events.stdout?.on('data', (chunk: Buffer) => (stream += chunk.toString()));
  await lease(0);
  // The stream may open after the first event: each script is another.
  await expect
    .poll(
      async () => {
        await scriptOf(0, SCRIPT1);
        return stream;
      },
      { timeout: 10_000 },
    )
    .toMatch(/event: script\ndata: \{"kind":"script",.*"node":"web1"/);
});

test('SIGTERM ends it with 0, and a taken port or a second server is one sentence', async () => {
  const first = await start();
  const exec = (folder: string) =>
    rack.in(rack.server, process.execPath, [join(import.meta.dirname, 'run-netboot.ts'), folder], 30_000);
  const second = await exec(home);
  expect([second.code, second.stderr.split('\n').filter((line) => line.startsWith('rouse:'))]).toEqual([
    111,
    [
      `rouse: cannot open ${home}/lib/store.sqlite: database is locked; another boot server has it open: stop that one first`,
    ],
  ]);
  const other = mkdtempSync(join(tmpdir(), 'rouse-other-'));
  await run('cp', ['-r', join(home, 'etc'), join(home, 'services'), other]);
  const taken = await exec(other);
  expect([taken.code, taken.stderr.split('\n').filter((line) => line.startsWith('rouse:'))]).toEqual([
    111,
    [expect.stringMatching(/^rouse: cannot listen on UDP port 67 of v1 \(10\.77\.1\.1\): .*pid \d+.*; stop it/)],
  ]);
  rmSync(other, { recursive: true });
  first.kill('SIGTERM');
  const [code] = (await once(first, 'exit')) as [number];
  expect(code).toBe(0);
  expect(log).toMatch(/SIGTERM: ending/);
});

test('a missing interface is waited for, and served when it comes', async () => {
  await rack.in(rack.server, 'ip', ['address', 'flush', 'dev', 'v2']);
  await start();
  expect(log).toMatch(/waiting: interface v2 of subnet rack2 has no IPv4 address or is not there/);
  expect(await api('/v1/health')).toMatchObject({ serving: [{ name: 'v1', address: '10.77.1.1' }] });
  await rack.in(rack.server, 'ip', ['address', 'add', '10.77.2.1/24', 'dev', 'v2']);
  await expect
    .poll(() => log, { timeout: 10_000 })
    .toMatch(/serving DHCP, TFTP and HTTP \(port 8080\) on v1 \(10\.77\.1\.1\), v2 \(10\.77\.2\.1\)/);
  expect(await lease(1)).toMatch(/^10\.77\.2\.10\d$/);
});

test('an interface that is made anew or gets another address is served again; the other one never notices', async () => {
  await start();
  const served = (): number => log.split('serving DHCP').length - 1;
  expect(await lease(1)).toMatch(/^10\.77\.2\.10\d$/);
  // A download that takes longer than all of this.
  await lease(0);
  const { urls } = await scriptOf(0, SCRIPT1);
  const slow = rack.in(
    rack.wires[0]!.client,
    'curl',
    ['-sS', '--limit-rate', '150k', '-o', '/dev/null', urls[1] ?? ''],
    60_000,
  );

  const far = rack.wires[1]!.client;
  const make = async (address: string): Promise<void> => {
    const words = `link add v2 type veth peer name c0 netns ${far}`;
    await rack.in(rack.server, 'ip', words.split(' '));
    await rack.in(rack.server, 'ip', ['address', 'add', address, 'dev', 'v2']);
    await rack.in(rack.server, 'ip', ['link', 'set', 'v2', 'up']);
    await rack.in(far, 'ip', ['link', 'set', 'c0', 'address', MAC2, 'up']);
  };
  // Within one look at the interfaces: same name, same address, another interface.
  await rack.in(rack.server, 'ip', ['link', 'del', 'v2']);
  await make('10.77.2.1/24');
  await expect.poll(served, { timeout: 10_000 }).toBe(2);
  expect(await lease(1)).toMatch(/^10\.77\.2\.10\d$/);

  await rack.in(rack.server, 'ip', ['address', 'add', '10.77.2.2/24', 'dev', 'v2']);
  await rack.in(rack.server, 'ip', ['address', 'del', '10.77.2.1/24', 'dev', 'v2']);
  await rack.in(rack.server, 'ip', ['address', 'add', '10.77.2.2/24', 'dev', 'v2']);
  await expect.poll(() => log, { timeout: 10_000 }).toMatch(/on v1 \(10\.77\.1\.1\), v2 \(10\.77\.2\.2\)/);
  expect(await lease(1)).toMatch(/^10\.77\.2\.10\d$/);

  // Without its carrier an interface keeps its address, and its servers.
  const before = served();
  await rack.in(far, 'ip', ['link', 'set', 'c0', 'down']);
  await sleep(2500);
  await rack.in(far, 'ip', ['link', 'set', 'c0', 'up']);
  expect(await lease(1)).toMatch(/^10\.77\.2\.10\d$/);
  expect(served()).toBe(before);
  expect(await slow).toMatchObject({ code: 0 });
});

test('files that do not validate end the first start with the first problem, in one line', async () => {
  mkdirSync(join(home, 'bad/etc'), { recursive: true });
  writeFileSync(join(home, 'bad/etc/rouse.yaml'), 'version: 1\nsubnet: []\n');
  const done = await rack.in(rack.server, process.execPath, [
    join(import.meta.dirname, 'run-netboot.ts'),
    join(home, 'bad'),
  ]);
  expect(done.code).toBe(100);
  expect(done.stderr).toContain(
    `rouse: nothing to serve: ${home}/bad/etc does not validate: rouse.yaml:1:1 missing key 'subnets', expected a list; see all problems with: rouse check\n`,
  );
});

test('a report that the disk refuses is answered 503 and counts for nothing; said again, it counts, and the token is gone', async () => {
  const lib = join(home, 'lib');
  await run('cp', ['-a', lib, join(home, 'lib.copy')]);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', lib]);
  try {
    await run('cp', ['-a', `${join(home, 'lib.copy')}/.`, lib]);
    const first = await start();
    await lease(0);
    const script = await scriptOf(0, SCRIPT1);
    const overlayUrl = script.urls.at(-1) ?? '';
    const token = tokenOf((await fetchOn(0, overlayUrl)).body);
    expect(await api('/v1/health')).toMatchObject({ store: 'good' });
    await run('dd', ['if=/dev/zero', `of=${lib}/filler`, 'bs=4k', 'count=9999']).catch(() => undefined);
    const refused = await report(0, script.bootId, token, 'init');
    expect([refused.status, refused.body.toString()]).toEqual([
      503,
      'the boot server cannot write to its disk now: say it again later\n',
    ]);
    expect(await api('/v1/health')).toMatchObject({ store: expect.stringMatching(/^cannot write .*full/) as string });
    // Not spent on disk, so not spent at all: the same before and after a restart.
    expect((await fetchOn(0, overlayUrl)).status).toBe(200);
    rmSync(join(lib, 'filler'));
    expect((await report(0, script.bootId, token, 'init')).status).toBe(204);
    expect(await api('/v1/health')).toMatchObject({ store: 'good' });
    first.kill('SIGKILL');
    await once(first, 'exit');
    for (const name of ['store.sqlite', 'store.sqlite-wal'])
      expect(readFileSync(join(lib, name)).includes(token)).toBe(false);
    const second = await start();
    expect((await fetchOn(0, overlayUrl)).status).toBe(404);
    expect((await report(0, script.bootId, token, 'ready')).status).toBe(204);
    expect(await api('/v1/boots?node=web1')).toMatchObject({ boots: [{ outcome: { kind: 'ready' } }] });
    second.kill('SIGKILL');
    await once(second, 'exit');
  } finally {
    await run('umount', ['-l', lib]);
  }
});

test('a machine that asks for script after script gets a few boots, and then the reason', async () => {
  await start();
  await lease(0);
  const { code, stdout } = await rack.in(rack.wires[0]!.client, 'curl', ['-sS', `${SCRIPT1}?[1-60]`], 60_000);
  expect(code).toBe(0);
  expect(stdout).toMatch(/echo rouse: .*it asks for its script again and again: it is given one every 5 s/);
  expect(log.match(/boot of web1 put off/g)?.length).toBe(1);
  const made = new Set([...stdout.matchAll(/rouse\.boot=([0-9a-f]{16})/g)].map((match) => match[1]));
  expect(made.size).toBeGreaterThanOrEqual(30);
  expect(made.size).toBeLessThan(40);
});

test('what unknown machines send is neither kept nor logged line by line', async () => {
  writeFileSync(
    join(home, 'etc/rouse.yaml'),
    readFileSync(join(home, 'etc/rouse.yaml'), 'utf8').replace('unknown: default', 'unknown: ignore'),
  );
  const first = await start();
  await lease(0);
  await scriptOf(0, SCRIPT1);
  const flood = `
    import { createSocket } from 'node:dgram';
    import { encodeMessage } from ${JSON.stringify(join(import.meta.dirname, '../../netboot/dhcp/message.ts'))};
    import { message } from ${JSON.stringify(join(import.meta.dirname, 'dhcp/messages.ts'))};
    const socket = createSocket('udp4');
    socket.bind(68, '10.77.1.11', async () => {
      for (let index = 0; index < 3000; index += 1) {
        const from = '02:99:00:00:' + (index >> 8).toString(16).padStart(2, '0') + ':' + (index & 255).toString(16).padStart(2, '0');
        socket.send(encodeMessage(message('discover', { from }), 1500), 67, '10.77.1.1');
        if (index % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      setTimeout(() => socket.close(), 500);
    });
  `;
  const before = log.length;
  const done = await rack.in(rack.wires[0]!.client, process.execPath, ['--input-type=module', '-e', flood], 60_000);
  expect(done.stderr).toBe('');
  const lines = log
    .slice(before)
    .split('\n')
    .filter((line) => line.includes('02:99:00'));
  expect(lines.length).toBeGreaterThan(50);
  expect(lines.length).toBeLessThan(200);
  // What is asked in a node's name, and never acknowledged, is anybody's too: it fills no log, and begins no boot.
  const requests = `
    import { createSocket } from 'node:dgram';
    for (let index = 0; index < 1000; index += 1) {
      const socket = createSocket('udp4');
      const packet = Buffer.from('\\0\\x01' + (index < 990 ? 'nothing' : 'undionly.kpxe') + '\\0octet\\0', 'latin1');
      socket.send(packet, 69, '10.77.1.1', () => socket.close());
      if (index % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  `;
  const { boots } = await api('/v1/boots?node=web1');
  const space = rack.wires[0]!.client;
  expect((await rack.in(space, process.execPath, ['--input-type=module', '-e', requests], 60_000)).stderr).toBe('');
  await expect.poll(() => log, { timeout: 10_000 }).toMatch(/tftp: 10\.77\.1\.11 nothing refused/);
  expect(log.match(/^tftp: 10\.77\.1\.11 /gm)!.length).toBeLessThan(100);
  expect((await api('/v1/boots?node=web1')).boots).toEqual(boots);
  expect(log).toMatch(/many messages of unknown machines: most of them are not logged from here on/);
  first.kill('SIGTERM');
  await once(first, 'exit');
  const database = new DatabaseSync(join(home, 'lib/store.sqlite'));
  const row = database.prepare(`SELECT count(*) AS strangers FROM journal WHERE mac LIKE '02:99:%'`).get();
  database.close();
  expect(row?.['strangers']).toBe(0);
  // Who was heard last is known to the next boot server as well.
  await start();
  const { machines } = (await api('/v1/machines')) as { machines: { mac: string; client: string; said: string }[] };
  expect(machines.length).toBeGreaterThan(900);
  expect(machines.find(({ mac }) => mac === '02:99:00:00:0b:b7')).toMatchObject({
    client: 'an operating system',
    said: expect.stringContaining('no node file names this MAC') as string,
  });
});

test('a machine that is up and asks for an address that is not its own is told no, and the log says so', async () => {
  await start();
  await lease(0);
  const ask = `
    import { createSocket } from 'node:dgram';
    import { encodeMessage } from ${JSON.stringify(join(import.meta.dirname, '../../netboot/dhcp/message.ts'))};
    import { message } from ${JSON.stringify(join(import.meta.dirname, 'dhcp/messages.ts'))};
    const socket = createSocket('udp4');
    const options = { requestedAddress: '10.77.1.99' };
    socket.bind(68, '10.77.1.11', () => {
      socket.send(encodeMessage(message('request', { from: '${MAC1}', options }), 1500), 67, '10.77.1.1', () => socket.close());
    });
  `;
  const done = await rack.in(rack.wires[0]!.client, process.execPath, ['--input-type=module', '-e', ask], 60_000);
  expect(done.stderr).toBe('');
  await expect.poll(() => log).toMatch(/dhcp: 52:54:00:77:00:01 NAK: /);
});

test('a store that is taken away while it is in use is told in the log and in the health', {
  timeout: 120_000,
}, async () => {
  await start();
  rmSync(join(home, 'lib/store.sqlite'));
  expect(await api('/v1/health')).toMatchObject({
    store: expect.stringMatching(/store\.sqlite was removed or replaced while it is in use/) as string,
  });
  // An ACK whose lease is on no disk is worse than none.
  const asking = ['udhcpc', '-f', '-i', 'c0', '-n', '-q', '-t', '3', '-T', '1', '-s', '/bin/true'];
  expect((await rack.in(rack.wires[0]!.client, 'busybox', asking)).code).toBe(1);
  expect(log).toMatch(
    /store\.sqlite was removed or replaced while it is in use: nothing can be kept, so no lease is given/,
  );
});

test('a layer on its way is told while it leaves, however slowly, and what broke off is told as that', async () => {
  await start();
  await lease(0);
  const { urls } = await scriptOf(0, SCRIPT1);
  const layer = urls[1]!;
  const latest = async () =>
    ((await api('/v1/boots?node=web1')) as { boots: { loading: { part: string; bytes: number }[]; stages: object }[] })
      .boots[0]!;
  // Else the kernels at both ends take the whole of it at once.
  await rack.in(rack.server, 'sysctl', ['-q', '-w', 'net.ipv4.tcp_wmem=4096 16384 65536']);
  await rack.in(rack.wires[0]!.client, 'sysctl', ['-q', '-w', 'net.ipv4.tcp_rmem=4096 16384 65536']);
  const slow = rack.start(rack.wires[0]!.client, 'curl', ['-sS', '-o', '/dev/null', '--limit-rate', '100k', layer]);
  const { servedBytes } = image.layers[0]!;
  await expect.poll(async () => (await latest()).loading).toMatchObject([{ part: 'initrd', bytes: servedBytes }]);
  slow.kill('SIGKILL');
  await expect.poll(async () => (await latest()).loading).toEqual([]);
  expect((await latest()).stages).toMatchObject({
    initrd: { detail: expect.stringContaining('broken off') as string },
  });
});
