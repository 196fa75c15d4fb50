// The DHCP server among others, in namespaces: behind a relay (isc-dhcp-relay), with dhcpcd, beside dnsmasq (ProxyDHCP),
// with npm's dhcp as a client written by somebody else, and under a flood.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DhcpEvent } from '../../../netboot/dhcp/event.ts';
import { type Finished, JsonLines, Rack } from './rack.ts';
import type { ServeConfig } from './serve.ts';

type Line = Partial<DhcpEvent> & { ready?: boolean; failed?: string; log?: string };

const SERVE = new URL('serve.ts', import.meta.url).pathname;
const CLIENT = new URL('pxe-client.ts', import.meta.url).pathname;
const MAC1 = '52:54:00:77:00:01';
const notRoot = process.getuid?.() !== 0;

let rack: Rack;
let folder: string;

beforeEach(() => {
  rack = new Rack();
  folder = mkdtempSync(join(tmpdir(), 'rouse-dhcp-'));
  writeFileSync(join(folder, 'udhcpc.sh'), '#!/bin/sh\necho "$1 ip=$ip serverid=$serverid router=$router"\n', {
    mode: 0o755,
  });
});
afterEach(async () => {
  await rack.take();
  rmSync(folder, { recursive: true, force: true });
});

async function serve(config: ServeConfig): Promise<JsonLines<Line>> {
  const lines = new JsonLines<Line>(rack.start(rack.server, process.execPath, [SERVE, JSON.stringify(config)]));
  const first = await lines.next((line) => line.ready === true || line.failed !== undefined);
  expect(first.failed).toBeUndefined();
  return lines;
}

/** Puts another namespace on the first wire's segment: br0 is the server's interface there, d0 the other's. */
async function bridged(suffix: string): Promise<string> {
  const other = await rack.space(suffix);
  for (const words of [
    'link add br0 type bridge',
    'address del 10.77.1.1/24 dev v1',
    'link set v1 master br0',
    `link add v9 type veth peer name d0 netns ${other}`,
    'link set v9 master br0 up',
    'address add 10.77.1.1/24 dev br0',
    'link set br0 up',
  ])
    await rack.in(rack.server, 'ip', words.split(' '));
  return other;
}

/** dnsmasq at 10.77.1.2 on that segment, giving 10.77.1.50 to 60; resolves once it serves. */
async function dnsmasqIn(other: string): Promise<ChildProcess> {
  await rack.in(other, 'ip', ['address', 'add', '10.77.1.2/24', 'dev', 'd0']);
  await rack.in(other, 'ip', ['link', 'set', 'd0', 'up']);
  const dnsmasq = rack.start(other, 'dnsmasq', [
    ...['-d', '--port=0', '--conf-file=/dev/null', '--interface=d0', '--bind-interfaces'],
    ...['--dhcp-range=10.77.1.50,10.77.1.60,1h', `--dhcp-leasefile=${join(folder, 'dnsmasq.leases')}`],
  ]);
  await new Promise<void>((resolve) =>
    dnsmasq.stderr!.on('data', (chunk: Buffer) => chunk.includes('DHCP, IP range') && resolve()),
  );
  return dnsmasq;
}

/** udhcpc on the first wire, to a lease or to its end. */
const udhcpc = (...more: string[]): Promise<Finished> =>
  rack.in(rack.wires[0]!.client, 'udhcpc', [
    ...['-i', 'c0', '-n', '-q', '-f', '-t', '4', '-T', '2', '-s', join(folder, 'udhcpc.sh')],
    ...more,
  ]);

/** The configuration of one wire, with the server on the bridge. */
function onBridge(config: ServeConfig, more: Partial<ServeConfig['subnets'][number]> = {}): ServeConfig {
  const subnets = config.subnets.map((one) => ({ ...one, interface: 'br0', ...more }));
  return { ...config, interfaces: [{ name: 'br0', address: '10.77.1.1' }], subnets };
}

const oneWire = (mode: 'dhcp' | 'proxy' | 'observe' = 'dhcp'): ServeConfig => ({
  interfaces: [{ name: 'v1', address: '10.77.1.1' }],
  subnets: [
    {
      name: 'rack1',
      interface: 'v1',
      network: '10.77.1.0/24',
      pools: ['10.77.1.100-10.77.1.199'],
      router: '10.77.1.1',
      mode,
    },
  ],
});

