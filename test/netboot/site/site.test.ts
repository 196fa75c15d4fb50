// Wrong configurations, each with the exact words it is refused with; then what the right ones come to.
// Rows are files in, problems out; no disk, no clock.

import { expect, test } from 'vitest';
import { renderProblem } from '../../../formats/yaml/document.ts';
import { parseMac } from '../../../formats/mac.ts';
import type { Manifest } from '../../../images/manifest.ts';
import { parseSite, type SiteText } from '../../../netboot/site/files.ts';
import { renderSource } from '../../../netboot/site/settings.ts';
import { buildSite, type ImageState, type SiteResult } from '../../../netboot/site/site.ts';
import { resolve } from '../../../netboot/site/plan.ts';

const HASH = 'a'.repeat(64);
const WEB: Manifest = {
  version: 1,
  image: 'web',
  generation: 3,
  builtAt: '2026-01-01T00:00:00Z',
  recipe: { file: 'services/web/recipe.yaml', sha256: HASH },
  kernel: { release: '6.1', package: 'linux-image', sha256: HASH, bytes: 10 },
  layers: [
    { name: 'base', sha256: HASH, compression: 'zstd', servedSha256: HASH, servedBytes: 1, unpackedBytes: 1, files: 1 },
  ],
  packages: [],
  memoryMb: 128,
  vars: {
    greeting: { type: 'string', default: 'hello', text: '' },
    workers: { type: 'number', default: 1, text: '' },
    tls: { type: 'boolean', default: false, text: '' },
    names: { type: 'list', default: [], text: '' },
  },
  templates: [],
  services: ['nginx'],
};
const BUILT = new Map<string, ImageState>([['web', { kind: 'built', manifest: WEB }]]);

const GOOD: Readonly<Record<string, string>> = {
  'rouse.yaml':
    'version: 1\nsubnets:\n  - {name: rack1, interface: eth1, network: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.199], router: 10.0.0.1}\n',
  'services/web/profile.yaml': 'boot: linux\nimage: web\n',
  'profiles/web.yaml': 'extends: role/web\n',
  'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.11\n',
};

function build(files: Readonly<Record<string, string | undefined>>, images = BUILT): SiteResult {
  const texts = (pattern: RegExp): Map<string, SiteText> =>
    new Map(
      Object.entries({ ...GOOD, ...files }).flatMap(([path, text]) => {
        const name = pattern.exec(path)?.[1];
        return name === undefined || text === undefined ? [] : [[name, { path, text }] as const];
      }),
    );
  const rouse = { ...GOOD, ...files }['rouse.yaml'];
  const site = {
    rouse: rouse === undefined ? undefined : { path: 'rouse.yaml', text: rouse },
    profiles: texts(/^profiles\/(.*)\.yaml$/),
    nodes: texts(/^nodes\/(.*)\.yaml$/),
    roles: texts(/^services\/(.*)\/profile\.yaml$/),
  };
  return buildSite(parseSite(site, new Map()), images);
}

function problemsOf(files: Readonly<Record<string, string | undefined>>): string[] {
  const result = build(files);
  return result.ok ? [] : result.problems.map(renderProblem);
}

const SUBNET = 'version: 1\nsubnets:\n  - {name: rack1, interface: eth1, network: 10.0.0.0/24}\n';

