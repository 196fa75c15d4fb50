// explain beside the wire, packet by packet: what firmware and loaders sent when they were captured is sent to a boot server,
// and every OFFER, every ACK and the script are what explain had printed before. discover.rack.test.ts has the machines themselves.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { IPV4_ANY } from '../../../formats/ipv4.ts';
import { macToOctets } from '../../../formats/mac.ts';
import type { Explanation } from '../../../netboot/api/explain.ts';
import type { ArchName } from '../../../netboot/api/explaindhcp.ts';
import { clientOf } from '../../../netboot/dhcp/clients.ts';
import { type DhcpMessage, encodeMessage, MESSAGE_TYPES, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import { ip, mac } from '../dhcp/messages.ts';
import { readUdp } from '../dhcp/pcap.ts';
import { JsonLines, Rack } from '../dhcp/rack.ts';
import { publishImage, writeTree } from '../home.ts';
import { decoded, repliesExplained, replyOnWire, scriptWithoutBoot } from './explained.ts';

const CAPTURES = new URL('../../fixtures/captures', import.meta.url).pathname;

/** Each machine is on a wire of its kind: on the first rouse gives the addresses, on the second another server would. */
const MACHINES = {
  web1: { mac: '52:54:00:77:00:01', wire: 0 },
  unbuilt1: { mac: '52:54:00:77:00:02', wire: 0 },
  grub1: { mac: '52:54:00:77:00:03', wire: 0 },
  linux1: { mac: '52:54:00:77:00:04', wire: 0 },
  stranger: { mac: '52:54:00:77:00:99', wire: 0 },
  proxied1: { mac: '52:54:00:77:00:21', wire: 1 },
} as const satisfies Record<string, { mac: string; wire: number }>;
type Machine = keyof typeof MACHINES;
const PROXIED = '10.77.2.11';

type Client = {
  readonly space: string;
  readonly server: string;
  readonly child: ReturnType<Rack['start']>;
  readonly heard: JsonLines<{ ready?: boolean; packet?: string }>;
};

let rack: Rack;
let home: string;
const clients: Client[] = [];
let log = '';

beforeAll(async () => {
  rack = new Rack();
  home = mkdtempSync(join(tmpdir(), 'rouse-explain-'));
  writeTree(home, {
    'etc/rouse.yaml': `version: 1
subnets:
  - name: rack1
    interface: v1
    network: 10.77.1.0/24
    pools: [10.77.1.100-10.77.1.150]
    answerBesideOthers: true
    unknown: default
    router: 10.77.1.254
    dns: [10.77.1.53]
  - name: rack2
    interface: v2
    network: 10.77.2.0/24
    mode: proxy
defaultProfile: web
`,
    'etc/profiles/web.yaml': 'image: web\ncmdline: [quiet]\n',
    'etc/profiles/unbuilt.yaml': 'image: unbuilt\n',
    'etc/nodes/web1.yaml': `macs: [${MACHINES.web1.mac}]\nprofile: web\naddress: 10.77.1.11\nloader: undionly\n`,
    'etc/nodes/unbuilt1.yaml': `macs: [${MACHINES.unbuilt1.mac}]\nprofile: unbuilt\naddress: 10.77.1.12\n`,
    'etc/nodes/grub1.yaml': `macs: [${MACHINES.grub1.mac}]\nprofile: web\naddress: 10.77.1.13\nloader: shim\n`,
    'etc/nodes/linux1.yaml': `macs: [${MACHINES.linux1.mac}]\nprofile: web\naddress: 10.77.1.14\nloader: lpxelinux\n`,
    'etc/nodes/proxied1.yaml': `macs: [${MACHINES.proxied1.mac}]\nprofile: web\naddress: ${PROXIED}\n`,
    'services/unbuilt/recipe.yaml': 'description: never built\n',
    ...Object.fromEntries(
      ['undionly.kpxe', 'snponly.efi', 'snponly-arm64.efi', 'shimx64.efi', 'lpxelinux.0'].map((file) => [
        `lib/loaders/${file}`,
        file,
      ]),
    ),
  });
  publishImage(join(home, 'lib'), 'web');
  await rack.make(['10.77.1.1/24', '10.77.2.1/24'], [MACHINES.web1.mac, MACHINES.proxied1.mac]);
  const server = rack.start(rack.server, process.execPath, [join(import.meta.dirname, '../run-netboot.ts'), home]);
  server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  for (let tries = 0; tries < 600 && !log.includes('serving DHCP'); tries += 1) await sleep(100);
  for (const [index, { client: space, serverAddress }] of rack.wires.entries()) {
    const own = index === 0 ? '10.77.1.250' : PROXIED;
    await rack.in(space, 'ip', ['address', 'add', `${own}/24`, 'dev', 'c0']);
    const args = [join(import.meta.dirname, '../dhcp/replay-client.ts'), own, serverAddress];
    const child = rack.start(space, process.execPath, args);
    const heard: Client['heard'] = new JsonLines(child);
    await heard.next(({ ready }) => ready === true);
    clients.push({ space, server: serverAddress, child, heard });
  }
});
afterAll(async () => {
  await rack.take();
  rmSync(home, { recursive: true, force: true });
});

const explained = (machine: Machine, arch: ArchName): Explanation =>
  JSON.parse(
    execFileSync('curl', [
      '-sSf',
      '--unix-socket',
      join(home, 'run/netboot.sock'),
      `http://rouse/v1/explain?mac=${MACHINES[machine].mac}&arch=${arch}`,
    ]).toString(),
  ) as Explanation;

/** What one kind of client sent: a capture, and the client's kind in it. */
type Captured = readonly [file: string, kind: 'pxe' | 'http' | 'ipxe', architecture?: number];

/** The first DISCOVER or REQUEST of a kind of client in a capture. */
function captured([file, kind, architecture]: Captured, type: 'discover' | 'request'): DhcpMessage | undefined {
  const found = readUdp(join(CAPTURES, `${file}.pcap`))
    .filter(({ toPort }) => toPort === 67)
    .map(({ payload }) => decoded(payload))
    .find((message) => messageTypeOf(message) === type && clientOf(message).kind === kind);
  if (found === undefined || architecture === undefined) return found;
  const vendorClass = `PXEClient:Arch:${String(architecture).padStart(5, '0')}:UNDI:003000`;
  return { ...found, options: { ...found.options, clientArchitectures: [architecture], vendorClass } };
}

function clientOfMachine(machine: Machine): Client {
  const client = clients[MACHINES[machine].wire];
  if (client === undefined) throw new Error(`no client for ${machine}`);
  return client;
}

let lastXid = 0;

async function say(machine: Machine, message: DhcpMessage, port: 67 | 4011 = 67): Promise<Uint8Array> {
  lastXid += 1;
  const xid = lastXid;
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(mac(MACHINES[machine].mac)));
  const { child, heard } = clientOfMachine(machine);
  child.stdin?.write(`${port} ${Buffer.from(encodeMessage({ ...message, xid, chaddr }, 1472)).toString('hex')}\n`);
  const fits = ({ packet }: { packet?: string }): boolean => packet?.slice(8, 16) === xid.toString(16).padStart(8, '0');
  const { packet = '' } = await heard.next(fits);
  return Buffer.from(packet, 'hex');
}

