// The DHCP server against real clients, in network namespaces: udhcpc and dhclient, on two interfaces at once.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DhcpEvent } from '../../../netboot/dhcp/event.ts';
import type { Lease } from '../../../netboot/store/leases.ts';
import { type Finished, JsonLines, Rack } from './rack.ts';
import type { ServeConfig } from './serve.ts';

type Line = Partial<DhcpEvent> & { ready?: boolean; failed?: string };

const SERVE = new URL('serve.ts', import.meta.url).pathname;
const MAC1 = '52:54:00:77:00:01';
const MAC2 = '52:54:00:77:00:02';

let rack: Rack;
let folder: string;

beforeEach(() => {
  rack = new Rack();
  folder = mkdtempSync(join(tmpdir(), 'rouse-dhcp-'));
  const script =
    '#!/bin/sh\necho "$1 ip=$ip serverid=$serverid router=$router lease=$lease siaddr=$siaddr hostname=$hostname"\n';
  writeFileSync(join(folder, 'udhcpc.sh'), script, { mode: 0o755 });
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

function twoWires(extra: Partial<ServeConfig> = {}): ServeConfig {
  return {
    interfaces: rack.wires.map(({ serverInterface, serverAddress }) => ({
      name: serverInterface,
      address: serverAddress,
    })),
    subnets: rack.wires.map((wire, index) => ({
      name: `rack${index + 1}`,
      interface: wire.serverInterface,
      network: `10.77.${index + 1}.0/24`,
      pools: [`10.77.${index + 1}.100-10.77.${index + 1}.199`],
      router: wire.serverAddress,
    })),
    leaseFile: join(folder, 'leases'),
    ...extra,
  };
}

function udhcpc(wire: number, ...more: string[]): Promise<Finished> {
  const { client } = rack.wires[wire]!;
  return rack.in(client, 'udhcpc', [
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
    ...more,
  ]);
}

/** dhclient to its first lease; it goes to the background then, and is ended by its pid file. */
async function dhclient(wire: number, ...more: string[]): Promise<Finished> {
  const { client } = rack.wires[wire]!;
  const files = ['-lf', join(folder, `dhclient${wire}.leases`), '-pf', join(folder, `dhclient${wire}.pid`)];
  const done = await rack.in(client, 'dhclient', ['-4', '-1', '-v', '-sf', '/bin/true', ...files, ...more, 'c0']);
  await rack.in(client, 'dhclient', ['-4', '-x', '-sf', '/bin/true', ...files, 'c0']);
  return done;
}

/** dhcpcd to its first lease. Its lease, pid and control files are not to meet those of the machine's own. */
function dhcpcd(wire: number): Promise<Finished> {
  const own = 'for d in /var/lib/dhcpcd /run; do mkdir -p $d; mount -t tmpfs none $d; done';
  const command = `${own}; exec dhcpcd -4 -1 -B -A -L -t 15 -c /bin/true c0`;
  return rack.in(rack.wires[wire]!.client, 'sh', ['-c', command]);
}

function leasesOnDisk(): Lease[] {
  const lines = readFileSync(join(folder, 'leases'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Lease);
}

test.skipIf(process.getuid?.() !== 0)('udhcpc gets its reservation, and the lease is on disk', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  const lines = await serve(twoWires({ nodes: { [MAC1]: { name: 'web1', address: '10.77.1.11' } } }));
  const done = await udhcpc(0, '-O', 'hostname');
  expect(done.stdout).toContain('bound ip=10.77.1.11 serverid=10.77.1.1 router=10.77.1.1 lease=3600');
  expect(done.stdout).toContain('hostname=web1');
  const ack = await lines.next((line) => line.outcome === 'ack');
  expect(ack).toMatchObject({ mac: MAC1, address: '10.77.1.11', why: 'reservation', client: 'an operating system' });
  expect(leasesOnDisk()).toMatchObject([{ address: '10.77.1.11', mac: MAC1, state: 'bound', subnet: 'rack1' }]);
});

test.skipIf(process.getuid?.() !== 0)(
  'dhclient, udhcpc and dhcpcd, two at once on two interfaces: each hears its own',
  async () => {
    await rack.make(['10.77.1.1/24', '10.77.2.1/24'], [MAC1, MAC2]);
    const lines = await serve(twoWires());
    const [first, second] = await Promise.all([dhclient(0), udhcpc(1)]);
    expect(first.stderr).toMatch(/bound to 10\.77\.1\.1\d\d/);
    expect(second.stdout).toMatch(/bound ip=10\.77\.2\.1\d\d serverid=10\.77\.2\.1/);
    const [third, fourth] = await Promise.all([udhcpc(0), dhclient(1)]);
    expect(third.stdout).toMatch(/bound ip=10\.77\.1\.1\d\d serverid=10\.77\.1\.1/);
    expect(fourth.stderr).toMatch(/bound to 10\.77\.2\.1\d\d/);
    const [fifth, sixth] = await Promise.all([dhcpcd(0), udhcpc(1)]);
    expect(`${fifth.stdout}${fifth.stderr}`).toMatch(/leased 10\.77\.1\.1\d\d for 3600 seconds/);
    expect(sixth.stdout).toMatch(/bound ip=10\.77\.2\.1\d\d serverid=10\.77\.2\.1/);
    expect(lines.seen.filter((line) => line.outcome === 'nak')).toEqual([]);
    expect(new Set(leasesOnDisk().map(({ subnet, mac }) => `${subnet} ${mac}`))).toEqual(
      new Set([`rack1 ${MAC1}`, `rack2 ${MAC2}`]),
    );
    // Nothing that one segment says is heard on the other's socket.
    expect(new Set(lines.seen.flatMap(({ interfaceName, mac }) => interfaceName && `${interfaceName} ${mac}`))).toEqual(
      new Set([undefined, `v1 ${MAC1}`, `v2 ${MAC2}`]),
    );
  },
);

test.skipIf(process.getuid?.() !== 0)(
  'dhclient renews, asks again after a reboot, and gives its address back',
  async () => {
    await rack.make(['10.77.1.1/24'], [MAC1]);
    const config = twoWires();
    const lines = await serve({ ...config, subnets: config.subnets.map((subnet) => ({ ...subnet, leaseTimeS: 12 })) });
    const { client } = rack.wires[0]!;
    // With an address on the interface (which -sf /bin/true does not set), the renewal is unicast and must be heard there.
    const files = ['-lf', join(folder, 'l'), '-pf', join(folder, 'p')];
    const bound = await rack.in(client, 'dhclient', ['-4', '-1', '-v', '-sf', '/bin/true', ...files, 'c0']);
    const address = /bound to ([\d.]+)/.exec(bound.stderr)?.[1] ?? 'none';
    await rack.in(client, 'ip', ['address', 'add', `${address}/24`, 'dev', 'c0']);
    await lines.next(
      (line) =>
        line.outcome === 'ack' &&
        line.why === 'lease-known' &&
        line.address === address &&
        lines.seen.filter((one) => one.outcome === 'ack').length > 1,
    );
    await rack.in(client, 'dhclient', ['-4', '-x', '-sf', '/bin/true', ...files, 'c0']);
    const again = await rack.in(client, 'dhclient', ['-4', '-1', '-v', '-sf', '/bin/true', ...files, 'c0']);
    expect(again.stderr).toContain(`DHCPREQUEST for ${address} on c0`);
    expect(again.stderr).toContain(`bound to ${address}`);
    await rack.in(client, 'dhclient', ['-4', '-r', '-v', '-sf', '/bin/true', ...files, 'c0']);
    await lines.next((line) => line.outcome === 'record' && line.why === 'released');
    expect(leasesOnDisk().at(-1)).toMatchObject({ address, state: 'released' });
  },
);

test.skipIf(process.getuid?.() !== 0)(
  'an unknown machine is ignored where the subnet says so, with the reason',
  async () => {
    await rack.make(['10.77.1.1/24'], [MAC1]);
    const config = twoWires();
    const lines = await serve({
      ...config,
      subnets: config.subnets.map((one) => ({ ...one, unknown: 'ignore' as const })),
    });
    const done = await udhcpc(0, '-t', '2', '-T', '1');
    expect(done.code).toBe(1);
    const event = await lines.next((line) => line.outcome === 'ignore');
    expect(event.text).toBe(`ignored: no node file names this MAC, and the subnet says unknown: ignore (${MAC1})`);
  },
);

test.skipIf(process.getuid?.() !== 0)('a taken port is one sentence that names the holder', async () => {
  await rack.make(['10.77.1.1/24'], [MAC1]);
  await serve(twoWires());
  const second = new JsonLines<Line>(rack.start(rack.server, process.execPath, [SERVE, JSON.stringify(twoWires())]));
  const { failed } = await second.next((line) => line.failed !== undefined);
  expect(failed).toMatch(
    /^cannot listen on UDP port 67 of v1 \(10\.77\.1\.1\): node \S+ \(pid \d+\) has it; stop it with: (kill \d+|systemctl stop \S+)$/,
  );
});
