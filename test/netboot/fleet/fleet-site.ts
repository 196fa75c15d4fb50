// test/netboot/fleet/fleet-site.ts - a small site with balancers and pools, and node states made by hand, for pure tests.

import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { renderProblem } from '../../../formats/yaml/document.ts';
import type { Manifest } from '../../../images/manifest.ts';
import { type BegunBoot, freshState, type NodeState } from '../../../netboot/fleet/nodestate.ts';
import type { NodeReport } from '../../../netboot/fleet/reports.ts';
import { parseSite, type SiteText } from '../../../netboot/site/files.ts';
import type { BootPlan } from '../../../netboot/site/plan.ts';
import { buildSite, type Images, type Site } from '../../../netboot/site/site.ts';

export const FILES: Readonly<Record<string, string>> = {
  'rouse.yaml': `version: 1
subnets:
  - {name: rack1, interface: eth1, network: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.199], router: 10.0.0.1}
pools:
  web: {match: {profile: web}, minimum: 1}
`,
  'services/web/profile.yaml': 'image: web\n',
  'services/lb/profile.yaml': 'image: lb\n',
  'profiles/web.yaml': 'extends: role/web\n',
  'profiles/lb.yaml': 'extends: role/lb\nvars:\n  virtualServices:\n    - {vip: 10.0.0.200, pool: web, mode: dr}\n',
  'nodes/lb1.yaml': 'macs: [52:54:00:77:00:11]\nprofile: lb\naddress: 10.0.0.21\n',
  'nodes/lb2.yaml': 'macs: [52:54:00:77:00:12]\nprofile: lb\naddress: 10.0.0.22\n',
  'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.11\n',
  'nodes/web2.yaml': 'macs: [52:54:00:77:00:02]\nprofile: web\naddress: 10.0.0.12\n',
  'nodes/web3.yaml': 'macs: [52:54:00:77:00:03]\nprofile: web\naddress: 10.0.0.13\n',
};

const HASH = 'a'.repeat(64);
const LAYER = { name: 'base', sha256: HASH, compression: 'zstd', servedSha256: HASH, servedBytes: 512 } as const;
const LB_VARS: Manifest['vars'] = {
  virtualServices: { type: 'object', default: [], text: '' },
  insideVip: { type: 'ipv4', default: '', text: '' },
  vrid: { type: 'number', default: 0, text: '' },
  insideVrid: { type: 'number', default: 0, text: '' },
};

export const manifest = (image: string, over: Partial<Manifest> = {}): Manifest => ({
  version: 1,
  image,
  generation: 1,
  builtAt: '2026-01-01T00:00:00Z',
  recipe: { file: `services/${image}/recipe.yaml`, sha256: HASH },
  kernel: { release: '6.1', package: 'linux-image', sha256: HASH, bytes: 1024 },
  layers: [{ ...LAYER, unpackedBytes: 1, files: 1 }],
  packages: [],
  vars: image === 'lb' ? LB_VARS : {},
  templates: [],
  services: [],
  ...over,
});

export const IMAGES: Images = new Map([
  ['web', { kind: 'built', manifest: manifest('web') }],
  ['lb', { kind: 'built', manifest: manifest('lb') }],
]);

/** The site of FILES with some replaced; or what is wrong with it. */
export function siteResult(files: Readonly<Record<string, string | undefined>> = {}): Site | string[] {
  const all = { ...FILES, ...files };
  const texts = (pattern: RegExp): Map<string, SiteText> =>
    new Map(
      Object.entries(all).flatMap(([path, text]) => {
        const name = pattern.exec(path)?.[1];
        return name === undefined || text === undefined ? [] : [[name, { path, text }] as const];
      }),
    );
  const rouse = all['rouse.yaml'];
  const parsed = parseSite(
    {
      rouse: rouse === undefined ? undefined : { path: 'rouse.yaml', text: rouse },
      profiles: texts(/^profiles\/(.*)\.yaml$/),
      nodes: texts(/^nodes\/(.*)\.yaml$/),
      roles: texts(/^services\/(.*)\/profile\.yaml$/),
    },
    new Map(),
  );
  const result = buildSite(parsed, IMAGES);
  return result.ok ? result.site : result.problems.map(renderProblem);
}

export function site(files: Readonly<Record<string, string | undefined>> = {}): Site {
  const result = siteResult(files);
  if (Array.isArray(result)) throw new Error(result.join('\n'));
  return result;
}

export const plan = (node: string, profile: string, generation = 1): BootPlan => ({
  node: {
    name: node,
    mac: '52:54:00:77:00:01' as MacAddress,
    address: undefined,
    labels: {},
    note: '',
    known: true,
  },
  profile: { name: profile, chain: [profile] },
  target: {
    kind: 'linux',
    image: profile,
    generation,
    kernel: { sha256: HASH, bytes: 1024 },
    layers: [LAYER],
  },
  cmdline: [],
  loader: 'auto',
  readyTimeoutS: 300,
  vars: {},
});

export const boot = (
  node: string,
  profile: string,
  over: Partial<BegunBoot> & { generation?: number } = {},
): BegunBoot => {
  const { generation = 1, ...rest } = over;
  return {
    id: `${node}-1`,
    plan: plan(node, profile, generation),
    image: { templates: [], vars: {} },
    address: `10.0.0.${Number(/\d+$/.exec(node)?.[0] ?? 0) + (profile === 'lb' ? 20 : 10)}` as Ipv4Address,
    startedAtMs: 0,
    isLoaded: true,
    isReady: true,
    insteadOf: undefined,
    ...rest,
  };
};

export const state = (node: string, profile: string, over: Partial<NodeState> = {}): NodeState => ({
  ...freshState(node),
  boot: boot(node, profile),
  ...over,
});

export const states = (...all: readonly NodeState[]): Map<string, NodeState> =>
  new Map(all.map((one) => [one.node, one]));

export const report = (over: Partial<NodeReport> = {}): NodeReport => ({
  uptimeMs: 1,
  isReady: true,
  load: 0,
  memoryFreeKb: 1,
  services: [],
  addresses: [],
  filesRevision: undefined,
  refused: [],
  ...over,
});
