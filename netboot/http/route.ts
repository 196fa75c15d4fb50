// netboot/http/route.ts - what a request on the boot port is answered with.
//
// Owns: the table of paths, who may have what, and the reason where it is refused. Nothing is served from a path that a
// client made up: every name is looked up in what boot plans name.
// Does not own: making boots (../boots/boots.io.ts), sending (server.io.ts), ranges (range.ts).
//
// Nothing on a boot network is authenticated, so a script and an overlay (which holds the boot's token) go only to the
// address that DHCP gave to that machine. Files named by their hash are no secret.
// To add a path, add a row to ROUTES. Source: ARCHITECTURE.md, "A boot, in protocol order". Pure.

import { type Ipv4Address, parseIpv4 } from '../../formats/ipv4.ts';
import { type MacAddress, parseMac } from '../../formats/mac.ts';
import { LAYER_FILE } from '../../images/manifest.ts';
import type { ScriptFormat } from '../boots/formats.ts';
import { GRUB_ENTRY } from '../boots/grub.ts';
import type { StoredBoot } from '../store/records.ts';

export type HttpFacts = {
  readonly method: string;
  /** As received: path and query. */
  readonly target: string;
  readonly peer: Ipv4Address;
};

/** A file that a plan names. */
export type NamedFile = {
  /** Relative to the library folder. */
  readonly path: string;
  readonly sizeBytes: number;
  /** SHA-256 of the served bytes; undefined where it is not known. */
  readonly sha256: string | undefined;
};

export type HttpWorld = {
  /** The machine that this address was leased to. */
  readonly machineAt: (address: Ipv4Address) => MacAddress | undefined;
  /** Whether another server gives the addresses where this one is, so that leases prove nothing. */
  readonly leasesElsewhere: (address: Ipv4Address) => boolean;
  readonly bootById: (id: string) => StoredBoot | undefined;
  /** Kernels and layers that a built image or a boot under way names. `file` is "SHA256" or "SHA256.zst". */
  readonly kernel: (file: string) => NamedFile | undefined;
  readonly layer: (file: string) => NamedFile | undefined;
  /** Loaders of the loader table that are on disk. */
  readonly loader: (file: string) => NamedFile | 'missing' | undefined;
};

export type HttpAnswer =
  | { readonly kind: 'script'; readonly format: ScriptFormat; readonly mac: MacAddress }
  /** A few lines that are the same for everybody. */
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'file';
      readonly part: 'kernel' | 'layer' | 'loader';
      readonly name: string;
      readonly file: NamedFile;
    }
  | { readonly kind: 'overlay' | 'initrd'; readonly boot: StoredBoot }
  /** Of the node protocol: answered only to whoever has the boot's token. */
  | { readonly kind: 'node'; readonly ask: NodeAsk; readonly boot: StoredBoot }
  | { readonly kind: 'refuse'; readonly status: 400 | 403 | 404 | 405; readonly why: string; readonly allow?: string };

export type NodeAsk =
  | { readonly kind: 'stage' | 'report' | 'acks' | 'inventory' }
  /** `after`: the highest order that the node has carried out. */
  | { readonly kind: 'orders'; readonly after: number }
  | { readonly kind: 'files'; readonly revision: string }
  | { readonly kind: 'switch'; readonly bootId: string };

type Route = {
  readonly methods: readonly string[];
  readonly path: RegExp;
  readonly answer: (world: HttpWorld, names: readonly string[], facts: HttpFacts) => HttpAnswer;
};

const READ = ['GET', 'HEAD'] as const;

const ROUTES: readonly Route[] = [
  // GET only: asking for a script makes a boot.
  { methods: ['GET'], path: /^\/ipxe\/((?:[0-9A-Fa-f:.-]|%3A){12,32})$/i, answer: script('ipxe') },
  { methods: READ, path: /^\/grub\/grub\.cfg$/, answer: () => ({ kind: 'text', text: GRUB_ENTRY }) },
  { methods: ['GET'], path: /^\/grub\/((?:[0-9A-Fa-f:]|%3A){12,32})\.cfg$/i, answer: script('grub') },
  { methods: ['GET'], path: /^\/pxelinux\.cfg\/01-([0-9A-Fa-f-]{17})$/, answer: script('pxelinux') },
  { methods: READ, path: /^\/kernel\/([0-9a-f]{64})$/, answer: kernel },
  { methods: READ, path: new RegExp(`^/layer/(${LAYER_FILE})$`), answer: layer },
  { methods: READ, path: /^\/loader\/([A-Za-z0-9._-]{1,64})$/, answer: loader },
  { methods: READ, path: /^\/boot\/([0-9a-f]{16})\/(overlay|initrd)$/, answer: bootFile },
  { methods: ['POST'], path: /^\/node\/v1\/boots\/([0-9a-f]{16})\/(stage|report|acks|inventory)$/, answer: told },
  { methods: ['GET'], path: /^\/node\/v1\/boots\/([0-9a-f]{16})\/orders$/, answer: orders },
  { methods: ['GET'], path: /^\/node\/v1\/boots\/([0-9a-f]{16})\/(files|switch)\/([0-9a-f]{16})$/, answer: fetched },
];

