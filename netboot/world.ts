// netboot/world.ts - the site, the leases and the images as DHCP and HTTP see them.
//
// Owns: filling in the worlds of dhcp/decide.ts and http/route.ts from plain data, so that the daemon and `rouse explain`
// ask exactly the same. Does not own the decisions. Pure.

import { type Ipv4Address, isHostAddress, networkContains } from '../formats/ipv4.ts';
import type { MacAddress } from '../formats/mac.ts';
import { layerFile } from '../images/manifest.ts';
import { type BootPolicy, loaderFiles } from './dhcp/loaders.ts';
import type { DhcpNode, DhcpWorld } from './dhcp/world.ts';
import type { HttpWorld, NamedFile } from './http/route.ts';
import { isAlive, type LeaseLookup } from './store/leases.ts';
import type { StoredBoot } from './store/records.ts';
import { type BootPlan, matchMachine, type PlanTarget } from './site/plan.ts';
import type { Subnet } from './site/schema.ts';
import type { Images, Site, SiteNode } from './site/site.ts';

export type DhcpFacts = {
  readonly site: Site;
  readonly interfaceName: string;
  readonly serverAddress: Ipv4Address;
  readonly leases: LeaseLookup;
  readonly loaderFetchedRecently: (mac: MacAddress) => boolean;
  /** How many rungs of the loaders' ladder have failed for a machine. */
  readonly rung: (mac: MacAddress) => number;
  readonly nowS: number;
};

/** The subnet of the site that an address lies in. */
export function subnetAt(site: Site, address: Ipv4Address): Subnet | undefined {
  return site.subnets.find(({ network }) => networkContains(network, address));
}

/** One interface's view for DHCP decisions. */
export function dhcpWorld(facts: DhcpFacts): DhcpWorld {
  const { site, interfaceName, serverAddress, leases, rung, nowS } = facts;
  const dhcpNode = (node: SiteNode | undefined): DhcpNode | undefined =>
    node === undefined ? undefined : { name: node.name, address: node.address };
  return {
    serverAddress,
    subnets: site.subnets.filter((subnet) => subnet.interface === interfaceName),
    nodeByMac: (mac) => dhcpNode(site.byMac.get(mac)),
    nodeByAddress: (address) => dhcpNode(site.byAddress.get(address)),
    leases,
    // The client's own subnet, which behind a relay is not the one that our interface has.
    bootPolicy: (mac, { name }) => {
      const subnet = site.subnets.find((one) => one.name === name);
      return bootPolicy(site, mac, subnet, serverAddress, rung(mac));
    },
    loaderFetchedRecently: facts.loaderFetchedRecently,
    nowS,
  };
}

/**
 * What DHCP points a machine at. One that cannot boot now (its image is not built) is pointed at its script all the same,
 * which says why on its screen and tries again.
 */
function bootPolicy(
  site: Site,
  mac: MacAddress,
  subnet: Subnet | undefined,
  serverAddress: Ipv4Address,
  rung: number,
): BootPolicy {
  const matched = matchMachine(site, mac, subnet);
  if (matched.kind === 'ignore') return { kind: 'none', reason: matched.why };
  return {
    kind: 'boot',
    loader: matched.effective.loader.value,
    httpBase: `http://${serverAddress}:${site.rouse.http.port}`,
    rung,
  };
}

/** The machine that an address was leased to. */
function leasedTo(leases: LeaseLookup, address: Ipv4Address, nowS: number): MacAddress | undefined {
  const lease = leases.byAddress(address);
  // A node that is up keeps its address when its lease ran out unanswered, so an old lease still tells who it is.
  return lease !== undefined && (isAlive(lease, nowS) || lease.state === 'bound') ? lease.mac : undefined;
}

/** The machine that has an address: by its lease, else by its node file. Good for telling, not for giving secrets to. */
export function machineAt(site: Site, leases: LeaseLookup, address: Ipv4Address, nowS: number): MacAddress | undefined {
  return leasedTo(leases, address, nowS) ?? site.byAddress.get(address)?.macs[0];
}

export type HttpFactsOfWorld = {
  readonly site: Site;
  readonly leases: LeaseLookup;
  readonly images: Images;
  readonly boots: ReadonlyMap<string, StoredBoot>;
  /** Plans that nodes may go back to: their layers stay served. */
  readonly kept: readonly BootPlan[];
  /** Size of each loader file that is on disk. */
  readonly loaders: ReadonlyMap<string, number>;
  readonly nowS: number;
};

