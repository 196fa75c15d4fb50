// A rack that nobody has named: three machines without node files are discovered, adopted by one command by the switch ports
// that they are plugged into, and boot as what they then are. What explain said before is what the wire then carried.
//
// At most two machines run at a time. About ten minutes under emulation; steps of one story.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { buildImage } from '../../../images/build.io.ts';
import { fetchLoaders } from '../../../images/loaders.io.ts';
import type { Explanation } from '../../../netboot/api/explain.ts';
import type { ArchName } from '../../../netboot/api/explaindhcp.ts';
import type { MachineRow } from '../../../netboot/api/machines.ts';
import type { NodeView } from '../../../netboot/api/nodeview.ts';
import { clientOf } from '../../../netboot/dhcp/clients.ts';
import { macOf, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import {
  cutPower,
  makeRack,
  startNode,
  startSupervise,
  stopRack,
  writeNetbootService,
} from '../../../netboot/lab/rack.io.ts';
import { labNode, type LabNode, tapName } from '../../../netboot/lab/rack.ts';
import { type IpPacket, readTcp, readUdp, type TcpSegment } from '../dhcp/pcap.ts';
import { decoded, repliesExplained, type Reply, replyOnWire, scriptWithoutBoot } from './explained.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ROUSE = join(ROOT, 'bin', 'rouse');
const WAIT = { timeout: 480_000, interval: 2000 };
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

const home = mkdtempSync(join(tmpdir(), 'rouse-new-'));
const places = { configDir: join(home, 'etc'), libDir: join(home, 'lib'), cacheDir, runDir: join(home, 'run') };
const env = { ...process.env, ROUSE_HOME: home, ROUSE_CACHE: cacheDir };
/** Names are the lab's own; the boot server hears of MACs alone. The last one is UEFI, the others' ROM is iPXE. */
const machines: readonly LabNode[] = [1, 2, 3].map((number) => ({
  ...labNode('web', number),
  memoryMiB: 384,
  firmware: number === 3 ? 'uefi' : 'bios',
}));
const ARCH = { bios: 'bios-ipxe', uefi: 'efi-x64' } as const satisfies Record<LabNode['firmware'], ArchName>;
/**
 * DHCP, and of what HTTP answers the segments that begin or end a message: the whole of a script, which is one segment or two
 * (the interface may cut it or not), and little of the layers.
 */
const CAPTURED =
  'udp port 67 or udp port 68 or (tcp src port 8080 and (tcp[((tcp[12] & 0xf0) >> 2):4] = 0x48545450 or tcp[13] & 8 != 0))';
const SCRIPT_BYTES_MAX = 4096;
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
  inSpace('tcpdump', '-i', 'rack0', '-U', '-s', String(SCRIPT_BYTES_MAX), '-w', join(home, 'wire.pcap'), CAPTURED);
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

let explained: Map<MacAddress, Explanation>;
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
  explained = new Map(
    machines.map(({ mac, firmware }) => [
      mac,
      JSON.parse(rouse('explain', mac, '--arch', ARCH[firmware], '--json')) as Explanation,
    ]),
  );
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
  // Not the empty ones by which the server asks who has an address.
  const isDhcp = ({ atMs, toPort }: IpPacket): boolean => atMs >= adoptedAtMs && (toPort === 67 || toPort === 68);
  const packets = readUdp(join(home, 'wire.pcap')).filter(isDhcp);
  /** Exchanges of firmware and loaders: of the system, which asks for no boot program, explain does not speak. */
  const boots = new Set<number>();
  const carried = new Map<MacAddress, Reply[]>();
  for (const { payload, fromPort } of packets) {
    const message = decoded(payload);
    if (fromPort === 68 && clientOf(message).kind !== 'system') boots.add(message.xid);
    const type = messageTypeOf(message);
    const mac = macOf(message);
    if (fromPort !== 67 || mac === undefined || !boots.has(message.xid)) continue;
    expect(['offer', 'ack'], `${mac} ${type}`).toContain(type);
    const replies = carried.get(mac) ?? [];
    const reply = replyOnWire(payload);
    // Whoever asks twice is answered twice; another answer stands in the list and is a difference.
    if (!replies.some((other) => isDeepStrictEqual(other, reply))) carried.set(mac, [...replies, reply]);
  }
  for (const [mac, explanation] of explained) {
    const replies = repliesExplained(explanation);
    // OFFER and ACK to firmware, OFFER and ACK to the loader.
    expect(replies.map(({ type }) => type)).toEqual(['OFFER', 'ACK', 'OFFER', 'ACK']);
    expect(carried.get(mac), mac).toEqual(replies);
  }
  expect(carried.size).toBe(3);
});

test('the scripts that were served are those that explain printed', () => {
  const scripts = scriptsServed(readTcp(join(home, 'wire.pcap')).filter(({ atMs }) => atMs >= adoptedAtMs));
  for (const [mac, explanation] of explained) {
    const [first] = repliesExplained(explanation);
    const own = scripts.filter(({ to }) => `yiaddr ${to}` === first?.lines[0]);
    expect(own.length, mac).toBeGreaterThan(0);
    for (const { text } of own) expect(scriptWithoutBoot(text), mac).toBe(explanation.script);
  }
});

function scriptsServed(segments: readonly TcpSegment[]): { to: string; text: string }[] {
  const textOf = ({ payload }: TcpSegment): string => Buffer.from(payload).toString('latin1');
  return segments.flatMap((segment) => {
    const begin = textOf(segment);
    const [head = '', body = ''] = begin.split('\r\n\r\n', 2);
    if (!head.startsWith('HTTP/1.1 200') || !body.startsWith('#!ipxe')) return [];
    const following = (sequence: number): TcpSegment[] =>
      segments.filter((one) => one.to === segment.to && one.toPort === segment.toPort && one.sequence === sequence);
    // What is sent again, to a machine too slow to confirm it in time, is cut anew.
    if (following(segment.sequence)[0] !== segment) return [];
    const [rest] = following((segment.sequence + segment.payload.length) % 2 ** 32);
    const sizeBytes = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
    const text = body.length < sizeBytes && rest !== undefined ? body + textOf(rest) : body;
    expect(text.length, 'a script is whole in the capture').toBe(sizeBytes);
    return [{ to: segment.to, text }];
  });
}

test('another machine in the place of a node: only the MACs in its file change', async () => {
  const before = readFileSync(join(places.configDir, 'nodes/r1n03.yaml'), 'utf8');
  const spare = '52:54:00:77:00:63';
  expect(rouse('node', 'replace', 'r1n03', '--with', spare)).toContain('10.77.0.13 is free for it');
  const after = readFileSync(join(places.configDir, 'nodes/r1n03.yaml'), 'utf8');
  expect(after).toBe(before.replace(at(1).mac, spare));
  await expect.poll(() => nodeNow('r1n03').macs, WAIT).toEqual([spare]);
});
