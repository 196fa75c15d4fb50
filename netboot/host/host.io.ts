// netboot/host/host.io.ts - looking at this machine: its interfaces, ports, firewall, disks, clock, package archive.
//
// Owns: finding out. Does not own what is bad (doctor.ts), what other DHCP servers answer (segments.io.ts), what is written
// (setup.ts). Nothing is changed, and whatever cannot be found out is told with its reason.

import { access, constants, mkdtemp, readdir, readFile, rm, stat, statfs } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { type Ipv4Address, ipv4FromNumber, ipv4ToNumber, parseIpv4, parseNetwork } from '../../formats/ipv4.ts';
import { renderProblem } from '../../formats/yaml/document.ts';
import { keyMode } from '../../images/keys.io.ts';
import { askHealth } from '../api/client.io.ts';
import { PROXY_PORT, SERVER_PORT } from '../dhcp/destination.ts';
import { hostAddresses } from '../listen.io.ts';
import { isPortTaken, portTaken } from '../ports.ts';
import { portHolder } from '../ports.io.ts';
import { readSite } from '../site/load.io.ts';
import type { SitePlaces } from '../site/load.io.ts';
import { DEFAULT_HTTP_PORT } from '../site/schema.ts';
import { TFTP_PORT } from '../tftp/packet.ts';
import { servedInterfaces } from '../world.ts';
import { type Asked, type DoctorFacts, judgeInputRules, judgeRuleset, mostMachines, overflowsIn } from './doctor.ts';
import { lookAtSegments } from './segments.io.ts';
import type { HostFacts, HostInterface } from './setup.ts';

export type HostPlaces = SitePlaces & { readonly runDir: string; readonly cacheDir: string };

/** Bridges of containers, tunnels, ends of virtual pairs, by the names that their makers give them. */
const NO_WIRE = /^(docker|br-|virbr|veth|cni|flannel|tun|tap|wg|podman)/;
const ARCHIVE_TIMEOUT_MS = 8000;

/** Interfaces with an IPv4 address, the default route's next hop, and the resolvers. */
export async function lookAtHost(): Promise<HostFacts> {
  const interfaces: HostInterface[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { family, address, cidr, internal } of addresses ?? []) {
      const parsed = parseIpv4(address);
      const prefix = Number(cidr?.split('/')[1] ?? 32);
      if (family !== 'IPv4' || internal || parsed === undefined || prefix < 8 || prefix > 30) continue;
      const mask = (0xffffffff << (32 - prefix)) >>> 0;
      const network = parseNetwork(`${ipv4FromNumber((ipv4ToNumber(parsed) & mask) >>> 0)}/${prefix}`);
      if (network === undefined) continue;
      interfaces.push({ name, address: parsed, network, isWire: !NO_WIRE.test(name) });
    }
  }
  const resolv = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  const dns = resolv.split('\n').flatMap((line) => parseIpv4(/^nameserver\s+(\S+)/.exec(line)?.[1] ?? '') ?? []);
  // A resolver on the loopback is nobody's but this machine's.
  return { interfaces, router: await defaultRouter(), dns: dns.filter((one) => !one.startsWith('127.')).slice(0, 8) };
}

/** /proc/net/route: addresses as 8 hexadecimal digits in the machine's byte order. */
async function defaultRouter(): Promise<Ipv4Address | undefined> {
  const table = await readFile('/proc/net/route', 'utf8').catch(() => '');
  for (const line of table.split('\n').slice(1)) {
    const [, destination, gateway = ''] = line.split('\t');
    if (destination !== '00000000' || !/^[0-9A-F]{8}$/.test(gateway) || gateway === '00000000') continue;
    return parseIpv4(
      (gateway.match(/../g) ?? [])
        .reverse()
        .map((pair) => Number.parseInt(pair, 16))
        .join('.'),
    );
  }
  return undefined;
}

/** @param isQuick leaves out what takes seconds: the segments' other servers and the archive. */
export async function examine(places: HostPlaces, isQuick: boolean): Promise<DoctorFacts> {
  const result = await readSite(places);
  const site = result.ok ? result.site : undefined;
  const httpPort = site?.rouse.http.port ?? DEFAULT_HTTP_PORT;
  const server = await askServer(places.runDir);
  const served = site === undefined ? undefined : servedInterfaces(site, hostAddresses());
  const [problem] = result.ok ? [] : result.problems;
  const slow = Promise.all([
    site === undefined ? [] : lookAtSegments(site, server.others, isQuick),
    isQuick ? undefined : lookAtArchive(),
  ]);
  const [segments, archive] = await slow;
  return {
    config: {
      problem: problem === undefined ? undefined : renderProblem(problem),
      warnings: result.ok ? result.warnings.map(renderProblem) : [],
    },
    server: server.facts,
    takenPorts: server.facts.isRunning ? [] : await takenPorts(httpPort),
    // A boot server that runs knows its own, which may lie in another network namespace than this command.
    missingInterfaces: server.facts.isRunning ? server.facts.waiting : (served?.waiting ?? []),
    keyMode: await keyMode(places.libDir),
    firewall: await lookAtFirewall({
      ports: servedPorts(httpPort),
      interfaces: [...new Set(site?.subnets.map((subnet) => subnet.interface))],
    }),
    segments,
    disks: await Promise.all([places.libDir, places.cacheDir].map(lookAtDisk)),
    clock: await lookAtClock(places),
    archive,
    loaders: await readdir(join(places.libDir, 'loaders')).catch(() => []),
    neighbours: await lookAtNeighbours(site === undefined ? 0 : mostMachines(site)),
  };
}