test.skipIf(notRoot)(
  'a client behind a relay gets an address of its own subnet, and the answer goes through the relay',
  async () => {
    await rack.make(['10.77.1.1/24'], [MAC1]);
    // server v1 (10.77.1.1) -- c0 (10.77.1.2) relay r1 (10.88.0.1) -- c0 far client
    const relay = rack.wires[0]!.client;
    const far = await rack.space('far');
    await rack.in(relay, 'ip', ['address', 'add', '10.77.1.2/24', 'dev', 'c0']);
    await rack.in(relay, 'ip', ['link', 'add', 'r1', 'type', 'veth', 'peer', 'name', 'c0', 'netns', far]);
    await rack.in(relay, 'ip', ['address', 'add', '10.88.0.1/24', 'dev', 'r1']);
    await rack.in(relay, 'ip', ['link', 'set', 'r1', 'up']);
    await rack.in(relay, 'sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    await rack.in(far, 'ip', ['link', 'set', 'c0', 'address', '52:54:00:77:00:05', 'up']);
    await rack.in(rack.server, 'ip', ['route', 'add', '10.88.0.0/24', 'via', '10.77.1.2']);
    const near = oneWire();
    const farSubnet = {
      name: 'far',
      interface: 'v1',
      network: '10.88.0.0/24',
      pools: ['10.88.0.100-10.88.0.199'],
      router: '10.88.0.1',
    };
    const lines = await serve({ ...near, subnets: [...near.subnets, farSubnet] });
    const relayed = rack.start(relay, 'dhcrelay', ['-4', '-d', '-a', '-iu', 'c0', '-id', 'r1', '10.77.1.1']);
    // It prints a line for each socket once it listens.
    await new Promise<void>((resolve) =>
      relayed.stderr!.on('data', (chunk: Buffer) => chunk.includes('Sending on   Socket') && resolve()),
    );
    const done = await rack.in(far, 'udhcpc', [
      '-i',
      'c0',
      '-n',
      '-q',
      '-f',
      '-t',
      '4',
      '-T',
      '2',
      '-s',
      join(folder, 'udhcpc.sh'),
    ]);
    expect(done.stdout).toMatch(/bound ip=10\.88\.0\.1\d\d serverid=10\.77\.1\.1 router=10\.88\.0\.1/);
    const ack = await lines.next((line) => line.outcome === 'ack');
    expect(ack.mac).toBe('52:54:00:77:00:05');
  },
);

test.skipIf(notRoot)('beside dnsmasq it says only what to boot, on 67 and on 4011', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  const client = rack.wires[0]!.client;
  const other = await bridged('dns');
  const lines = await serve(onBridge(oneWire('proxy')));
  await dnsmasqIn(other);
  // A system that only wants an address is dnsmasq's alone.
  const plain = await udhcpc();
  expect(plain.stdout).toMatch(/bound ip=10\.77\.1\.5\d serverid=10\.77\.1\.2/);
  expect(await lines.next((line) => line.outcome === 'ignore')).toMatchObject({ why: 'not-pxe' });
  // Firmware hears both.
  await rack.in(client, 'ip', ['address', 'add', '10.77.1.77/24', 'dev', 'c0']);
  const firmware = new JsonLines<Record<string, unknown>>(
    rack.start(client, process.execPath, [CLIENT, MAC1, '10.77.1.77', '10.77.1.1']),
  );
  const offer = await firmware.next((line) => line['siaddr'] === '10.77.1.1' && line['type'] === 2);
  expect(offer).toMatchObject({ yiaddr: '0.0.0.0', file: 'snponly.efi', vendorClass: 'PXEClient', hasOption43: false });
  const boot = await firmware.next((line) => line['type'] === 5);
  expect(boot).toMatchObject({ yiaddr: '0.0.0.0', file: 'snponly.efi', fromPort: 4011, hasOption43: true });
});