/** DISCOVER and REQUEST as they were captured; in the REQUEST what the OFFER says is put in. @returns the replies. */
async function exchange(machine: Machine, who: Captured): Promise<Uint8Array[]> {
  const discover = captured(who, 'discover');
  if (discover === undefined) throw new Error(`${who[0]} has no DISCOVER`);
  const offered = await say(machine, discover);
  const { yiaddr, options } = decoded(offered);
  // A capture in which nobody answered has no REQUEST: it is the DISCOVER with another type.
  const request = captured(who, 'request') ?? discover;
  const messageType = MESSAGE_TYPES.request;
  if (yiaddr !== IPV4_ANY) {
    const said = { messageType, serverIdentifier: options.serverIdentifier, requestedAddress: yiaddr };
    return [offered, await say(machine, { ...request, options: { ...request.options, ...said } })];
  }
  // Firmware that finds no option 43 asks port 4011 with the address that it has by then; all else takes the offer.
  if (clientOf(discover).kind !== 'pxe' || options.vendorInformation !== undefined) return [offered];
  const { serverIdentifier: _, requestedAddress: __, ...asked } = request.options;
  const asking = { ...request, ciaddr: ip(PROXIED), options: { ...asked, messageType } };
  return [offered, await say(machine, asking, 4011)];
}

