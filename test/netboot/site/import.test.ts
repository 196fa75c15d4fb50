// Reservations of other servers: what becomes a node, and what is said of the rest with file and line.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IMPORT_FORMATS, importNodes } from '../../../netboot/site/import.ts';

const DNSMASQ = `# dnsmasq.conf
interface=eth1
dhcp-range=10.0.0.100,10.0.0.199,12h
dhcp-host=52:54:00:00:00:01,web1,10.0.0.11,infinite   # the first
dhcp-host=52:54:00:00:00:02,52:54:00:00:00:03,10.0.0.12,Web2.example,set:blue
dhcp-host=52:54:00:00:00:04,ignore
dhcp-host=id:01:02,old,10.0.0.13
dhcp-hostsfile=/etc/hosts.dhcp
`;
const DHCPD = `option domain-name "example";
subnet 10.0.0.0 netmask 255.255.255.0 {
  range 10.0.0.100 10.0.0.199;
  group {
    next-server 10.0.0.1; # "not a { host"
    host web1 { hardware ethernet 52:54:0:0:0:1; }
    host web2 {
      hardware ethernet 52:54:00:00:00:02; fixed-address 10.0.0.12, 10.0.0.13;
      option host-name "web-two";
    }
  }
}
host nomac { fixed-address 10.0.0.14; }
include "/etc/dhcp/more.conf";
`;
const CSV = `Name,MAC,Address,Profile,label.rack,asset
web1,5254.0000.0001,10.0.0.11,,r1,4711
lb1,"52:54:00:00:00:02 52:54:00:00:00:03",,lb,,
`;

const nodesOf = (text: string, more = {}) => {
  const result = importNodes('f', text, { profile: 'web', ...more });
  return result.ok ? { nodes: result.nodes, notes: result.notes } : result.problems;
};

test('dnsmasq', () => {
  expect(nodesOf(DNSMASQ)).toEqual({
    nodes: [
      { name: 'web1', macs: ['52:54:00:00:00:01'], profile: 'web', address: '10.0.0.11' },
      { name: 'web2', macs: ['52:54:00:00:00:02', '52:54:00:00:00:03'], profile: 'web', address: '10.0.0.12' },
    ],
    notes: [
      'f:6: 52:54:00:00:00:04 is ignored there: no node is made of it',
      'f:7: no MAC is in it: no node is made of it',
      'f:8: dhcp-hostsfile=/etc/hosts.dhcp: not followed, import that file too',
    ],
  });
});

test("a hosts file of dnsmasq's has the values alone", () => {
  expect(nodesOf('52:54:00:00:00:01,10.0.0.11,web1\n')).toMatchObject({
    nodes: [{ name: 'web1', address: '10.0.0.11' }],
  });
});

test('ISC dhcpd', () => {
  expect(nodesOf(DHCPD)).toEqual({
    nodes: [
      { name: 'web1', macs: ['52:54:00:00:00:01'], profile: 'web' },
      { name: 'web-two', macs: ['52:54:00:00:00:02'], profile: 'web', address: '10.0.0.12' },
    ],
    notes: [
      "f:7: 'web2' has several addresses: the first is taken",
      "f:13: 'nomac' has no hardware ethernet: no node is made of it",
      'f:14: include "/etc/dhcp/more.conf": not followed, import that file too',
    ],
  });
});

test('a table', () => {
  expect(nodesOf(CSV)).toEqual({
    nodes: [
      { name: 'web1', macs: ['52:54:00:00:00:01'], profile: 'web', address: '10.0.0.11', labels: { rack: 'r1' } },
      { name: 'lb1', macs: ['52:54:00:00:00:02', '52:54:00:00:00:03'], profile: 'lb' },
    ],
    notes: ["f:1: the column 'asset' is passed over"],
  });
});

const WRONG: readonly [string, readonly string[]][] = [
  ['dhcp-host=52:54:00:00:00:*,web1\n', ["f:1: '52:54:00:00:00:*' is a pattern of MACs: a node has whole ones"]],
  ['dhcp-host=52:54:00:00:00:01,10.0.0.11\n', ['f:1: the reservation of 52:54:00:00:00:01 has no name']],
  ['dhcp-host=52:54:00:00:00:01,a\n\ndhcp-host=52:54:00:00:00:02,A.x\n', ["f:3: 'a' is the name of line 1 too"]],
  ['host a { hardware ethernet 1:2; }', ["f:1: '1:2' is no MAC address"]],
  [
    'host a {\n hardware ethernet 52:54:00:00:00:01;\n fixed-address web.example; }',
    ["f:3: 'web.example' is no IPv4 address: names are not looked up"],
  ],
  ['host a {\n hardware ethernet 52:54:00:00:00:01;', ["f:1: '{' is never closed"]],
  ['name,mac\nweb1,x', ["f:2: 'x' is no MAC address"]],
  ['name,mac,address\nweb1,52:54:00:00:00:01,10.0.0.300', ["f:2: '10.0.0.300' is no IPv4 address"]],
  ['name,mac\n-x-,52:54:00:00:00:01', ["f:2: '-x-' is no host name: lower-case letters, digits and -, at most 63"]],
  ['# nothing\n', ['f:1: there is no reservation in it']],
];
for (const [text, problems] of WRONG) {
  test(`refused as a whole: ${JSON.stringify(text)}`, () => {
    expect(nodesOf(text)).toEqual(problems);
  });
}

test('without a profile nothing is guessed', () => {
  expect(importNodes('f', 'dhcp-host=52:54:00:00:00:01,a', {})).toEqual({
    ok: false,
    problems: ["f:1: no profile is named for 'a': give one with --profile"],
  });
});

test('a file of blank lines is told apart as quickly as any', () => {
  const text = `${'\n'.repeat(300_000)}x`;
  expect(importNodes('f', text, { profile: 'web' }).ok).toBe(false);
});

test('any text has an answer', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      'host a {',
      '}',
      ';',
      '"',
      'hardware ethernet 52:54:00:00:00:01;',
      'dhcp-host=',
      ',',
      '\n',
      'name,mac\n',
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.constantFrom(undefined, ...IMPORT_FORMATS), fc.array(piece), (format, pieces) => {
      importNodes('f', pieces.join(''), { profile: 'web', ...(format && { format }) });
    }),
  );
});
