// What is found on a machine, judged: a row for each thing that may be wrong, with what is to be done about it.

import { expect, test } from 'vitest';
import { parseIpv4 } from '../../../formats/ipv4.ts';
import {
  type Asked,
  type DoctorFacts,
  judge,
  judgeInputRules,
  judgeRuleset,
  mostMachines,
  overflowsIn,
} from '../../../netboot/host/doctor.ts';
import { site } from '../fleet/fleet-site.ts';

const OTHER = parseIpv4('10.0.0.9');
if (OTHER === undefined) throw new Error('the test is wrong');

const WELL: DoctorFacts = {
  config: { problem: undefined, warnings: [] },
  server: { isRunning: true, store: 'good', config: 'good', waiting: [] },
  takenPorts: [],
  missingInterfaces: [],
  firewall: { kind: 'none' },
  segments: [{ subnet: 'rack', mode: 'dhcp', interfaceName: 'eth1', answerBesideOthers: false, servers: [] }],
  disks: [{ path: '/var/lib/rouse', freeBytes: 50e9, isWritable: true }],
  clock: { nowMs: Date.UTC(2026, 0, 1), newestFileMs: Date.UTC(2025, 0, 1), isSynchronized: true },
  archive: { isReachable: true, why: '3 sources of packages answer' },
  loaders: ['undionly.kpxe'],
  keyMode: 0o600,
  neighbours: { most: 1024, overflows: 0, machines: 40 },
};

test('a machine that is well', () => {
  expect(judge(WELL).map(({ state }) => state)).toEqual(Array.from({ length: 12 }, () => 'ok'));
});