async function fetched(space: string, from: string, url: string): Promise<string> {
  const { code, stdout, stderr } = await rack.in(space, 'curl', ['-sSf', '--interface', from, '-m', '20', url]);
  if (code !== 0) throw new Error(`${url}: ${stderr}\n${log}`);
  return stdout;
}

const OVMF: Captured = ['O-ovmf-ipxe-chain', 'pxe'];
/** No PXE ROM is among the captures: OVMF's packets, said to be a BIOS. */
const BIOS: Captured = ['O-ovmf-ipxe-chain', 'pxe', 0];
const IPXE_EFI: Captured = ['O-ovmf-ipxe-chain', 'ipxe'];
const IPXE_BIOS: Captured = ['Q1-bios-ipxe-plain', 'ipxe'];

type Row = {
  readonly machine: Machine;
  readonly arch: ArchName;
  readonly firmware: Captured;
  /** What is asked by the loader that it fetches; undefined where it has its script's name from the first exchange. */
  readonly loader?: Captured;
  /** Where a loader that is no iPXE looks for its script. */
  readonly scriptPath?: string;
};

const ROWS: readonly Row[] = [
  { machine: 'web1', arch: 'bios', firmware: BIOS, loader: IPXE_BIOS },
  { machine: 'web1', arch: 'bios-ipxe', firmware: IPXE_BIOS, loader: IPXE_BIOS },
  {
    machine: 'web1',
    arch: 'efi-arm64',
    firmware: ['P-arm64-silent', 'pxe'],
    loader: ['O-ovmf-ipxe-chain', 'ipxe', 11],
  },
  { machine: 'stranger', arch: 'efi-x64', firmware: OVMF, loader: IPXE_EFI },
  { machine: 'stranger', arch: 'efi-x64-http', firmware: ['J2-http-boot', 'http'], loader: IPXE_EFI },
  { machine: 'stranger', arch: 'bios-ipxe', firmware: IPXE_BIOS },
  { machine: 'unbuilt1', arch: 'efi-x64', firmware: OVMF, loader: IPXE_EFI },
  { machine: 'grub1', arch: 'efi-x64', firmware: OVMF, scriptPath: '/grub/52:54:00:77:00:03.cfg' },
  { machine: 'linux1', arch: 'bios', firmware: BIOS, scriptPath: '/pxelinux.cfg/01-52-54-00-77-00-04' },
  { machine: 'proxied1', arch: 'efi-x64', firmware: ['F-proxy-no43-4011ans', 'pxe'], loader: IPXE_EFI },
  { machine: 'proxied1', arch: 'bios', firmware: BIOS, loader: IPXE_BIOS },
];

test.each(ROWS)('$machine as $arch', async ({ machine, arch, firmware, loader, scriptPath }) => {
  const before = explained(machine, arch);
  const { space, server } = clientOfMachine(machine);
  const packets = await exchange(machine, firmware);
  const given = decoded(packets.at(-1) ?? new Uint8Array());
  const isGiven = given.yiaddr !== IPV4_ANY;
  const own = isGiven ? given.yiaddr : PROXIED;
  if (isGiven) await rack.in(space, 'ip', ['address', 'add', `${own}/24`, 'dev', 'c0']);
  let file = given.options.bootFile ?? '';
  if (!file.includes('/ipxe/')) await fetched(space, own, file.includes('://') ? file : `tftp://${server}/${file}`);
  if (loader !== undefined) {
    packets.push(...(await exchange(machine, loader)));
    file = decoded(packets.at(-1) ?? new Uint8Array()).options.bootFile ?? '';
  }
  const script = await fetched(space, own, scriptPath === undefined ? file : `tftp://${server}/${scriptPath}`);
  if (isGiven) await rack.in(space, 'ip', ['address', 'delete', `${own}/24`, 'dev', 'c0']);
  expect(packets.map(replyOnWire)).toEqual(repliesExplained(before));
  expect(scriptWithoutBoot(script)).toBe(before.script);
  if (scriptPath !== undefined)
    expect(before.steps.map(({ answer }) => answer)).toContain(`asked for as ${scriptPath}`);
});