test.skipIf(notRoot)(
  'after an absence of three lease times a node still has its address, and nobody else gets it',
  async () => {
    const leaseTimeS = 2;
    await rack.make(['10.77.1.1/24'], [MAC1]);
    const { client } = rack.wires[0]!;
    const stranger = await bridged('b');
    await rack.in(stranger, 'ip', ['address', 'add', '10.77.1.240/24', 'dev', 'd0']);
    await rack.in(stranger, 'ip', ['link', 'set', 'd0', 'up']);
    const only = { pools: ['10.77.1.100-10.77.1.100'], leaseTimeS };
    const config = { ...onBridge(oneWire(), only), leaseFile: join(folder, 'leases') };
    const first = rack.start(rack.server, process.execPath, [SERVE, JSON.stringify(config)]);
    await new JsonLines<Line>(first).next((line) => line.ready === true);
    expect((await udhcpc()).stdout).toContain('bound ip=10.77.1.100');
    await rack.in(client, 'ip', ['address', 'add', '10.77.1.100/24', 'dev', 'c0']);
    writeFileSync(join(folder, 'index.html'), 'the page of a node\n');
    rack.start(client, 'busybox', ['httpd', '-f', '-p', '80', '-h', folder]);
    const page = (): Promise<Finished> => rack.in(stranger, 'curl', ['-sS', '-m', '5', 'http://10.77.1.100/']);
    await expect.poll(async () => (await page()).stdout).toBe('the page of a node\n');

    first.kill('SIGKILL');
    await once(first, 'exit');
    for (const endMs = Date.now() + 3 * leaseTimeS * 1000; Date.now() < endMs; await sleep(500)) {
      expect((await page()).stdout).toBe('the page of a node\n');
    }
    const lines = await serve(config);
    const asking = [
      '-i',
      'd0',
      '-n',
      '-q',
      '-f',
      '-t',
      '3',
      '-T',
      '1',
      '-r',
      '10.77.1.100',
      '-s',
      join(folder, 'udhcpc.sh'),
    ];
    expect((await rack.in(stranger, 'udhcpc', asking)).stdout).not.toContain('bound');
    const event = await lines.next((line) => line.why === 'still-there');
    expect(event.text).toBe(
      `noted: the machine that had the address last still answers for it and keeps it (10.77.1.100 is ${MAC1}'s)`,
    );
    expect(lines.seen.filter((line) => line.outcome === 'offer' || line.outcome === 'ack')).toEqual([]);
    expect((await page()).stdout).toBe('the page of a node\n');
    expect((await udhcpc()).stdout).toContain('bound ip=10.77.1.100');
  },
);

test.skipIf(notRoot)(
  'where dnsmasq answers already, it gives nobody an address until told to, and says so',
  async () => {
    await rack.make(['10.77.1.1/24'], [MAC1]);
    const dnsmasq = await dnsmasqIn(await bridged('dns'));
    const lines = await serve(onBridge(oneWire(), { answerBesideOthers: false }));
    const { log } = await lines.next((line) => line.log !== undefined);
    expect(log).toMatch(
      /^dhcp: another DHCP server, 10\.77\.1\.2, answers on br0: subnets of mode dhcp without answer/,
    );
    const done = await udhcpc();
    expect(done.stdout).toMatch(/bound ip=10\.77\.1\.5\d serverid=10\.77\.1\.2/);
    const held = await lines.next((line) => line.type === 'discover' && line.why === 'foreign-server');
    expect(held.text).toMatch(
      /^ignored: another DHCP server answers here, .*\(10\.77\.1\.2\); otherwise: OFFER 10\.77\.1\.1\d\d/,
    );
    expect(lines.seen.filter((line) => line.outcome !== 'ignore' && line.log === undefined)).toEqual([{ ready: true }]);
    dnsmasq.kill('SIGKILL');
  },
);

test.skipIf(notRoot)('mode: observe journals what it would have answered, and who answered instead', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  const other = await bridged('dns');
  const lines = await serve(onBridge(oneWire('observe')));
  await dnsmasqIn(other);
  const done = await udhcpc('-B');
  expect(done.stdout).toMatch(/bound ip=10\.77\.1\.5\d serverid=10\.77\.1\.2/);
  const would = await lines.next((line) => line.type === 'discover' && line.why === 'observe');
  expect(would.text).toMatch(/mode: observe.*; otherwise: OFFER 10\.77\.1\.1\d\d: /);
  const chosen = await lines.next((line) => line.type === 'request' && line.why === 'observe');
  expect(chosen.text).toMatch(/; otherwise: ignored: the client chose another DHCP server \(10\.77\.1\.2\)$/);
  const ack = await lines.next((line) => line.why === 'foreign-reply' && line.type === 'ack');
  expect(ack).toMatchObject({
    mac: MAC1,
    text: expect.stringMatching(/\(ACK 10\.77\.1\.5\d of 10\.77\.1\.2\)$/) as string,
  });
  expect(lines.seen.filter((line) => line.outcome !== undefined && line.outcome !== 'ignore')).toEqual([]);
});