async function askServer(
  runDir: string,
): Promise<{ facts: DoctorFacts['server']; others: ReadonlyMap<string, readonly Ipv4Address[]> }> {
  try {
    const health = await askHealth(runDir);
    const { store, config, waiting } = health;
    const others = new Map(
      health.serving.map(({ name, otherServers }) => [name, otherServers.flatMap((one) => parseIpv4(one) ?? [])]),
    );
    return { facts: { isRunning: true, store, config, waiting }, others };
  } catch (error) {
    const why = error instanceof Fault ? (error.facts.why ?? error.message) : reasonOf(error);
    return { facts: { isRunning: false, why }, others: new Map() };
  }
}

/** 4011 in every mode: EFI may ask there once it has its address, and mode: proxy sends it there. */
function servedPorts(httpPort: number): Asked['ports'] {
  return [
    { protocol: 'udp', port: SERVER_PORT },
    { protocol: 'udp', port: TFTP_PORT },
    { protocol: 'udp', port: PROXY_PORT },
    { protocol: 'tcp', port: httpPort },
  ];
}

async function takenPorts(httpPort: number): Promise<DoctorFacts['takenPorts']> {
  const taken: { port: string; why: string; todo: string }[] = [];
  for (const { protocol, port } of servedPorts(httpPort)) {
    const table = await readFile(`/proc/net/${protocol}`, 'utf8').catch(() => '');
    if (!isPortTaken(table, protocol, port)) continue;
    taken.push({ port: `${protocol.toUpperCase()} ${port}`, ...portTaken(port, await portHolder(protocol, port)) });
  }
  return taken;
}

/** Of the whole machine: the kernel shows the limit in its first network namespace alone. */
async function lookAtNeighbours(machines: number): Promise<DoctorFacts['neighbours']> {
  const limit = await readFile('/proc/sys/net/ipv4/neigh/default/gc_thresh3', 'utf8').catch(() => undefined);
  if (limit === undefined) return undefined;
  const table = await readFile('/proc/net/stat/arp_cache', 'utf8').catch(() => '');
  return { most: Number(limit), overflows: overflowsIn(table), machines };
}

async function lookAtFirewall(asked: Asked): Promise<DoctorFacts['firewall']> {
  const nft = await execa('nft', ['-j', 'list', 'ruleset'], { reject: false, stdin: 'ignore', maxBuffer: 16_000_000 });
  if (!nft.failed) {
    try {
      return judgeRuleset(JSON.parse(nft.stdout), asked);
    } catch (error) {
      return { kind: 'unknown', why: reasonOf(error) };
    }
  }
  const old = await execa('iptables', ['-S', 'INPUT'], { reject: false, stdin: 'ignore' });
  if (old.code === 'ENOENT' && nft.code === 'ENOENT') {
    // Without either tool nobody made rules here, unless another program speaks netlink itself.
    return { kind: 'unknown', why: 'neither nft nor iptables is here to ask' };
  }
  if (old.failed) return { kind: 'unknown', why: `nft: ${wordsOf(nft)}` };
  return judgeInputRules(old.stdout, asked);
}

/** What a program that failed said first of its failure. */
function wordsOf({
  stderr,
  shortMessage = 'it failed',
}: {
  stderr?: string | undefined;
  shortMessage?: string | undefined;
}): string {
  const lines = (stderr ?? '').split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => line.startsWith('E:')) ?? lines[0] ?? shortMessage;
}

/** Of the folder, or of the nearest one above it that is there. */
async function lookAtDisk(path: string): Promise<DoctorFacts['disks'][number]> {
  for (let at = path; ; at = join(at, '..')) {
    const free = await statfs(at).catch(() => undefined);
    if (free === undefined && at !== '/') continue;
    const isWritable = await access(at, constants.W_OK).then(
      () => true,
      () => false,
    );
    return { path: at, freeBytes: free === undefined ? 0 : free.bavail * free.bsize, isWritable };
  }
}

async function lookAtClock({ libDir, configDir }: HostPlaces): Promise<DoctorFacts['clock']> {
  const files = [join(libDir, 'store.sqlite'), join(libDir, 'last-good.json'), join(configDir, 'rouse.yaml')];
  const times = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  const asked = await execa('timedatectl', ['show', '-p', 'NTPSynchronized', '--value'], {
    reject: false,
    stdin: 'ignore',
  });
  const said = asked.failed ? '' : asked.stdout.trim();
  const isSynchronized = said === 'yes' ? true : said === 'no' ? false : 'unknown';
  return { nowMs: Date.now(), newestFileMs: Math.max(...times), isSynchronized };
}

/** One small file of each source, fetched as apt would: through its proxy, with its credentials. */
async function lookAtArchive(): Promise<DoctorFacts['archive']> {
  const listed = await execa('apt-get', ['-q', '--print-uris', 'update'], { reject: false, stdin: 'ignore' });
  if (listed.failed)
    return {
      isReachable: false,
      why: listed.code === 'ENOENT' ? 'apt-get is not on this machine' : wordsOf(listed),
    };
  const uris = [...listed.stdout.matchAll(/^'([^']*\/InRelease)'/gm)].map((match) => match[1] ?? '');
  if (uris.length === 0) return { isReachable: false, why: 'no source of packages is named' };
  const folder = await mkdtemp(join(tmpdir(), 'rouse-doctor-'));
  try {
    for (const [index, uri] of uris.entries()) {
      const target = join(folder, String(index));
      const got = await execa('/usr/lib/apt/apt-helper', ['download-file', uri, target], {
        reject: false,
        stdin: 'ignore',
        timeout: ARCHIVE_TIMEOUT_MS,
      });
      if (got.failed) {
        return { isReachable: false, why: wordsOf(got) };
      }
    }
    return { isReachable: true, why: `${uris.length} sources of packages answer` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