const segment = (
  mode: 'dhcp' | 'proxy' | 'observe',
  servers: DoctorFacts['segments'][number]['servers'],
  answerBesideOthers = false,
) => ({
  segments: [{ subnet: 'rack', mode, interfaceName: 'eth1', answerBesideOthers, servers }],
});
const ROWS: readonly [Partial<DoctorFacts>, string][] = [
  [
    { config: { problem: 'rouse.yaml:3:1 unknown key', warnings: [] } },
    'bad configuration: rouse.yaml:3:1 unknown key; mend it; all problems: rouse check',
  ],
  [
    { server: { isRunning: false, why: 'it is not running' } },
    'unknown boot server: it is not running; start it with: systemctl start rouse, or rouse netboot',
  ],
  [
    { server: { isRunning: true, store: 'cannot write', config: 'last-good', waiting: [] } },
    'bad store: cannot write; free space on its disk, or restore a copy: rouse restore',
  ],
  [
    { takenPorts: [{ port: 'UDP 67', why: 'dnsmasq (pid 8) has it', todo: 'stop it' }] },
    'bad ports: UDP 67: dnsmasq (pid 8) has it; stop it',
  ],
  [
    { missingInterfaces: ['interface eth7 is not there'] },
    'bad interfaces: interface eth7 is not there; give it an address, or correct interface: in rouse.yaml',
  ],
  [
    { firewall: { kind: 'closed', by: 'chain inet filter input', ports: ['UDP 67', 'TCP 80'], todo: 'nft …' } },
    'bad firewall: chain inet filter input drops what comes in unless a rule lets it pass, and none is seen for UDP 67, TCP 80; let them pass: nft …; to last',
  ],
  [
    segment('dhcp', [OTHER]),
    'bad other DHCP: subnet rack on eth1: 10.0.0.9 gives addresses too; stop that one, or set mode: proxy in rouse.yaml',
  ],
  [
    segment('dhcp', [OTHER], true),
    'ok other DHCP: subnet rack on eth1: 10.0.0.9 gives addresses too, as answerBesideOthers: true has it',
  ],
  [
    { keyMode: 0o644 },
    'bad signing key: lib/keys/images.key is of mode 644: others may read it, and sign what nodes boot; chmod 600 it',
  ],
  [
    { neighbours: { most: 1024, overflows: 0, machines: 925 } },
    'bad neighbours: the kernel remembers 1024 neighbours (gc_thresh3), and 925 machines may boot at once: answers to some would be dropped; ' +
      'sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 net.ipv4.neigh.default.gc_thresh3=4096; to last',
  ],
  [
    { neighbours: { most: 1024, overflows: 7, machines: 40 } },
    'bad neighbours: the kernel remembers 1024 neighbours (gc_thresh3), and was full 7 times: what it had to send to others was dropped; ' +
      'sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 net.ipv4.neigh.default.gc_thresh3=4096; to last',
  ],
  [
    { neighbours: { most: 16_384, overflows: 0, machines: 4000 } },
    'ok neighbours: the kernel remembers 16384 neighbours (gc_thresh3), enough for 4000 machines',
  ],
  [{ neighbours: undefined }, 'unknown neighbours: the limit of the table is not to be seen from here'],
  [segment('proxy', []), 'bad other DHCP: subnet rack on eth1: nobody gives addresses there'],
  [segment('proxy', [OTHER]), 'ok other DHCP: subnet rack on eth1: 10.0.0.9 answers, as mode: proxy has it'],
  [segment('observe', [OTHER]), 'ok other DHCP'],
  [
    segment('dhcp', { why: 'another program has port 68' }),
    'unknown other DHCP: subnet rack on eth1: another program has port 68',
  ],
  [{ disks: [{ path: '/x', freeBytes: 1e9, isWritable: true }] }, 'bad disk: /x has 1.0 GB free'],
  [{ disks: [{ path: '/x', freeBytes: 9e9, isWritable: false }] }, 'bad disk: /x cannot be written'],
  [
    { clock: { ...WELL.clock, nowMs: Date.UTC(1970, 0, 1) } },
    'bad clock: it says 1970-01-01T00:00:00, and files here are of 2025-01-01T00:00:00',
  ],
  [
    { clock: { ...WELL.clock, isSynchronized: false } },
    'bad clock: it says 2026-01-01T00:00:00 and nothing keeps it right',
  ],
  [{ archive: { isReachable: false, why: 'E: 403' } }, "bad archive: Debian's packages cannot be fetched: E: 403"],
  [{ loaders: [] }, 'bad loaders: no boot program is in lib/loaders; fetch them with: rouse image loaders'],
];
for (const [facts, want] of ROWS) {
  test(want, () => {
    const found = judge({ ...WELL, ...facts }).map(
      ({ state, name, says, todo }) => `${state} ${name}: ${says}${todo === undefined ? '' : `; ${todo}`}`,
    );
    expect(found.find((line) => line.startsWith(want))).toBeDefined();
  });
}

const ASKED: Asked = {
  ports: [
    { protocol: 'udp', port: 67 },
    { protocol: 'udp', port: 4011 },
    { protocol: 'tcp', port: 8080 },
  ],
  interfaces: ['eth1', 'vlan.7'],
};
const chain = (policy: string, family = 'inet') => ({
  chain: { family, table: 'filter', name: 'input', hook: 'input', policy },
});
const accept = (...expr: unknown[]) => ({
  rule: { table: 'filter', chain: 'input', expr: [...expr, { accept: null }] },
});
const dport = (protocol: string, right: unknown) => ({
  match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right },
});
const from = (name: string) => ({ match: { op: '==', left: { meta: { key: 'iifname' } }, right: name } });
const RULESETS: readonly [string, unknown, unknown][] = [
  ['none', { nftables: [{ metainfo: {} }] }, { kind: 'none' }],
  ['accepts by default', { nftables: [chain('accept')] }, { kind: 'open' }],
  [
    'drops, and no rule names the ports',
    { nftables: [chain('drop'), accept(dport('tcp', 22))] },
    {
      kind: 'closed',
      by: 'chain inet filter input',
      ports: ['UDP 67', 'UDP 4011', 'TCP 8080'],
      todo:
        `nft 'insert rule inet filter input iifname { "eth1", "vlan.7" } udp dport { 67, 4011 } accept' && ` +
        `nft 'insert rule inet filter input iifname { "eth1", "vlan.7" } tcp dport { 8080 } accept'`,
    },
  ],
  [
    'drops, and rules name them',
    { nftables: [chain('drop'), accept(dport('udp', { set: [67, 69, 4011] })), accept(dport('tcp', 8080))] },
    { kind: 'open' },
  ],
  [
    'a port of the other protocol',
    { nftables: [chain('drop'), accept(dport('tcp', 67)), accept(dport('tcp', 8080))] },
    { kind: 'closed', ports: ['UDP 67', 'UDP 4011'] },
  ],
  [
    'the HTTP port alone is missing',
    { nftables: [chain('drop', 'ip'), accept(dport('udp', { set: [67, 4011] }))] },
    {
      ports: ['TCP 8080'],
      todo: `nft 'insert rule ip filter input iifname { "eth1", "vlan.7" } tcp dport { 8080 } accept'`,
    },
  ],
  ['of IPv6 alone', { nftables: [chain('drop', 'ip6')] }, { kind: 'open' }],
  ['a whole interface', { nftables: [chain('drop'), accept(from('eth1'))] }, { kind: 'open' }],
  ['the loopback is no wire', { nftables: [chain('drop'), accept(from('lo'))] }, { kind: 'closed' }],
  ['no ruleset', 'x', { kind: 'unknown' }],
];
for (const [title, ruleset, want] of RULESETS) {
  test(`a firewall: ${title}`, () => expect(judgeRuleset(ruleset, ASKED)).toMatchObject(want as object));
}

