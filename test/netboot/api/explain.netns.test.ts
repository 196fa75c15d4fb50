// explain beside the wire, packet by packet: what firmware and loaders sent when they were captured is sent to a boot server,
// and every OFFER, every ACK and the script are what explain had printed before. discover.rack.test.ts has the machines themselves.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { macToOctets } from '../../../formats/mac.ts';
import type { Explanation } from '../../../netboot/api/explain.ts';
import type { ArchName } from '../../../netboot/api/explaindhcp.ts';
import { clientOf } from '../../../netboot/dhcp/clients.ts';
import { type DhcpMessage, encodeMessage, MESSAGE_TYPES, messageTypeOf } from '../../../netboot/dhcp/message.ts';
import { mac } from '../dhcp/messages.ts';
import { readUdp } from '../dhcp/pcap.ts';
import { JsonLines, Rack } from '../dhcp/rack.ts';
import { publishImage, writeTree } from '../home.ts';
import { decoded, repliesExplained, type Reply, replyOnWire, scriptWithoutBoot } from './explained.ts';

const CAPTURES = new URL('../../fixtures/captures', import.meta.url).pathname;
const OWN = '10.77.1.250';
const SERVER = '10.77.1.1';

const MACS = {
  web1: '52:54:00:77:00:01',
  unbuilt1: '52:54:00:77:00:02',
  grub1: '52:54:00:77:00:03',
  stranger: '52:54:00:77:00:99',
} as const;
type Machine = keyof typeof MACS;

let rack: Rack;
let home: string;
let client: ReturnType<Rack['start']>;
let heard: JsonLines<{ ready?: boolean; packet?: string }>;
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
defaultProfile: web
`,
    'etc/profiles/web.yaml': 'image: web\ncmdline: [quiet]\n',
    'etc/profiles/unbuilt.yaml': 'image: unbuilt\n',
    'etc/nodes/web1.yaml': `macs: [${MACS.web1}]\nprofile: web\naddress: 10.77.1.11\nloader: undionly\n`,
    'etc/nodes/unbuilt1.yaml': `macs: [${MACS.unbuilt1}]\nprofile: unbuilt\naddress: 10.77.1.12\n`,
    'etc/nodes/grub1.yaml': `macs: [${MACS.grub1}]\nprofile: web\naddress: 10.77.1.13\nloader: shim\n`,
    'services/unbuilt/recipe.yaml': 'description: never built\n',
    ...Object.fromEntries(
      ['undionly.kpxe', 'snponly.efi', 'snponly-arm64.efi', 'shimx64.efi'].map((file) => [`lib/loaders/${file}`, file]),
    ),
  });
  publishImage(join(home, 'lib'), 'web');
  await rack.make([`${SERVER}/24`], [MACS.web1]);
  const space = rack.wires[0]?.client ?? '';
  await rack.in(space, 'ip', ['address', 'add', `${OWN}/24`, 'dev', 'c0']);
  const server = rack.start(rack.server, process.execPath, [join(import.meta.dirname, '../run-netboot.ts'), home]);
  server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  for (let tries = 0; tries < 600 && !log.includes('serving DHCP'); tries += 1) await sleep(100);
  client = rack.start(space, process.execPath, [join(import.meta.dirname, '../dhcp/replay-client.ts'), OWN]);
  heard = new JsonLines(client);
  await heard.next(({ ready }) => ready === true);
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
      `http://rouse/v1/explain?mac=${MACS[machine]}&arch=${arch}`,
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

let lastXid = 0;

async function say(machine: Machine, message: DhcpMessage): Promise<Uint8Array> {
  lastXid += 1;
  const xid = lastXid;
  const chaddr = new Uint8Array(16);
  chaddr.set(macToOctets(mac(MACS[machine])));
  client.stdin?.write(`${Buffer.from(encodeMessage({ ...message, xid, chaddr }, 1472)).toString('hex')}\n`);
  const fits = ({ packet }: { packet?: string }): boolean => packet?.slice(8, 16) === xid.toString(16).padStart(8, '0');
  const { packet = '' } = await heard.next(fits);
  return Buffer.from(packet, 'hex');
}

/** DISCOVER and REQUEST as they were captured; in the REQUEST what the OFFER says is put in. */
async function exchange(machine: Machine, who: Captured): Promise<{ replies: Reply[]; ack: DhcpMessage }> {
  const discover = captured(who, 'discover');
  if (discover === undefined) throw new Error(`${who[0]} has no DISCOVER`);
  const offered = await say(machine, discover);
  const offer = decoded(offered);
  // A capture in which nobody answered has no REQUEST: it is the DISCOVER with another type.
  const request = captured(who, 'request') ?? discover;
  const { serverIdentifier } = offer.options;
  const said = { messageType: MESSAGE_TYPES.request, serverIdentifier, requestedAddress: offer.yiaddr };
  const acknowledged = await say(machine, { ...request, options: { ...request.options, ...said } });
  return { replies: [replyOnWire(offered), replyOnWire(acknowledged)], ack: decoded(acknowledged) };
}

async function fetched(from: string, url: string): Promise<string> {
  const { code, stdout, stderr } = await rack.in(rack.wires[0]?.client ?? '', 'curl', [
    '-sSf',
    '--interface',
    from,
    '-m',
    '20',
    url,
  ]);
  if (code !== 0) throw new Error(`${url}: ${stderr}\n${log}`);
  return stdout;
}

const OVMF: Captured = ['O-ovmf-ipxe-chain', 'pxe'];
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
  // What BIOS ROMs ask for is what EDK2 does: no such ROM is among the captures.
  { machine: 'web1', arch: 'bios', firmware: ['O-ovmf-ipxe-chain', 'pxe', 0], loader: IPXE_BIOS },
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
];

test.each(ROWS)('$machine as $arch', async ({ machine, arch, firmware, loader, scriptPath }) => {
  const before = explained(machine, arch);
  const space = rack.wires[0]?.client ?? '';
  const first = await exchange(machine, firmware);
  const address = first.ack.yiaddr;
  const replies = [...first.replies];
  await rack.in(space, 'ip', ['address', 'add', `${address}/24`, 'dev', 'c0']);
  let file = first.ack.options.bootFile ?? '';
  if (!file.includes('/ipxe/')) await fetched(address, file.includes('://') ? file : `tftp://${SERVER}/${file}`);
  if (loader !== undefined) {
    const second = await exchange(machine, loader);
    replies.push(...second.replies);
    file = second.ack.options.bootFile ?? '';
  }
  const script = await fetched(address, scriptPath === undefined ? file : `tftp://${SERVER}/${scriptPath}`);
  await rack.in(space, 'ip', ['address', 'delete', `${address}/24`, 'dev', 'c0']);
  expect(replies).toEqual(repliesExplained(before));
  expect(scriptWithoutBoot(script)).toBe(before.script);
  if (scriptPath !== undefined)
    expect(before.steps.map(({ answer }) => answer)).toContain(`asked for as ${scriptPath}`);
});
