// Virtual addresses between the files of a site: each wrong one with the exact words, then what right ones come to.

import { expect, test } from 'vitest';
import { resolveVars } from '../../../netboot/site/vars.ts';
import { site, siteResult } from '../fleet/fleet-site.ts';

const lb = (more: string): string => `extends: role/lb\nvars:\n${more}`;
const vs = (text: string): string => `  virtualServices:\n    - ${text}\n`;

const WRONG: { what: string; files: Record<string, string>; says: string }[] = [
  {
    what: 'a VIP outside every subnet',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.9.0.200, pool: web}')) },
    says: 'profiles/lb.yaml:4:13 vars.virtualServices[0].vip: 10.9.0.200 is no host address of any subnet in rouse.yaml',
  },
  {
    what: 'a VIP that is the router',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.0.0.1, pool: web}')) },
    says: "profiles/lb.yaml:4:13 vars.virtualServices[0].vip: 10.0.0.1 is the router of subnet 'rack1', expected another",
  },
  {
    what: 'a VIP that a machine may be given',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.0.0.150, pool: web}')) },
    says: "profiles/lb.yaml:4:13 vars.virtualServices[0].vip: 10.0.0.150 lies in 10.0.0.100-10.0.0.199, which subnet 'rack1' gives to machines",
  },
  {
    what: 'a VIP that is a node’s address',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.0.0.11, pool: web}')) },
    says: "profiles/lb.yaml:4:13 vars.virtualServices[0].vip: 10.0.0.11 is the address of node 'web1' (nodes/web1.yaml:3:10)",
  },
  {
    what: 'two profiles with one VIP',
    files: { 'profiles/other.yaml': lb(vs('{vip: 10.0.0.200, pool: web}')) },
    says: "profiles/other.yaml:4:13 vars.virtualServices[0].vip: 10.0.0.200 is already claimed by profile 'lb' (profiles/lb.yaml:4:13)",
  },
  {
    what: 'an inside VIP that another profile has',
    files: { 'profiles/other.yaml': lb(vs('{vip: 10.0.0.201, pool: web}') + '  insideVip: 10.0.0.200\n') },
    says: "profiles/other.yaml:5:14 vars.insideVip: 10.0.0.200 is already claimed by profile 'lb' (profiles/lb.yaml:4:13)",
  },
  {
    what: 'two profiles with one VRID',
    files: {
      'profiles/lb.yaml': lb(`${vs('{vip: 10.0.0.200, pool: web}')}  vrid: 51\n`),
      'profiles/other.yaml': lb(`${vs('{vip: 10.0.0.201, pool: web}')}  vrid: 51\n`),
    },
    says: "profiles/other.yaml:5:9 vars.vrid: VRID 51 is already claimed by profile 'lb' (profiles/lb.yaml:5:9)",
  },
  {
    what: 'a VRID that is none',
    files: { 'profiles/lb.yaml': lb(`${vs('{vip: 10.0.0.200, pool: web}')}  vrid: 256\n`) },
    says: 'profiles/lb.yaml:5:9 vars.vrid: expected a VRID, 1 to 255, got 256',
  },
  {
    what: 'a service without a pool',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.0.0.200}')) },
    says: "profiles/lb.yaml:4:7 vars.virtualServices[0]: missing key 'pool', expected the name of a pool (web)",
  },
  {
    what: 'a pool that is not there',
    files: { 'profiles/lb.yaml': lb(vs('{vip: 10.0.0.200, pool: wbe}')) },
    says: "profiles/lb.yaml:4:31 vars.virtualServices[0].pool: unknown pool 'wbe', did you mean 'web'?",
  },
];
for (const { what, files, says } of WRONG) test(`refused: ${what}`, () => expect(siteResult(files)).toEqual([says]));

test('a profile that others extend claims nothing while no node has it; with two in use it is a clash', () => {
  const files = { 'profiles/lb-a.yaml': 'extends: lb\n' };
  expect(site(files).balancers.get('lb-a')?.vips).toEqual(['10.0.0.200']);
  const used = { ...files, 'nodes/lb2.yaml': 'macs: [52:54:00:77:00:12]\nprofile: lb-a\naddress: 10.0.0.22\n' };
  expect(siteResult(used)).toEqual([
    "profiles/lb.yaml:4:13 vars.virtualServices[0].vip: 10.0.0.200 is already claimed by profile 'lb' (profiles/lb.yaml:4:13)",
  ]);
});

test('VRIDs: allocated alike every time, apart from each other and from explicit ones', () => {
  const names = Array.from({ length: 60 }, (_, index) => `lb${index}`);
  const files = Object.fromEntries(
    names.map((name, index) => [
      `profiles/${name}.yaml`,
      lb(`${vs(`{vip: 10.0.0.${201 + (index % 50)}, pool: web}`)}${index === 0 ? '  vrid: 7\n' : ''}`),
    ]),
  );
  // Fifty addresses are enough for fifty profiles.
  const some = Object.fromEntries(Object.entries(files).slice(0, 50));
  const balancers = [...site(some).balancers.values()];
  const all = balancers.flatMap(({ vrid, insideVrid }) => [vrid, insideVrid]);
  expect(new Set(all).size).toBe(102);
  expect(all.every((vrid) => Number.isInteger(vrid) && vrid >= 1 && vrid <= 255)).toBe(true);
  expect(site(some).balancers).toEqual(site(some).balancers);
  expect(site(some).balancers.get('lb0')?.vrid).toBe(7);
});

const FIELDS = {
  vip: { type: 'ipv4' },
  port: { type: 'number', default: 80 },
  mode: { type: 'string', default: 'nat', values: ['dr', 'nat'] },
  check: { type: 'object', optional: true, fields: { path: { type: 'string' } } },
} as const;
const OBJECTS: [value: string, want: string][] = [
  ['[{vip: 10.0.0.200}]', '[{"vip":"10.0.0.200","port":80,"mode":"nat","check":null}]'],
  ['[{vip: 10.0.0.200, check: {path: /x}}]', '[{"vip":"10.0.0.200","port":80,"mode":"nat","check":{"path":"/x"}}]'],
  ['{vip: 10.0.0.200}', 'expected a list of maps, got {"vip":"10.0.0.200"}'],
  ['[one]', '[0]: expected a map, got "one"'],
  ['[{}]', "[0]: missing key 'vip', expected an IPv4 address such as 10.77.0.200"],
  ['[{vip: 10.0.0}]', '[0].vip: expected an IPv4 address such as 10.77.0.200, got "10.0.0"'],
  ['[{vip: 10.0.0.1}, {vip: 10.0.0.2, prot: 1}]', "[1]: unknown key 'prot', did you mean 'port'?"],
  ['[{vip: 10.0.0.1, port: http}]', '[0].port: expected a number, got "http"'],
  ['[{vip: 10.0.0.1, mode: tun}]', '[0].mode: expected dr, nat, got "tun"'],
  ['[{vip: 10.0.0.1, check: {paht: /}}]', "[0].check: unknown key 'paht', did you mean 'path'?"],
];
for (const [value, want] of OBJECTS) {
  test(`an object var: ${value}`, () => {
    const { effective } = site({ 'profiles/free.yaml': `image: x\nvars: {things: ${value}}\n` }).profiles.get('free')!;
    const declared = { things: { type: 'object', default: [], text: '', fields: FIELDS } } as const;
    const { vars, problems } = resolveVars(effective, declared, 'x');
    const [problem] = problems;
    expect(
      problem === undefined ? JSON.stringify(vars['things']?.value) : problem.message.replace(/^vars\.things:? ?/, ''),
    ).toBe(want);
  });
}