const INPUT_RULES: readonly [string, string, unknown][] = [
  ['accepts by default', '-P INPUT ACCEPT', { kind: 'open' }],
  [
    'drops, and no rule names the ports',
    '-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT',
    {
      kind: 'closed',
      by: 'iptables INPUT',
      ports: ['UDP 67', 'UDP 4011', 'TCP 8080'],
      todo: [
        'iptables -I INPUT -i eth1 -p udp -m multiport --dports 67,4011 -j ACCEPT',
        'iptables -I INPUT -i vlan.7 -p udp -m multiport --dports 67,4011 -j ACCEPT',
        'iptables -I INPUT -i eth1 -p tcp -m multiport --dports 8080 -j ACCEPT',
        'iptables -I INPUT -i vlan.7 -p tcp -m multiport --dports 8080 -j ACCEPT',
      ].join(' && '),
    },
  ],
  [
    'drops, and a rule names one',
    '-P INPUT DROP\n-A INPUT -p udp -m udp --dport 67 -j ACCEPT',
    { kind: 'closed', ports: ['UDP 4011', 'TCP 8080'] },
  ],
  [
    'drops, and rules name them',
    '-P INPUT DROP\n-A INPUT -p udp -m multiport --dports 67,69,4011 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT',
    { kind: 'open' },
  ],
];
for (const [title, rules, want] of INPUT_RULES) {
  test(`iptables: ${title}`, () => expect(judgeInputRules(rules, ASKED)).toMatchObject(want as object));
}

test('machines of a site are its nodes, and the pools of subnets where unknown machines boot', () => {
  const rouse = (policy: string): string =>
    `version: 1\nsubnets: [{name: r, interface: eth1, network: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.199], unknown: ${policy}}]\n`;
  const more = { 'pools:': undefined, 'profiles/discover.yaml': 'boot: local\n' };
  expect(
    mostMachines(site({ ...more, 'rouse.yaml': `${rouse('ignore')}pools: {web: {match: {profile: web}}}\n` })),
  ).toBe(5);
  expect(
    mostMachines(site({ ...more, 'rouse.yaml': `${rouse('discover')}pools: {web: {match: {profile: web}}}\n` })),
  ).toBe(105);
});

test('overflows of the table of neighbours, of all processors', () => {
  const head = 'entries  allocs   destroys hash_grows table_fulls\n';
  expect(
    overflowsIn(`${head}00000003 00001349 000010e8 00000005 0000000a\n00000003 0000120e 0000146c 00000002 00000001\n`),
  ).toBe(11);
  // A kernel that does not count them.
  expect(overflowsIn('entries  allocs\n00000003 00000001\n')).toBe(0);
  expect(overflowsIn('')).toBe(0);
});
