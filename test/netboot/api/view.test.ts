// What commands show: a site in which nothing is wrong, a node that fell silent, a balancer that does not know its peers yet.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { nodeView, type ViewFacts } from '../../../netboot/api/nodeview.ts';
import { configView, segmentView } from '../../../netboot/api/view.ts';
import type { Order } from '../../../netboot/fleet/orders.ts';
import { LeaseBook } from '../../../netboot/store/leases.ts';
import { IMAGES, report, site, state, states } from '../fleet/fleet-site.ts';

const notes = (files: Record<string, string>) =>
  configView(site(files), { isGood: true, problems: [], warnings: [], sinceMs: 0 }).notes;

test('a site without a maintenance profile is told what that means; one with it is told nothing', () => {
  expect(notes({})).toEqual([
    "there is no profile 'maintenance': a node that fails three boots in a row goes on trying; " +
      'for a rescue shell then, write profiles/maintenance.yaml with: extends: role/maintenance',
  ]);
  expect(notes({ 'profiles/maintenance.yaml': 'extends: role/web\n' })).toEqual([]);
});

const NOW = 1_000_000;
const files = site();
const reported = (agoS: number, filesRevision?: string) => ({
  bootId: 'web1-1',
  atMs: NOW - agoS * 1000,
  report: report({ filesRevision }),
  sinceMs: {},
});
const view = (name: string, over: Partial<ViewFacts>) => {
  const node = files.nodes.get(name);
  if (node === undefined) throw new Error('the test is wrong');
  return nodeView(
    {
      site: files,
      images: IMAGES,
      leases: new LeaseBook(),
      journal: undefined,
      states: states(state(name, name.slice(0, -1), { report: reported(100) })),
      sightings: [],
      nowMs: NOW,
      listeningSinceMs: 0,
      ordersOf: () => [],
      ...over,
    },
    node,
  );
};
const seen = (mac: string, agoS: number) => ({
  mac: mac as MacAddress,
  interfaceName: 'eth1',
  firstAtMs: 0,
  lastAtMs: NOW - agoS * 1000,
  messages: 1,
  client: '',
  clientKind: 'pxe' as const,
  architecture: 0,
  said: '',
});

test('a node whose reports stopped is not called ready, and a machine that nobody knows is named beside it', () => {
  const since = `nothing heard of it since ${new Date(NOW - 100_000).toISOString()}`;
  expect(view('web1', {})).toMatchObject({ silence: since, readiness: 'silent for 100 s', report: { isSilent: true } });
  // Heard before it fell silent, or a node's own.
  const others = [seen('02:00:00:00:00:08', 200), seen('52:54:00:77:00:02', 5)];
  expect(view('web1', { sightings: others }).silence).toBe(since);
  expect(view('web1', { sightings: [...others, seen('02:00:00:00:00:09', 5)] }).silence).toBe(
    `${since}; heard since then and in no node file: 02:00:00:00:00:09 on eth1; ` +
      'if that is web1 with another card: rouse node replace web1 --with 02:00:00:00:00:09',
  );
});

test('a boot server that has just come back has not listened: nobody is silent yet', () => {
  expect(view('web1', { listeningSinceMs: NOW - 5000 })).toMatchObject({
    silence: undefined,
    readiness: 'ready',
    report: { isSilent: false, ageMs: 100_000 },
  });
});

const order = (agoS: number, outcome: Order['outcome'] = { kind: 'waiting' }): ViewFacts['ordersOf'] => {
  const madeAtMs = NOW - agoS * 1000;
  return (bootId) => [{ bootId, number: 1, verb: 'files', argument: 'b'.repeat(16), madeAtMs, outcome }];
};

test('live files that were not taken are told, of a balancer loudly: before two of them hold an address', () => {
  const late = 'has not taken its live files for 60 s';
  expect(view('web1', { ordersOf: order(60) })).toMatchObject({ behind: late, alarm: undefined });
  expect(view('lb1', { ordersOf: order(60) })).toMatchObject({
    behind: late,
    alarm: `lb1 ${late}: it may not know its peers or its pool; see: rouse node diff lb1`,
  });
  expect(view('lb1', { ordersOf: order(10) }).behind).toBeUndefined();
  // It could not ask for orders before.
  expect(view('lb1', { ordersOf: order(60), listeningSinceMs: NOW - 10_000 }).behind).toBeUndefined();
  const failed = { kind: 'failed', atMs: NOW, detail: 'keepalived -t: line 3' } as const;
  expect(view('lb1', { ordersOf: order(1, failed) }).alarm).toContain('could not take its live files: keepalived -t');
  expect(view('lb1', { ordersOf: order(60, { kind: 'done', atMs: NOW, detail: '' }) }).behind).toBeUndefined();
  const taken = states(state('lb1', 'lb', { report: reported(1, 'b'.repeat(16)) }));
  expect(view('lb1', { ordersOf: order(60), states: taken }).behind).toBeUndefined();
});

test('another DHCP server silences only what would give addresses: not mode: observe, nor mode: proxy', () => {
  const other = '10.0.0.9' as Ipv4Address;
  const segment = { held: { kind: 'foreign', server: other }, others: [{ address: other, lastSeenMs: 1 }] } as const;
  const on = (mode: 'dhcp' | 'proxy' | 'observe', answerBesideOthers = false) => ({ mode, answerBesideOthers });
  const rows = [
    [[on('dhcp')], true, /^another DHCP server answers here/],
    [[on('dhcp', true)], false, /^answers$/],
    [[on('proxy')], false, /^answers$/],
    [[on('observe')], false, /^answers nobody: mode: observe$/],
    [[on('observe'), on('dhcp')], true, /^another DHCP server answers here/],
  ] as const;
  for (const [subnets, isHeld, says] of rows) {
    const served = segmentView(segment, subnets);
    expect(served).toMatchObject({ isHeld, otherServers: [other] });
    expect(served.dhcp).toMatch(says);
  }
  expect(segmentView({ held: { kind: 'looking' }, others: [] }, [on('dhcp')])).toMatchObject({ isHeld: false });
});
