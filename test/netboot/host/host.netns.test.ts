// The machine that a boot server runs on: what doctor finds beside a real DHCP server, and a boot server that is backed up
// while it serves and comes back elsewhere, where the nodes that it knew find what they had.

import { type ChildProcess, execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Finding } from '../../../netboot/host/doctor.ts';
import { Rack } from '../dhcp/rack.ts';
import { publishImage, writeTree } from '../home.ts';

const ROUSE = join(import.meta.dirname, '../../../bin/rouse');
const MAC1 = '52:54:00:77:00:01';
const run = promisify(execFile);

let rack: Rack;
let folder: string;

beforeEach(async () => {
  rack = new Rack();
  folder = mkdtempSync(join(tmpdir(), 'rouse-host-'));
  await rack.make(['10.77.1.1/24'], [MAC1]);
  writeTree(folder, {
    'udhcpc.sh':
      '#!/bin/sh\n[ "$1" = bound ] && ip address replace $ip/24 dev $interface && echo $ip > "$LEASE"\nexit 0\n',
    'a/etc/rouse.yaml':
      'version: 1\nsubnets: [{name: rack1, interface: v1, network: 10.77.1.0/24, pools: [10.77.1.100-10.77.1.150], unknown: default, answerBesideOthers: true}]\ndefaultProfile: web\n',
    'a/etc/profiles/web.yaml': 'image: web\n',
    'a/lib/keys/site.pub': 'a key',
    'a/lib/loaders/undionly.kpxe': 'a loader',
  });
  chmodSync(join(folder, 'udhcpc.sh'), 0o755);
  publishImage(join(folder, 'a/lib'), 'web');
});
afterEach(async () => {
  await rack.take();
  rmSync(folder, { recursive: true, force: true });
});

/** A command as it is typed on the boot server, whose home is that folder. */
async function rouse(home: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return rack.in(rack.server, 'env', [`ROUSE_HOME=${join(folder, home)}`, ROUSE, ...args], 60_000);
}

async function serve(home: string): Promise<ChildProcess> {
  const child = rack.start(rack.server, 'env', [`ROUSE_HOME=${join(folder, home)}`, ROUSE, 'netboot']);
  await expect
    .poll(async () => (await rouse(home, 'node', 'ls')).stderr, { timeout: 30_000 })
    .not.toContain('no boot server');
  return child;
}

async function leased(): Promise<string> {
  const file = join(folder, 'lease');
  rmSync(file, { force: true });
  const command = `LEASE=${file} exec busybox udhcpc -f -i c0 -n -q -t 10 -T 2 -s ${folder}/udhcpc.sh`;
  const done = await rack.in(rack.wires[0]?.client ?? '', 'sh', ['-c', command], 60_000);
  expect(done).toMatchObject({ code: 0 });
  return readFileSync(file, 'utf8').trim();
}

async function end(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}

const findings = async (home: string): Promise<Finding[]> =>
  JSON.parse((await rouse(home, 'doctor', '--json')).stdout) as Finding[];

test('doctor: another DHCP server on the segment, and the ports that it has', async () => {
  const file = join(folder, 'a/etc/rouse.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace(', answerBesideOthers: true', ''));
  const before = await findings('a');
  expect(before.find(({ name }) => name === 'other DHCP')).toMatchObject({ state: 'ok' });
  expect(before.find(({ name }) => name === 'ports')).toMatchObject({ state: 'ok' });
  // Beside the client, as another machine of the segment.
  const space = rack.wires[0]?.client ?? '';
  await rack.in(space, 'ip', ['address', 'add', '10.77.1.9/24', 'dev', 'c0']);
  rack.start(space, 'dnsmasq', [
    '-d',
    '-p0',
    '--user=root',
    '-i',
    'c0',
    '-F',
    '10.77.1.20,10.77.1.29',
    `--dhcp-leasefile=${folder}/leases`,
  ]);
  const other = async () => (await findings('a')).find(({ name }) => name === 'other DHCP');
  await expect.poll(other, { timeout: 40_000 }).toMatchObject({ state: 'bad' });
  expect(await other()).toMatchObject({
    says: 'subnet rack1 on v1: 10.77.1.9 gives addresses too',
    todo: 'stop that one, or set mode: proxy in rouse.yaml',
  });
  // And one on this machine.
  rack.start(rack.server, 'dnsmasq', [
    '-d',
    '-p0',
    '--user=root',
    '-i',
    'v1',
    '-F',
    '10.77.1.30,10.77.1.39',
    `--dhcp-leasefile=${folder}/leases2`,
  ]);
  const taken = async () => (await findings('a')).filter(({ name }) => name === 'ports').map(({ says }) => says);
  await expect
    .poll(taken, { timeout: 20_000 })
    .toEqual([expect.stringMatching(/^UDP 67: dnsmasq \(pid \d+\) has it$/)]);
  expect((await rouse('a', 'doctor', '--quick')).code).toBe(1);
});

test('setup writes a rouse.yaml that answers nobody, once', async () => {
  const done = await rouse('new', 'setup', '--interface', 'v1');
  expect(done).toMatchObject({ code: 0, stderr: '' });
  const text = readFileSync(join(folder, 'new/etc/rouse.yaml'), 'utf8');
  expect(text).toContain('network: 10.77.1.0/24\n    mode: observe');
  expect(await rouse('new', 'check')).toMatchObject({ code: 0, stdout: 'good: 0 nodes, 0 profiles\n' });
  expect(await rouse('new', 'setup')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('is there already') as string,
  });
  expect(readFileSync(join(folder, 'new/etc/rouse.yaml'), 'utf8')).toBe(text);
});

