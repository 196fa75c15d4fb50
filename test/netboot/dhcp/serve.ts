// test/netboot/dhcp/serve.ts - a DHCP and TFTP server of rouse's parts for a test's namespace, told by one JSON argument.
//
// Prints {"ready": true}, then every event as one line of JSON. Leases live in memory; a commit appends the lease to the
// file `leaseFile` before it resolves, as the store does, so that tests see what was on disk when the ACK left, and a
// server started again knows what the one before had given.

import { appendFileSync, existsSync, fsyncSync, openSync, readFileSync } from 'node:fs';
import { type Ipv4Address, parseIpv4, parseNetwork, parseRange } from '../../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../../formats/mac.ts';
import { LoaderMemory, type LoaderSetting } from '../../../netboot/dhcp/loaders.ts';
import { serveDhcp } from '../../../netboot/dhcp/server.io.ts';
import type { DhcpNode, DhcpSubnet, DhcpWorld } from '../../../netboot/dhcp/world.ts';
import { type Lease, LeaseBook } from '../../../netboot/store/leases.ts';
import { serveTftp } from '../../../netboot/tftp/server.io.ts';
import { Fault } from '../../../formats/errors.ts';

export type ServeConfig = {
  readonly interfaces: readonly { readonly name: string; readonly address: string }[];
  readonly subnets: readonly {
    readonly name: string;
    readonly interface: string;
    readonly network: string;
    readonly pools: readonly string[];
    readonly router?: string;
    readonly leaseTimeS?: number;
    readonly unknown?: DhcpSubnet['unknown'];
    readonly mode?: DhcpSubnet['mode'];
    /** True where it is left out: most tests are not about other servers, and need not wait for the look at them. */
    readonly answerBesideOthers?: boolean;
  }[];
  readonly nodes?: Readonly<Record<string, { readonly name: string; readonly address?: string }>>;
  readonly loader?: LoaderSetting;
  readonly leaseFile?: string;
  /** Text files that TFTP serves. */
  readonly files?: Readonly<Record<string, string>>;
};

const config = JSON.parse(process.argv[2] ?? '{}') as ServeConfig;
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};
const sure = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('the test configuration does not parse');
  return value;
};

const leaseLines =
  config.leaseFile !== undefined && existsSync(config.leaseFile) ? readFileSync(config.leaseFile, 'utf8') : '';
const book = new LeaseBook(leaseLines.split('\n').flatMap((line) => (line === '' ? [] : (JSON.parse(line) as Lease))));
const memory = new LoaderMemory();
const nodes = new Map<MacAddress, DhcpNode>(
  Object.entries(config.nodes ?? {}).map(([mac, { name, address }]) => [
    sure(parseMac(mac)),
    { name, address: address === undefined ? undefined : sure(parseIpv4(address)) },
  ]),
);
const interfaces = config.interfaces.map(({ name, address }) => ({ name, address: sure(parseIpv4(address)) }));
const subnets = config.subnets.map((one) => ({
  interfaceName: one.interface,
  subnet: {
    name: one.name,
    network: sure(parseNetwork(one.network)),
    pools: one.pools.map((pool) => sure(parseRange(pool))),
    router: one.router === undefined ? undefined : sure(parseIpv4(one.router)),
    reservations: [],
    dns: [],
    leaseTimeS: one.leaseTimeS ?? 3600,
    unknown: one.unknown ?? 'default',
    mode: one.mode ?? 'dhcp',
    answerBesideOthers: one.answerBesideOthers ?? true,
  } satisfies DhcpSubnet,
}));
const nowS = (): number => Math.floor(Date.now() / 1000);
const world = (interfaceName: string): DhcpWorld => {
  const serverAddress = sure(interfaces.find(({ name }) => name === interfaceName)).address;
  return {
    serverAddress,
    subnets: subnets.filter((one) => one.interfaceName === interfaceName).map(({ subnet }) => subnet),
    nodeByMac: (mac) => nodes.get(mac),
    nodeByAddress: (address: Ipv4Address) => [...nodes.values()].find((node) => node.address === address),
    leases: book,
    bootPolicy: () => ({ kind: 'boot', loader: config.loader ?? 'auto', httpBase: `http://${serverAddress}:8080` }),
    loaderFetchedRecently: (mac) => memory.fetchedRecently(mac, nowS()),
    nowS: nowS(),
  };
};
const disk = config.leaseFile === undefined ? undefined : openSync(config.leaseFile, 'a');

try {
  for (const one of interfaces) {
    await serveDhcp({
      served: { ...one, mac: parseMac(readFileSync(`/sys/class/net/${one.name}/address`, 'utf8').trim()) },
      world: () => world(one.name),
      isOwn: (address) => interfaces.some((each) => each.address === address),
      hold: (lease) => book.put(lease),
      commit: async (lease) => {
        book.put(lease);
        if (disk === undefined) return;
        appendFileSync(disk, `${JSON.stringify(lease)}\n`);
        fsyncSync(disk);
      },
      onEvent: say,
      log: (log) => say({ log }),
    });
  }
  const files = new Map(
    Object.entries(config.files ?? {}).map(([name, text]) => [name, new TextEncoder().encode(text)]),
  );
  await serveTftp({
    interfaces,
    files: (name) => {
      const content = files.get(name);
      return content === undefined ? { kind: 'refuse', why: `no boot plan names ${name}` } : { kind: 'file', content };
    },
    onEvent: (event) => {
      if (event.kind === 'ended' && (event.outcome === 'complete' || event.outcome === 'unconfirmed')) {
        const mac = book.byAddress(event.peer.address)?.mac;
        if (mac !== undefined) memory.loaderFetched(mac, nowS());
      }
      say(event);
    },
  });
  say({ ready: true });
} catch (thrown) {
  say({ failed: thrown instanceof Fault ? thrown.message : String(thrown) });
  process.exit(1);
}