const LOADER_NAMES: ReadonlySet<string> = new Set(loaderFiles());

/** What may be asked for over HTTP. Paths are relative to the library folder. */
export function httpWorld({ site, leases, images, boots, kept, loaders, nowS }: HttpFactsOfWorld): HttpWorld {
  return {
    // A script and its overlay are given to nobody but the lease's holder: an address can be taken, a lease is given.
    machineAt: (address) => leasedTo(leases, address, nowS),
    leasesElsewhere: (address) => (subnetAt(site, address)?.mode ?? 'dhcp') !== 'dhcp',
    bootById: (id) => boots.get(id),
    kernel: (file) => {
      for (const { kernel } of linuxTargets(images, boots, kept)) {
        if (kernel.sha256 === file) return kernelNamed(kernel);
      }
      return undefined;
    },
    layer: (file) => {
      for (const { layers } of linuxTargets(images, boots, kept)) {
        const layer = layers.find((candidate) => layerFile(candidate) === file);
        if (layer !== undefined) return layerNamed(layer);
      }
      return undefined;
    },
    loader: (file) => {
      if (!LOADER_NAMES.has(file)) return undefined;
      const sizeBytes = loaders.get(file);
      return sizeBytes === undefined ? 'missing' : { path: `loaders/${file}`, sha256: undefined, sizeBytes };
    },
  };
}

type LinuxTarget = Pick<Extract<PlanTarget, { kind: 'linux' }>, 'kernel' | 'layers'>;

/** Where a kernel lies, and how it is named on the wire. */
export function kernelNamed({ sha256, bytes }: LinuxTarget['kernel']): NamedFile {
  return { path: `images/kernels/${sha256}`, sha256, sizeBytes: bytes };
}

/** Where a layer lies, and how it is named on the wire. */
export function layerNamed(layer: LinuxTarget['layers'][number]): NamedFile {
  return { path: `images/layers/${layerFile(layer)}`, sha256: layer.servedSha256, sizeBytes: layer.servedBytes };
}

/** What can be booted now, then what machines are booting, then what they would go back to. */
function* linuxTargets(
  images: Images,
  boots: ReadonlyMap<string, StoredBoot>,
  kept: readonly BootPlan[],
): Iterable<LinuxTarget> {
  for (const image of images.values()) if (image.kind === 'built') yield image.manifest;
  for (const { plan } of boots.values()) if (plan.target.kind === 'linux') yield plan.target;
  for (const { target } of kept) if (target.kind === 'linux') yield target;
}

/** An interface of this machine with an IPv4 address. */
export type HostAddress = {
  readonly name: string;
  readonly address: Ipv4Address;
  readonly mac?: MacAddress | undefined;
  /** The kernel's number of the interface: another one under the same name is another interface. */
  readonly index?: number | undefined;
};

/** The addresses that are this machine's, of interfaces without a carrier too. @param table /proc/net/fib_trie. */
export function localAddresses(table: string): Set<string> {
  const found = table.matchAll(/\|-- (\S+)\n\s+\/32 host LOCAL/g);
  return new Set(Array.from(found, (match) => match[1] ?? ''));
}

export type Serving = {
  /** Interfaces to serve on, each with the address that is the server's there. */
  readonly interfaces: readonly HostAddress[];
  /** What is waited for, in words. */
  readonly waiting: readonly string[];
};

/** Which interfaces of the site are there, with which address. */
export function servedInterfaces(site: Site, host: readonly HostAddress[]): Serving {
  const interfaces: HostAddress[] = [];
  const waiting: string[] = [];
  for (const name of new Set(site.subnets.map((subnet) => subnet.interface))) {
    const subnets = site.subnets.filter((subnet) => subnet.interface === name);
    const addresses = host.filter((one) => one.name === name);
    const own =
      addresses.find(({ address }) => subnets.some(({ network }) => isHostAddress(network, address))) ?? addresses[0];
    if (own !== undefined) interfaces.push(own);
    else
      waiting.push(
        `interface ${name} of subnet ${subnets.map((subnet) => subnet.name).join(', ')} has no IPv4 address or is not there`,
      );
  }
  return { interfaces, waiting };
}