test('backed up while it serves; restored on a bare machine it gives its nodes what they had', async () => {
  const first = await serve('a');
  const address = await leased();
  // Outside of its network namespace v1 is not to be seen: the boot server is asked.
  const outside = await run(ROUSE, ['doctor', '--quick', '--json'], {
    env: { ...process.env, ROUSE_HOME: join(folder, 'a') },
  }).catch((error: { stdout: string }) => error);
  const seen = (JSON.parse(outside.stdout) as Finding[]).filter(({ name }) => /^(interfaces|other DHCP)$/.test(name));
  expect(seen).toMatchObject([
    { state: 'ok' },
    { state: 'ok', says: expect.stringContaining('on v1: none') as string },
  ]);
  const made = await rouse('a', 'node', 'adopt', MAC1, '--name', 'web1', '--profile', 'web');
  expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining('1 nodes made') as string });
  const file = join(folder, 'backup.tar.gz');
  const backup = await rouse('a', 'backup', file, '--with-images');
  expect(backup).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('as the running boot server has it') as string,
  });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  // It takes away what it asked for.
  expect((await run('ls', [join(folder, 'a/lib')])).stdout).not.toContain('backup-');
  expect(await rouse('a', 'restore', file, '--force')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('a boot server runs here') as string,
  });
  await end(first);

  const restored = await rouse('b', 'restore', file);
  expect(restored).toMatchObject({ code: 0, stdout: expect.stringContaining(': 1 nodes\n') as string });
  expect(readFileSync(join(folder, 'b/lib/keys/site.pub'), 'utf8')).toBe('a key');
  expect(statSync(join(folder, 'b/lib/store.sqlite')).mode & 0o777).toBe(0o600);
  await serve('b');
  expect((await rouse('b', 'lease', 'ls')).stdout).toContain(`${address}  ${MAC1}  web1  bound`);
  expect(await leased()).toBe(address);
  const audit = readFileSync(join(folder, 'b/lib/audit.jsonl'), 'utf8');
  expect(JSON.parse(audit.split('\n')[0] ?? '')).toMatchObject({ what: 'node adopt' });

  // A second time it needs to be told, and what was there stays.
  expect(await rouse('c', 'setup', '--interface', 'v1')).toMatchObject({ code: 0 });
  expect(await rouse('c', 'restore', file)).toMatchObject({ code: 1 });
  expect((await rouse('c', 'restore', file, '--force')).stdout).toMatch(/what was there is now .*etc\.before-restore-/);
});

test('a damaged or foreign archive changes nothing', async () => {
  const file = join(folder, 'backup.tar.gz');
  expect(await rouse('a', 'backup', file)).toMatchObject({ code: 0 });
  const octets = readFileSync(file);
  writeFileSync(join(folder, 'cut.tar.gz'), octets.subarray(0, octets.length - 200));
  const plain = gunzipSync(octets);
  plain.write('etc/../../x.yaml\0', plain.indexOf('etc/rouse.yaml'));
  writeFileSync(join(folder, 'evil.tar.gz'), gzipSync(plain));
  mkdirSync(join(folder, 'loose'));
  writeFileSync(join(folder, 'loose/x'), 'x');
  await run('tar', ['czf', join(folder, 'other.tar.gz'), '-C', join(folder, 'loose'), 'x']);
  for (const [name, why] of [
    ['cut.tar.gz', 'cannot restore cut.tar.gz'],
    ['evil.tar.gz', ''],
    ['other.tar.gz', 'backup.json does not come first'],
  ] as const) {
    const done = await rouse('d', 'restore', join(folder, name));
    expect({ name, code: done.code }).toEqual({ name, code: 111 });
    expect(done.stderr).toContain(why);
    expect(existsSync(join(folder, 'd/etc'))).toBe(false);
  }
});
