// A rack that nobody has named: three machines without node files are discovered, adopted by one command by the switch ports
// that they are plugged into, and boot as what they then are. What explain said before is what the wire then carried.
//
// At most two machines run at a time. About ten minutes under emulation; steps of one story.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseIpv4 } from '../../../formats/ipv4.ts';
import { buildImage } from '../../../images/build.io.ts';
import { fetchLoaders } from '../../../images/loaders.io.ts';
import type { Explanation } from '../../../netboot/api/explain.ts';
import type { MachineRow } from '../../../netboot/api/machines.ts';
import type { NodeView } from '../../../netboot/api/view.ts';
import { decodeMessage, macOf, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import {
  cutPower,
  makeRack,
  startNode,
  startSupervise,
  stopRack,
  writeNetbootService,
} from '../../../netboot/lab/rack.io.ts';
import { labNode, type LabNode, tapName } from '../../../netboot/lab/rack.ts';
import { readUdp } from '../dhcp/pcap.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ROUSE = join(ROOT, 'bin', 'rouse');
const WAIT = { timeout: 480_000, interval: 2000 };
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

const home = mkdtempSync(join(tmpdir(), 'rouse-new-'));
const places = { configDir: join(home, 'etc'), libDir: join(home, 'lib'), cacheDir, runDir: join(home, 'run') };
const env = { ...process.env, ROUSE_HOME: home, ROUSE_CACHE: cacheDir };
/** Names are the lab's own; the boot server hears of MACs alone. */
const machines: readonly LabNode[] = [1, 2, 3].map((number) => ({ ...labNode('web', number), memoryMiB: 384 }));
const children: ChildProcess[] = [];
let namespace = '';

/** Which switch port each machine is plugged into: not in the order of their MACs. */
const PORTS = ['Ethernet3', 'Ethernet10', 'Ethernet1'];
/** A switch: says over each tap, every 5 s, which port that is. LLDP as IEEE 802.1AB has it. */
const SWITCH = `
import socket, struct, sys, time
tlv = lambda kind, value: struct.pack('!H', kind << 9 | len(value)) + value
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
while True:
    for tap, port in zip(sys.argv[1::2], sys.argv[2::2]):
        frame = bytes.fromhex('0180c200000e' + '02000000aa01' + '88cc')
        frame += tlv(1, b'\\x04\\x02\\x00\\x00\\x00\\xaa\\x00') + tlv(2, b'\\x05' + port.encode()) + tlv(3, b'\\x00\\x78')
        frame += tlv(5, b'tor-1') + tlv(0, b'')
        try:
            sender.sendto(frame, (tap, 0))
        except OSError:
            pass
    time.sleep(5)
`;

function rouse(...args: string[]): string {
  return execFileSync(ROUSE, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
const nodeNow = (name: string): NodeView => JSON.parse(rouse('node', 'show', name, '--json')) as NodeView;
const seen = (): MachineRow[] => JSON.parse(rouse('node', 'ls', '--new', '--json')) as MachineRow[];
const start = (machine: LabNode): void =>
  startNode(places, { version: 1, namespace, nodes: machines, accelerator: 'tcg', processes: {} }, machine);
const at = (index: number): LabNode => {
  const machine = machines[index];
  if (machine === undefined) throw new Error(`no machine ${index}`);
  return machine;
};
const inSpace = (...words: string[]): void => {
  const child = spawn('ip', ['netns', 'exec', namespace, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  children.push(child);
};

beforeAll(async () => {
  mkdirSync(join(places.configDir, 'profiles'), { recursive: true });
  mkdirSync(places.runDir, { recursive: true });
  writeFileSync(
    join(places.configDir, 'rouse.yaml'),
    `version: 1
subnets:
  - {name: rack, interface: rack0, network: 10.77.0.0/24, pools: [10.77.0.100-10.77.0.199], unknown: discover}
`,
  );
  // QEMU's own ROM is iPXE: firmware and loader are told apart on the wire where it is made to fetch ours.
  const profile = 'extends: role/web\nloader: undionly\ncmdline: [console=ttyS0, rouse.console=shell]\n';
  writeFileSync(join(places.configDir, 'profiles', 'web.yaml'), profile);
  for (const role of ['discover', 'web']) {
    await buildImage({ roleDirs: [join(ROOT, 'services')], role, libDir: places.libDir, cacheDir });
  }
  await fetchLoaders({ libDir: places.libDir, cacheDir, onProgress: () => undefined });
  ({ namespace } = await makeRack(places, machines, 'tcg'));
  startSupervise(places, ROUSE, writeNetbootService(places, { namespace, rouse: ROUSE, home }), home);
  inSpace(
    'tcpdump',
    '-i',
    'rack0',
    '-U',
    '-s',
    '0',
    '-w',
    join(home, 'wire.pcap'),
    'udp',
    'port',
    '67',
    'or',
    'udp',
    'port',
    '68',
  );
  inSpace('python3', '-c', SWITCH, ...machines.flatMap((_, index) => [tapName(index), PORTS[index] ?? '']));
}, 1_200_000);

afterAll(async () => {
  for (const child of children) child.kill();
  await stopRack(places);
  if (process.env['KEEP'] !== '1') rmSync(home, { recursive: true, force: true });
}, 60_000);

test('machines that no node file names are discovered: hardware, and the switch port', async () => {
  await expect.poll(() => rouse('check'), WAIT).toContain('good');
  await expect.poll(() => readdirSync(places.runDir), WAIT).toContain('netboot.sock');
  start(at(0));
  start(at(1));
  const discovered = () => seen().filter(({ port }) => port !== undefined).length;
  await expect.poll(discovered, WAIT).toBe(2);
  await cutPower(places, at(0).name);
  start(at(2));
  await expect.poll(discovered, WAIT).toBe(3);
  const [found] = seen().filter(({ mac }) => mac === at(0).mac);
  expect(found).toMatchObject({
    macs: [at(0).mac],
    port: { switch: 'tor-1', port: 'Ethernet3', by: 'lldp' },
    said: 'discovered',
    inventory: { firmware: 'bios', secureBoot: false, nics: [{ driver: 'virtio_net', hasLink: true }] },
  });
  expect(found?.inventory?.memoryKb).toBeGreaterThan(250_000);
});

let explained: Map<string, Explanation>;
let adoptedAtMs = 0;

test('one command makes nodes of them, by the ports that they are plugged into', () => {
  const words = ['node', 'adopt', '--new', '--by', 'switch-port', '--name', 'r1n[01-40]', '--profile', 'web'];
  const addresses = ['--address', '10.77.0.[11-50]'];
  const dry = rouse(...words, ...addresses, '--dry-run');
  expect(dry).toContain('3 nodes would be made');
  expect(readdirSync(places.configDir)).not.toContain('nodes');
  expect(rouse(...words, ...addresses)).toContain('3 nodes made');
  adoptedAtMs = Date.now();
  // Ports 1, 3, 10.
  expect(readFileSync(join(places.configDir, 'nodes/r1n01.yaml'), 'utf8')).toContain(at(2).mac);
  expect(readFileSync(join(places.configDir, 'nodes/r1n02.yaml'), 'utf8')).toContain(at(0).mac);
  expect(readFileSync(join(places.configDir, 'nodes/r1n03.yaml'), 'utf8')).toContain(at(1).mac);
  expect(seen()).toEqual([]);
  explained = new Map(machines.map(({ mac }) => [mac, JSON.parse(rouse('explain', mac, '--json')) as Explanation]));
});

test('refused when they renew their address, they boot as what they are', async () => {
  const runs = (name: string): string => nodeNow(name).readiness ?? '';
  await expect.poll(() => [runs('r1n01'), runs('r1n03')], WAIT).toEqual(['ready', 'ready']);
  await cutPower(places, at(1).name);
  start(at(0));
  await expect.poll(() => runs('r1n02'), WAIT).toBe('ready');
  const log = readFileSync(join(places.configDir, 'services/netboot/log/main/current'), 'utf8');
  for (const machine of [at(1), at(2)]) {
    expect(log).toContain(`dhcp: ${machine.mac} NAK: it has become a node since it was given this address`);
  }
});

test('what explain said is what the wire carried, packet by packet', () => {
  const compared = new Map<string, number>();
  for (const { payload, fromPort, atMs } of readUdp(join(home, 'wire.pcap'))) {
    if (fromPort !== 67 || atMs < adoptedAtMs) continue;
    const decoded = decodeMessage(payload);
    if (!decoded.ok) throw new Error(decoded.why);
    const { message } = decoded;
    const mac = macOf(message) ?? '';
    const explanation = explained.get(mac);
    if (explanation === undefined || messageTypeOf(message) !== 'offer') continue;
    // The system asks for no boot program: explain speaks of firmware and loader.
    if (message.file === '' && message.options.bootFile === undefined) continue;
    const { yiaddr, siaddr, options } = message;
    const step = explanation.steps.find(({ lines }) => lines.includes(`bootFile ${options.bootFile}`));
    expect(step?.lines, `${mac} ${options.bootFile}`).toEqual(
      expect.arrayContaining([
        `yiaddr ${yiaddr}`,
        `siaddr ${siaddr}`,
        `vendorClass ${options.vendorClass}`,
        `leaseTimeS ${options.leaseTimeS}`,
        `subnetMask ${options.subnetMask}`,
        `serverIdentifier ${options.serverIdentifier}`,
      ]),
    );
    expect(parseIpv4(yiaddr)).toBeDefined();
    compared.set(mac, (compared.get(mac) ?? 0) + 1);
  }
  // Firmware and loader of each.
  expect([...compared.values()].every((offers) => offers >= 2)).toBe(true);
  expect(compared.size).toBe(3);
});

test('another machine in the place of a node: only the MACs in its file change', async () => {
  const before = readFileSync(join(places.configDir, 'nodes/r1n03.yaml'), 'utf8');
  const spare = '52:54:00:77:00:63';
  expect(rouse('node', 'replace', 'r1n03', '--with', spare)).toContain('10.77.0.13 is free for it');
  const after = readFileSync(join(places.configDir, 'nodes/r1n03.yaml'), 'utf8');
  expect(after).toBe(before.replace(at(1).mac, spare));
  await expect.poll(() => nodeNow('r1n03').macs, WAIT).toEqual([spare]);
});