test.skipIf(notRoot)('an address that a machine uses without a lease is not offered, and said', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  const squatter = await bridged('squat');
  await rack.in(squatter, 'ip', ['link', 'set', 'd0', 'address', '52:54:00:00:55:55', 'up']);
  await rack.in(squatter, 'ip', ['address', 'add', '10.77.1.100/24', 'dev', 'd0']);
  const lines = await serve(onBridge(oneWire(), { pools: ['10.77.1.100-10.77.1.101'] }));
  const done = await udhcpc('-r', '10.77.1.100');
  expect(done.stdout).toContain('bound ip=10.77.1.101');
  expect(await lines.next((line) => line.why === 'conflict')).toMatchObject({
    outcome: 'record',
    address: '10.77.1.100',
    text: 'noted: another machine answers for the address; nobody gets it for a minute (10.77.1.100 is at 52:54:00:00:55:55)',
  });
});

test.skipIf(notRoot)(
  'npm dhcp reads our offer; its REQUEST, which names nothing, is ignored with that reason',
  async () => {
    await rack.make(['10.77.1.1/24'], [MAC1]);
    const lines = await serve(oneWire());
    // It can only send by the routing table, and wants a broadcast it can hear.
    const { client } = rack.wires[0]!;
    await rack.in(client, 'ip', ['address', 'add', '10.77.1.250/24', 'dev', 'c0']);
    await rack.in(client, 'ip', ['route', 'add', '255.255.255.255/32', 'dev', 'c0']);
    const dhcp = createRequire(import.meta.url).resolve('dhcp');
    // Version 0.2.20 sends neither option 54 nor 50 (dhcp.js sendRequest, its own TODO), so no server may ACK it.
    const program = `
    const client = require(${JSON.stringify(dhcp)}).createClient({ mac: '${MAC1.replaceAll(':', '-').toUpperCase()}', features: [] });
    client.on('message', (offer) => { console.log(JSON.stringify(offer)); setTimeout(() => process.exit(0), 200); });
    client.listen(68, '0.0.0.0', () => client.sendDiscover());`;
    const done = await rack.in(client, process.execPath, ['-e', program]);
    expect(JSON.parse(done.stdout)).toMatchObject({
      yiaddr: expect.stringMatching(/^10\.77\.1\.1\d\d$/),
      options: { 1: '255.255.255.0', 3: ['10.77.1.1'], 51: 3600, 53: 2, 54: '10.77.1.1' },
    });
    expect(await lines.next((line) => line.type === 'request')).toMatchObject({ why: 'nothing-requested' });
  },
);

test.skipIf(notRoot)('a client that floods is limited, told of once, and others are served meanwhile', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  const lines = await serve(oneWire());
  const { client } = rack.wires[0]!;
  await rack.in(client, 'ip', ['address', 'add', '10.77.1.251/24', 'dev', 'c0']);
  await rack.in(client, 'ip', ['route', 'add', '255.255.255.255/32', 'dev', 'c0']);
  const flood = rack.start(client, process.execPath, [CLIENT, '52:54:00:00:66:66', '10.77.1.251', '10.77.1.1', '500']);
  await once(flood, 'exit');
  await lines.next((line) => line.why === 'flood');
  const done = await udhcpc();
  expect(done.stdout).toMatch(/bound ip=/);
  expect(lines.seen.filter((line) => line.why === 'flood').length).toBe(1);
  const answered = lines.seen.filter((line) => line.mac === '52:54:00:00:66:66' && line.outcome === 'offer').length;
  expect(answered).toBeGreaterThanOrEqual(40);
  expect(answered).toBeLessThan(100);
});