const WRONG: { what: string; files: Record<string, string | undefined>; says: string[] }[] = [
  {
    what: 'no rouse.yaml',
    files: { 'rouse.yaml': undefined },
    says: ['rouse.yaml:1:1 is missing, expected a file with version and subnets'],
  },
  {
    what: 'a misspelt key',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofil: web\n' },
    says: [
      "nodes/web1.yaml:1:1 missing key 'profile', expected a text",
      "nodes/web1.yaml:2:1 unknown key 'profil', did you mean 'profile'?",
    ],
  },
  {
    what: 'a misspelt key of a subnet',
    files: { 'rouse.yaml': 'version: 1\nsubnets:\n  - {name: a, interface: eth1, network: 10.0.0.0/24, pool: []}\n' },
    says: ["rouse.yaml:3:54 unknown key 'pool', did you mean 'pools'?"],
  },
  {
    what: 'a wrong MAC',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00]\nprofile: web\n' },
    says: ['nodes/web1.yaml:1:8 macs[0]: expected a MAC address such as 52:54:00:77:00:01, got "52:54:00:77:00"'],
  },
  {
    what: 'a multicast MAC',
    files: { 'nodes/web1.yaml': 'macs: [01:00:5e:00:00:01]\nprofile: web\n' },
    says: ['nodes/web1.yaml:1:8 macs[0]: expected a MAC address such as 52:54:00:77:00:01, got "01:00:5e:00:00:01"'],
  },
  {
    what: 'no MAC at all',
    files: { 'nodes/web1.yaml': 'macs: []\nprofile: web\n' },
    says: ['nodes/web1.yaml:1:7 macs: expected at least one MAC address, got []'],
  },
  {
    what: 'an unknown profile',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: wbe\n' },
    says: ["nodes/web1.yaml:2:10 profile: unknown profile 'wbe', did you mean 'web'?"],
  },
  {
    what: 'an unknown profile that is a role',
    files: { 'services/lb/profile.yaml': 'image: lb\n', 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: lb\n' },
    says: ["nodes/web1.yaml:2:10 profile: unknown profile 'lb', make profiles/lb.yaml with: extends: role/lb"],
  },
  {
    what: 'a role that is not there',
    files: { 'profiles/web.yaml': 'extends: role/wev\n' },
    says: ["profiles/web.yaml:1:10 extends: unknown profile 'role/wev', did you mean 'role/web'?"],
  },
  {
    what: 'a profile that extends itself',
    files: { 'profiles/a.yaml': 'extends: b\n', 'profiles/b.yaml': 'extends: a\n' },
    says: ["profiles/b.yaml:1:10 extends: profile 'a' extends itself (a → b → a)"],
  },
  {
    what: 'a profile that extends itself directly',
    files: { 'profiles/a.yaml': 'image: web\nextends: a\n' },
    says: ["profiles/a.yaml:2:10 extends: profile 'a' extends itself (a → a)"],
  },
  {
    what: 'one MAC in two nodes',
    files: { 'nodes/web2.yaml': 'profile: web\nmacs:\n  - 52-54-00-77-00-01\n' },
    says: ["nodes/web2.yaml:3:5 macs[0]: 52:54:00:77:00:01 is already a MAC of node 'web1' (nodes/web1.yaml:1:8)"],
  },
  {
    what: 'one address in two nodes',
    files: { 'nodes/web2.yaml': 'macs: [52:54:00:77:00:02]\nprofile: web\naddress: 10.0.0.11\n' },
    says: ["nodes/web2.yaml:3:10 address: 10.0.0.11 is already the address of node 'web1' (nodes/web1.yaml:3:10)"],
  },
  {
    what: 'an address outside every subnet',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.1.11\n' },
    says: ['nodes/web1.yaml:3:10 address: 10.0.1.11 lies in no subnet, expected one of rack1 10.0.0.0/24'],
  },
  {
    what: 'the broadcast address',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.255\n' },
    says: [
      'nodes/web1.yaml:3:10 address: 10.0.0.255 is the first or last address of 10.0.0.0/24, expected one between',
    ],
  },
  {
    what: "the router's address",
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.1\n' },
    says: ["nodes/web1.yaml:3:10 address: 10.0.0.1 is the router of subnet 'rack1', expected another"],
  },
  {
    what: 'an address in octal',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 010.0.0.11\n' },
    says: ['nodes/web1.yaml:3:10 address: expected an IPv4 address such as 10.77.0.11, got "010.0.0.11"'],
  },
  {
    what: 'a pool outside its network',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, pools: [10.0.1.100-10.0.1.199]}\n` },
    says: [
      'rouse.yaml:3:66 subnets[0].pools[0]: 10.0.1.100-10.0.1.199 does not lie inside 10.0.0.0/24, its first and last address left out',
    ],
  },
  {
    what: 'a pool backwards',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, pools: [10.0.0.9-10.0.0.2]}\n` },
    says: [
      'rouse.yaml:3:66 subnets[0].pools[0]: expected a range such as 10.77.0.100-10.77.0.199, the lower address first, got "10.0.0.9-10.0.0.2"',
    ],
  },
  {
    what: 'pools that overlap',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, pools: [10.0.0.9-10.0.0.20, 10.0.0.20-10.0.0.30]}\n` },
    says: ['rouse.yaml:3:86 subnets[0].pools[1]: 10.0.0.20-10.0.0.30 overlaps 10.0.0.9-10.0.0.20'],
  },
  {
    what: 'reservations outside the network, doubled, and of nobody',
    files: {
      'rouse.yaml': `${SUBNET.slice(0, -2)}, reservations: [{address: 10.0.1.9, clientId: 01ab}, {address: 10.0.0.9, mac: 52:54:00:77:00:09}, {address: 10.0.0.9, clientId: 01:AB}]}\n`,
    },
    says: [
      'rouse.yaml:3:73 subnets[0].reservations[0]: 10.0.1.9 is no host address of 10.0.0.0/24',
      'rouse.yaml:3:155 subnets[0].reservations[2]: 10.0.0.9 is already the address of subnets[0].reservations[1]',
      'rouse.yaml:3:155 subnets[0].reservations[2]: an earlier reservation of the subnet is for the same machine',
    ],
  },
  {
    what: 'a reservation for two identifiers at once, of a UUID of zeros',
    files: {
      'rouse.yaml': `${SUBNET.slice(0, -2)}, reservations: [{address: 10.0.0.8, clientId: 01ab, mac: 52:54:00:77:00:09}, {address: 10.0.0.9, uuid: 00000000-0000-0000-0000-000000000000}]}\n`,
    },
    says: [
      'rouse.yaml:3:73 subnets[0].reservations[0]: expected exactly one of clientId, uuid and mac, got {"address":"10.0.0.8","clientId":"01ab","mac":"52:54:00:7...',
      'rouse.yaml:3:160 subnets[0].reservations[1].uuid: expected a UUID such as 4c4c4544-0033-5a10-8052-b4c04f4d3132, not all zeros, got "00000000-0000-0000-0000-000000000000"',
    ],
  },
  {
    what: 'subnets that overlap',
    files: { 'rouse.yaml': `${SUBNET}  - {name: rack2, interface: eth2, network: 10.0.0.128/25}\n` },
    says: ["rouse.yaml:4:45 subnets[1].network: 10.0.0.128/25 overlaps 10.0.0.0/24 of subnet 'rack1'"],
  },
  {
    what: 'two subnets of one name',
    files: { 'rouse.yaml': `${SUBNET}  - {name: rack1, interface: eth2, network: 10.1.0.0/24}\n` },
    says: ["rouse.yaml:4:12 subnets[1].name: 'rack1' is the name of an earlier subnet, expected another"],
  },
  {
    what: 'bits behind the prefix',
    files: {
      'rouse.yaml': 'version: 1\nsubnets:\n  - {name: a, interface: eth1, network: 10.0.0.7/24}\n',
      'nodes/web1.yaml': undefined,
    },
    says: [
      'rouse.yaml:3:41 subnets[0].network: expected a network such as 10.77.0.0/24, no bits set behind the prefix, got "10.0.0.7/24"',
    ],
  },
  {
    what: 'a lease time that kills the server',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, leaseTimeS: 5}\n` },
    says: ['rouse.yaml:3:70 subnets[0].leaseTimeS: expected at least 60 seconds, got 5'],
  },
  {
    what: 'a domain with a dot at its end, and an MTU below what IPv4 guarantees',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, domain: example.org., mtuBytes: 500}\n` },
    says: [
      'rouse.yaml:3:66 subnets[0].domain: expected a domain such as rack.example.org, no dot at its end, got "example.org."',
      'rouse.yaml:3:90 subnets[0].mtuBytes: expected at least 576 bytes, got 500',
    ],
  },
  {
    what: 'a mode that does not exist',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, mode: proxi}\n` },
    says: ['rouse.yaml:3:64 subnets[0].mode: expected dhcp | proxy | observe, got "proxi", did you mean \'proxy\'?'],
  },
  {
    what: 'unknown: default without a default',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, unknown: default}\n` },
    says: ["rouse.yaml:3:67 subnets[0].unknown: 'default' needs the key defaultProfile"],
  },
  {
    what: 'unknown: discover without that profile',
    files: { 'rouse.yaml': `${SUBNET.slice(0, -2)}, unknown: discover}\n` },
    says: [
      "rouse.yaml:3:67 subnets[0].unknown: 'discover' boots the profile 'discover', expected profiles/discover.yaml",
    ],
  },
  {
    what: 'a default profile that is not there',
    files: { 'rouse.yaml': `${SUBNET}defaultProfile: wob\n` },
    says: ["rouse.yaml:4:17 defaultProfile: unknown profile 'wob', did you mean 'web'?"],
  },
  {
    what: 'a pool of a profile that is not there',
    files: { 'rouse.yaml': `${SUBNET}pools: {web: {match: {profile: wbe}}}\n` },
    says: ["rouse.yaml:4:32 pools.web.match.profile: unknown profile 'wbe', did you mean 'web'?"],
  },
  {
    what: 'a machine with too little memory for its image',
    files: { 'profiles/web.yaml': 'extends: role/web\nmemoryMb: 96\n' },
    says: ["profiles/web.yaml:2:11 memoryMb: 96 MiB are too little for image 'web' generation 3, which needs 128 MiB"],
  },
  {
    what: 'a profile without an image',
    files: { 'profiles/bare.yaml': 'readyTimeoutS: 60\n' },
    says: ["profiles/bare.yaml:1:1 profile 'bare' boots linux but names no image: missing key 'image'"],
  },
  {
    what: 'a chain that leads nowhere',
    files: { 'profiles/next.yaml': 'boot: chain\n' },
    says: ["profiles/next.yaml:1:7 profile 'next' chains but not whereto: missing key 'url'"],
  },
  {
    what: 'a kernel parameter that is two',
    files: { 'profiles/web.yaml': 'extends: role/web\ncmdline: [quiet splash]\n' },
    says: [
      'profiles/web.yaml:2:11 cmdline[0]: expected one kernel parameter: a letter or digit first, no blanks, no quotes, no \'${\', got "quiet splash"',
    ],
  },
  {
    what: 'a kernel parameter that iPXE would expand',
    files: { 'profiles/web.yaml': "extends: role/web\ncmdline: ['a=${net0/mac}']\n" },
    says: [
      'profiles/web.yaml:2:11 cmdline[0]: expected one kernel parameter: a letter or digit first, no blanks, no quotes, no \'${\', got "a=${net0/mac}"',
    ],
  },
  {
    what: 'a kernel parameter that is ours',
    files: { 'profiles/web.yaml': 'extends: role/web\ncmdline: [rouse.boot=1]\n' },
    says: [
      'profiles/web.yaml:2:11 cmdline[0]: expected a parameter that rouse does not set itself (BOOTIF, initrd, rouse.server, rouse.boot, rouse.layers, rouse.readyTimeoutS), got "rouse.boot=1"',
    ],
  },
  {
    what: 'a loader that does not exist',
    files: { 'profiles/web.yaml': 'extends: role/web\nloader: undionli\n' },
    says: [
      'profiles/web.yaml:2:9 loader: expected auto | undionly | ipxe | snponly | lpxelinux | shim, got "undionli", did you mean \'undionly\'?',
    ],
  },
  {
    what: 'a var that the image does not declare',
    files: { 'profiles/web.yaml': 'extends: role/web\nvars: {greetin: x}\n' },
    says: ["profiles/web.yaml:2:17 vars.greetin: image 'web' declares no such var, did you mean 'greeting'?"],
  },
  {
    what: 'a var of the wrong type',
    files: {
      'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\nvars:\n  workers: many\n  tls: 1\n  names: x\n',
    },
    says: [
      'nodes/web1.yaml:4:12 vars.workers: expected a number, got "many"',
      'nodes/web1.yaml:5:8 vars.tls: expected true or false, got 1',
      'nodes/web1.yaml:6:10 vars.names: expected a list of texts, got "x"',
    ],
  },
  {
    what: 'a var that is a map',
    files: { 'profiles/web.yaml': 'extends: role/web\nvars: {greeting: {a: b}}\n' },
    says: ['profiles/web.yaml:2:18 vars.greeting: expected a text, got {"a":"b"}'],
  },
  {
    what: 'a name that is no host name',
    files: { 'nodes/Web_1.yaml': 'macs: [52:54:00:77:00:09]\nprofile: web\n' },
    says: [
      "nodes/Web_1.yaml:1:1 the file's name 'Web_1': expected a host name: lower-case letters, digits and -, at most 63",
    ],
  },
  {
    what: 'two lines of one key',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\nprofile: web\n' },
    says: ['nodes/web1.yaml:3:1 this key is in the map already: keep one of the two'],
  },
  {
    what: 'half a file',
    files: { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: "we' },
    says: ['nodes/web1.yaml:2:13 a quote is opened and not closed'],
  },
  {
    what: 'a newer version',
    files: { 'rouse.yaml': SUBNET.replace('version: 1', 'version: 2') },
    says: ['rouse.yaml:1:10 version: expected 1, got 2'],
  },
];

for (const { what, files, says } of WRONG) {
  test(`refused: ${what}`, () => {
    expect(problemsOf(files)).toEqual(says);
  });
}

test("what a subnet's machines are told is read", () => {
  const keys = 'domain: example.org, domainSearch: [a.example.org, example.org], ntp: [10.0.0.2], mtuBytes: 9000';
  const result = build({ 'rouse.yaml': `${SUBNET.slice(0, -2)}, ${keys}}\n` });
  expect(result.ok && result.site.subnets[0]).toMatchObject({
    domain: 'example.org',
    domainSearch: ['a.example.org', 'example.org'],
    ntp: ['10.0.0.2'],
    mtuBytes: 9000,
  });
});

test('the good site is good', () => {
  expect(problemsOf({})).toEqual([]);
});

test('problems of several files come together, sorted by file and line', () => {
  const says = problemsOf({
    'nodes/b.yaml': 'profile: web\n',
    'nodes/a.yaml': 'macs: [52:54:00:77:00:05]\nprofile: wbe\n',
  });
  expect(says.map((line) => line.split(':')[0])).toEqual(['nodes/a.yaml', 'nodes/b.yaml']);
});

test('an image that is not built is a warning, told once for all its profiles’ nodes', () => {
  const result = build({ 'nodes/web2.yaml': 'macs: [52:54:00:77:00:02]\nprofile: web\n' }, new Map());
  expect(result.ok && result.warnings.map(renderProblem)).toEqual([
    "services/web/profile.yaml:2:8 image: image 'web' is not built; build it with: rouse image build web",
  ]);
});

test('precedence is role, profile chain, label group, node; maps merge, lists replace; each value keeps its line', () => {
  const result = build({
    'rouse.yaml': `${GOOD['rouse.yaml'] ?? ''}groups:\n  - {match: {rack: r1}, vars: {workers: 3, unheardOf: 1}}\n  - {match: {rack: r2}, vars: {workers: 9}}\n`,
    'services/web/profile.yaml':
      'image: web\ncmdline: [console=ttyS0, quiet]\nvars: {greeting: role, workers: 1, names: [a]}\n',
    'profiles/base.yaml': 'extends: role/web\nreadyTimeoutS: 60\nvars: {greeting: base}\n',
    'profiles/web.yaml': 'extends: base\ncmdline: [console=tty0]\nvars: {workers: 2}\n',
    'nodes/web1.yaml':
      'macs: [52:54:00:77:00:01]\nprofile: web\nlabels: {rack: r1}\nloader: undionly\nvars:\n  tls: true\n',
  });
  if (!result.ok) throw new Error(result.problems.map(renderProblem).join('\n'));
  const resolution = resolve(result.site, parseMac('52:54:00:77:00:01')!, { images: BUILT, subnet: undefined });
  if (resolution.kind !== 'boot') throw new Error(resolution.why);
  expect(resolution.plan.profile).toEqual({ name: 'web', chain: ['web', 'base', 'role/web'] });
  expect(resolution.plan.cmdline).toEqual(['console=tty0']);
  expect(resolution.plan.vars).toEqual({ greeting: 'base', workers: 3, tls: true, names: ['a'] });
  const sources = Object.fromEntries(
    Object.entries(resolution.vars).map(([name, { source }]) => [name, `${source.layer} ${renderSource(source)}`]),
  );
  expect(sources).toEqual({
    greeting: 'profile profiles/base.yaml:3',
    workers: 'group rouse.yaml:5',
    names: 'role services/web/profile.yaml:3',
    tls: 'node nodes/web1.yaml:6',
  });
  const { cmdline, readyTimeoutS, loader, rollback } = resolution.effective;
  expect([cmdline, readyTimeoutS, loader, rollback].map(({ source }) => renderSource(source))).toEqual([
    'profiles/web.yaml:2',
    'profiles/base.yaml:2',
    'nodes/web1.yaml:4',
    "rouse's default",
  ]);
});

test('a number where a text is declared is that text as it was written', () => {
  const result = build({ 'profiles/web.yaml': 'extends: role/web\nvars: {greeting: 1.50}\n' });
  const resolution =
    result.ok && resolve(result.site, parseMac('52:54:00:77:00:01')!, { images: BUILT, subnet: undefined });
  expect(resolution && resolution.kind === 'boot' && resolution.plan.vars['greeting']).toBe('1.50');
});

const UNKNOWN = parseMac('52:54:00:99:00:01')!;
const SUBNETS: { unknown: string; want: string }[] = [
  { unknown: 'ignore', want: "ignore: 52:54:00:99:00:01 is in no node file, and subnet 'rack1' says unknown: ignore" },
  {
    unknown: 'default',
    want: "boot: 52:54:00:99:00:01 is in no node file; subnet 'rack1' says unknown: default, that is profile 'web'",
  },
];
for (const { unknown, want } of SUBNETS) {
  test(`a machine without a node file where the subnet says ${unknown}`, () => {
    const result = build({ 'rouse.yaml': `${SUBNET.slice(0, -2)}, unknown: ${unknown}}\ndefaultProfile: web\n` });
    if (!result.ok) throw new Error(result.problems.map(renderProblem).join('\n'));
    const [subnet] = result.site.subnets;
    const resolution = resolve(result.site, UNKNOWN, { images: BUILT, subnet });
    expect(`${resolution.kind}: ${resolution.why}`).toBe(want);
    if (resolution.kind === 'boot') {
      expect(resolution.plan.node).toMatchObject({ name: 'node-525400990001', known: false });
    }
  });
}

test('a boot is refused in the words of the check: image gone, image broken, a var that the new image dropped', () => {
  const result = build({ 'profiles/web.yaml': 'extends: role/web\nvars: {workers: 2}\n' });
  if (!result.ok) throw new Error('good');
  const why = (image: ImageState): string =>
    resolve(result.site, parseMac('52:54:00:77:00:01')!, { images: new Map([['web', image]]), subnet: undefined }).why;
  expect(why({ kind: 'missing' })).toMatch(
    /; but services\/web\/profile\.yaml:2:8 image: image 'web' is not built; build it with: rouse image build web$/,
  );
  expect(why({ kind: 'broken', why: 'torn' })).toMatch(
    /; but services\/web\/profile\.yaml:2:8 image: image 'web' cannot be booted \(torn\)/,
  );
  const { workers: _, ...vars } = WEB.vars;
  expect(why({ kind: 'built', manifest: { ...WEB, vars } })).toMatch(
    /; but profiles\/web\.yaml:2:17 vars\.workers: image 'web' declares no such var/,
  );
});

test("a node's memory is its own whatever it boots, and an image that grew over it is refused", () => {
  const files = { 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\nmemoryMb: 200\n' };
  const result = build({
    'profiles/web.yaml': 'extends: role/web\nmemoryMb: 4096\n',
    'profiles/other.yaml': 'extends: web\n',
    ...files,
  });
  if (!result.ok) throw new Error(result.problems.map(renderProblem).join('\n'));
  const why = (memoryMb: number, as?: string): string => {
    const images = new Map<string, ImageState>([['web', { kind: 'built', manifest: { ...WEB, memoryMb } }]]);
    const profile = as === undefined ? undefined : result.site.profiles.get(as);
    return resolve(result.site, parseMac('52:54:00:77:00:01')!, { images, subnet: undefined, as: profile }).why;
  };
  expect(why(200)).not.toContain('; but nodes');
  const refusal =
    "; but nodes/web1.yaml:3:11 memoryMb: 200 MiB are too little for image 'web' generation 3, which needs 201 MiB";
  expect(why(201)).toContain(refusal);
  expect(why(201, 'other')).toContain(refusal);
});