/** Total: every request has an answer, and every refusal its reason. */
export function route(world: HttpWorld, facts: HttpFacts): HttpAnswer {
  const [path = ''] = facts.target.split('?');
  for (const { methods, path: pattern, answer } of ROUTES) {
    const match = pattern.exec(path);
    if (match === null) continue;
    if (!methods.includes(facts.method)) {
      return { kind: 'refuse', status: 405, why: `${methods.join(' or ')} only`, allow: methods.join(', ') };
    }
    return answer(world, match.slice(1), facts);
  }
  return refuse(404, 'there is no such path here');
}

/** The peer's address as the decisions know it. @returns undefined for anything that is not IPv4. */
export function peerAddress(remote: string | undefined): Ipv4Address | undefined {
  return parseIpv4((remote ?? '').replace(/^::ffff:/, ''));
}

function refuse(status: 400 | 403 | 404, why: string): HttpAnswer {
  return { kind: 'refuse', status, why };
}

function script(format: ScriptFormat): Route['answer'] {
  return (world, [name = ''], { peer }) => {
    const mac = parseMac(name.replace(/%3A/gi, ':'));
    if (mac === undefined) return refuse(400, 'expected a MAC address such as 52:54:00:77:00:01');
    const holder = world.machineAt(peer);
    if (holder !== mac && !world.leasesElsewhere(peer)) {
      const whose = holder === undefined ? 'no lease' : `the address of ${holder}`;
      return refuse(403, `the script of ${mac} goes only to its own address, and ${peer} is ${whose}`);
    }
    return { kind: 'script', format, mac };
  };
}

function kernel(world: HttpWorld, [name = '']: readonly string[]): HttpAnswer {
  const file = world.kernel(name);
  return file === undefined
    ? refuse(404, 'no boot plan names this kernel')
    : { kind: 'file', part: 'kernel', name, file };
}

function layer(world: HttpWorld, [name = '']: readonly string[]): HttpAnswer {
  const file = world.layer(name);
  return file === undefined
    ? refuse(404, 'no boot plan names this layer')
    : { kind: 'file', part: 'layer', name, file };
}

function loader(world: HttpWorld, [name = '']: readonly string[]): HttpAnswer {
  const file = world.loader(name);
  if (file === undefined) return refuse(404, 'this is no loader that rouse knows');
  if (file === 'missing') return refuse(404, `loader ${name} is not in lib/loaders of this boot server`);
  return { kind: 'file', part: 'loader', name, file };
}

function bootFile(world: HttpWorld, [id = '', what = '']: readonly string[], { peer }: HttpFacts): HttpAnswer {
  const boot = world.bootById(id);
  if (boot === undefined) return refuse(404, `boot ${id} is not known here`);
  if (peer !== boot.address) return refuse(403, `boot ${id} belongs to ${boot.address}`);
  if (boot.overlay === undefined) return refuse(404, `boot ${id} is over: its node has its overlay`);
  return { kind: what === 'initrd' ? 'initrd' : 'overlay', boot };
}

const TOLD = ['stage', 'report', 'acks', 'inventory'] as const;

function told(world: HttpWorld, [id = '', what = '']: readonly string[]): HttpAnswer {
  return ofNode(world, id, { kind: TOLD.find((kind) => kind === what) ?? 'stage' });
}

function orders(world: HttpWorld, [id = '']: readonly string[], { target }: HttpFacts): HttpAnswer {
  const after = /^[^?]*\?after=(\d{1,9})$/.exec(target)?.[1];
  if (after === undefined) return refuse(400, 'expected orders?after=NUMBER');
  return ofNode(world, id, { kind: 'orders', after: Number(after) });
}

function fetched(world: HttpWorld, [id = '', what = '', name = '']: readonly string[]): HttpAnswer {
  return ofNode(world, id, what === 'files' ? { kind: 'files', revision: name } : { kind: 'switch', bootId: name });
}

function ofNode(world: HttpWorld, id: string, ask: NodeAsk): HttpAnswer {
  const boot = world.bootById(id);
  return boot === undefined ? refuse(404, `boot ${id} is not known here`) : { kind: 'node', ask, boot };
}
