// Who is in a pool: states in, members out. No clock is asked, so silence cannot be seen; that is also tested.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import {
  began,
  closed,
  freshState,
  loaded,
  type NodeState,
  ready,
  reported,
} from '../../../netboot/fleet/nodestate.ts';
import { inService, type Member, poolNews, poolsOf, type PoolView, shortfalls } from '../../../netboot/fleet/pools.ts';
import { boot, report, site, state, states } from './fleet-site.ts';

const show = (...all: readonly NodeState[]): string => {
  const [pool] = poolsOf(site(), states(...all));
  return (pool?.members ?? []).map(({ name, weight, state: is }) => `${name} ${weight} ${is}`).join(', ');
};

const ROWS: { what: string; states: NodeState[]; want: string }[] = [
  { what: 'nobody has booted', states: [], want: '' },
  { what: 'ready once', states: [state('web1', 'web')], want: 'web1 1 in' },
  { what: 'sorted by name', states: [state('web2', 'web'), state('web1', 'web')], want: 'web1 1 in, web2 1 in' },
  {
    what: 'booting, never ready yet',
    states: [state('web1', 'web', { boot: boot('web1', 'web', { isReady: false }) })],
    want: '',
  },
  { what: 'of another profile', states: [state('lb1', 'lb'), state('web1', 'web')], want: 'web1 1 in' },
  { what: 'drained by an operator', states: [state('web1', 'web', { draining: 'operator' })], want: 'web1 0 draining' },
  { what: 'drained by a change', states: [state('web1', 'web', { draining: 'change' })], want: 'web1 0 draining' },
  { what: 'in no node file', states: [state('node-525400990001', 'web')], want: '' },
  { what: 'its file says web, it still runs lb', states: [state('web1', 'lb')], want: '' },
  {
    what: 'its file says lb, it still runs web, another serves',
    states: [state('lb1', 'web'), state('web1', 'web')],
    want: 'lb1 0 leaving, web1 1 in',
  },
  {
    what: 'its file says lb, it still runs web, nobody else serves',
    states: [state('lb1', 'web')],
    want: 'lb1 1 kept',
  },
  {
    what: 'two are leaving, one must stay',
    states: [state('lb1', 'web'), state('lb2', 'web')],
    want: 'lb1 1 kept, lb2 0 leaving',
  },
  {
    what: 'a reported failure of a check is health, not membership',
    states: [
      state('web1', 'web', {
        report: { bootId: 'web1-1', atMs: 0, report: report({ isReady: false }), sinceMs: {} },
      }),
    ],
    want: 'web1 1 in',
  },
];
for (const { what, states: given, want } of ROWS) test(`pool: ${what}`, () => expect(show(...given)).toBe(want));

test('labels choose as well as profiles', () => {
  const labelled = site({
    'rouse.yaml':
      'version: 1\nsubnets: [{name: a, interface: e, network: 10.0.0.0/24}]\npools: {web: {match: {profile: web, labels: {rack: r1}}}, all: {match: {}}}\n',
    'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: web\naddress: 10.0.0.11\nlabels: {rack: r1}\n',
  });
  const pools = poolsOf(labelled, states(state('web1', 'web'), state('web2', 'web')));
  expect(pools.map(({ name, members }) => [name, members.map((one) => one.name)])).toEqual([
    ['all', ['web1', 'web2']],
    ['web', ['web1']],
  ]);
});

type Step = (state: NodeState) => NodeState;
const SILENT: Step[] = [
  (one) => reported(one, one.boot?.id ?? '', report({ isReady: false }), 1),
  (one) => reported(one, 'another boot', report(), 2),
  (one) => loaded(one, one.boot?.id ?? ''),
  (one) => ready(one, 'a boot of long ago'),
  (one) => began(one, boot('web1', 'web')),
];

test('no report, no silence and nothing of another boot takes a member away', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...SILENT)), (steps) => {
      const after = steps.reduce((one, step) => step(one), state('web1', 'web'));
      expect(show(after)).toBe('web1 1 in');
    }),
  );
});

test('whatever the edits of profiles, a pool with anyone in it keeps someone in service', () => {
  const files = (choices: readonly boolean[]) =>
    Object.fromEntries(
      choices.map((isWeb, index) => [
        `nodes/web${index + 1}.yaml`,
        `macs: [52:54:00:77:00:0${index + 1}]\nprofile: ${isWeb ? 'web' : 'lb'}\naddress: 10.0.0.1${index + 1}\n`,
      ]),
    );
  fc.assert(
    fc.property(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), (choices) => {
      const all = states(state('web1', 'web'), state('web2', 'web'), state('web3', 'web'));
      const [pool] = poolsOf(site(files(choices)), all);
      expect(pool?.members.length).toBe(3);
      expect(inService(pool?.members ?? [])).toBe(Math.max(1, choices.filter(Boolean).length));
    }),
  );
});

const script = (one: NodeState, id: string): NodeState =>
  began(one, boot('web1', 'web', { id, isReady: false, isLoaded: false }));

test('who only asks for scripts is a member still; a change that drained it knows that it left', () => {
  const asked = script(script(state('web1', 'web'), 'web1-2'), 'web1-3');
  expect(show(asked)).toBe('web1 1 in');
  const speaking = began(asked, boot('web1', 'web', { isReady: false }));
  expect([show(speaking), speaking.boot?.id, speaking.before]).toEqual(['web1 1 in', 'web1-1', undefined]);
  expect(show(script(state('web1', 'web', { draining: 'change' }), 'web1-2'))).toBe('');
  // Loaded and never ready: what it ran before is gone for good.
  expect(show(script(loaded(asked, 'web1-3'), 'web1-4'))).toBe('');
});

test('a new boot that is loaded leaves the pool until it is ready', () => {
  const again = loaded(script(state('web1', 'web'), 'web1-2'), 'web1-2');
  expect(show(again)).toBe('');
  expect(show(ready(again, 'web1-2'))).toBe('web1 1 in');
});

test('a shortfall is told only of who takes something away', () => {
  const pools = poolsOf(site(), states(state('web1', 'web'), state('web2', 'web', { draining: 'operator' })));
  expect(shortfalls(pools, new Set(['web1']))).toEqual([
    "pool 'web' would keep 0 of 1 in service, and its minimum is 1",
  ]);
  expect(shortfalls(pools, new Set(['web2', 'lb1']))).toEqual([]);
  expect(closed(freshState('web1'))).toEqual(freshState('web1'));
});

test('who comes, changes and leaves is told in words, and nothing where nothing changed', () => {
  const view = (...members: [name: string, state: Member['state']][]): PoolView[] => [
    {
      name: 'web',
      minimum: 1,
      members: members.map(([name, is]) => ({ name, state: is, address: '10.0.0.11' as Ipv4Address, weight: 1 })),
    },
  ];
  const before = view(['web1', 'in'], ['web2', 'in']);
  expect(poolNews(before, before)).toEqual([]);
  expect(poolNews([], before)).toEqual(['pool web: web1 is in', 'pool web: web2 is in']);
  expect(poolNews(before, view(['web2', 'draining'], ['web3', 'in']))).toEqual([
    'pool web: web2 is draining, was in',
    'pool web: web3 is in',
    'pool web: web1 has left',
  ]);
});
