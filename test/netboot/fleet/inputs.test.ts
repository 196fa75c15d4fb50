// What templates are given beside a node's own plan; who holds which VIP; what would change.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { inputsFor } from '../../../netboot/fleet/inputs.ts';
import { liveDiff } from '../../../netboot/fleet/livediff.ts';
import { liveFiles, renderLive } from '../../../netboot/fleet/live.ts';
import { type NodeState, reported } from '../../../netboot/fleet/nodestate.ts';
import type { Order } from '../../../netboot/fleet/orders.ts';
import { isOutOfService, type ServiceFacts } from '../../../netboot/fleet/outofservice.ts';
import { planOf, refusalsOf, wantedOf } from '../../../netboot/fleet/planview.ts';
import { vipsOf, withAnswers } from '../../../netboot/fleet/vips.ts';
import type { Template } from '../../../images/manifest.ts';
import { decodeArchive } from '../../../images/cpioread.ts';
import { boot, FILES, IMAGES, report, site, state, states } from './fleet-site.ts';

const LB2 = { name: 'lb2', profile: 'lb', labels: {}, address: '10.0.0.22' as Ipv4Address };
const WEB1 = { name: 'web1', profile: 'web', labels: {}, address: '10.0.0.11' as Ipv4Address };

test('a balancer: its pool, its peers with priorities, its subnet', () => {
  expect(inputsFor(site(), states(state('web1', 'web')), LB2)).toEqual({
    pools: { web: [{ name: 'web1', address: '10.0.0.11', weight: 1, state: 'in' }] },
    peers: [
      { name: 'lb1', address: '10.0.0.21', index: 0, priority: 200 },
      { name: 'lb2', address: '10.0.0.22', index: 1, priority: 190 },
    ],
    index: 1,
    subnet: {
      name: 'rack1',
      network: '10.0.0.0/24',
      prefixLength: 24,
      netmask: '255.255.255.0',
      router: '10.0.0.1',
    },
    directVips: [],
  });
});

test('a balancer whose file was edited stays a peer until it boots as something else', () => {
  const edited = site({ 'nodes/lb1.yaml': 'macs: [52:54:00:77:00:11]\nprofile: web\naddress: 10.0.0.21\n' });
  const names = (...all: NodeState[]) => inputsFor(edited, states(...all), LB2).peers.map(({ name }) => name);
  expect(names(state('lb1', 'lb'))).toEqual(['lb1', 'lb2']);
  expect(names(state('lb1', 'web'))).toEqual(['lb2']);
});

test('direct VIPs go to the members of the pool of a direct service, and to nobody else', () => {
  expect(inputsFor(site(), states(), WEB1).directVips).toEqual(['10.0.0.200']);
  expect(inputsFor(site(), states(), { ...WEB1, profile: 'lb' }).directVips).toEqual([]);
  const nat = site({
    'profiles/lb.yaml': 'extends: role/lb\nvars: {virtualServices: [{vip: 10.0.0.200, pool: web, mode: nat}]}\n',
  });
  expect(inputsFor(nat, states(), WEB1).directVips).toEqual([]);
});

test('an address in no subnet has no router, said so that strict templates may ask', () => {
  expect(inputsFor(site(), states(), { ...WEB1, address: undefined }).subnet).toEqual({
    name: null,
    network: null,
    prefixLength: null,
    netmask: null,
    router: null,
  });
});

const HOLDS = [{ interface: 'eth0', address: '10.0.0.200' as Ipv4Address, prefixLength: 32 }];
/** What a node reported, at which second, of the VIP: "+" holds it, "-" does not, "l" has it on its loopback. */
function told(node: string, words: string): NodeState {
  return words
    .split(' ')
    .filter(Boolean)
    .reduce(
      (one, word) => {
        const addresses = word[0] === '-' ? [] : word[0] === 'l' ? [{ ...HOLDS[0]!, interface: 'lo' }] : HOLDS;
        return reported(one, `${node}-1`, report({ addresses, memoryFreeKb: 99_999 }), Number(word.slice(1)) * 1000);
      },
      state(node, 'lb'),
    );
}
const HOLDERS: [lb1: string, lb2: string, holders: string, alarm: boolean][] = [
  ['', '', '', false],
  ['+0 +10', '-0 -10', 'lb1', false],
  // Killed at 11: its last report goes on claiming, and is no alarm however long lb2 holds it.
  ['+0 +10', '-0 +22 +32 +400', 'lb2 lb1', false],
  // Both said so, but for one report only.
  ['+0 +10', '+8', 'lb2 lb1', false],
  ['+0 +10 +20', '+8 +18', 'lb2 lb1', true],
  ['+0 +10 +13', '+11 +14', 'lb2 lb1', false],
  // A gap begins anew.
  ['+0 +10 -20 +30', '+8 +18 +31', 'lb1 lb2', false],
  // A real server of a direct service has it on its loopback.
  ['+0 +10 +20', 'l8 l18', 'lb1', false],
];
for (const [lb1, lb2, holders, alarm] of HOLDERS) {
  test(`VIP: lb1 says ${lb1 || 'nothing'}, lb2 ${lb2 || 'nothing'}`, () => {
    const [view] = vipsOf(site(), states(told('lb1', lb1), told('lb2', lb2)));
    expect(view?.holders.map(({ node }) => node).join(' ')).toBe(holders);
    expect(view?.alarm !== undefined).toBe(alarm);
  });
}
test('the alarm names both, the address and how long', () => {
  const [view] = vipsOf(site(), states(told('lb1', '+0 +20'), told('lb2', '+8 +18')));
  expect(view?.alarm).toBe("lb1 and lb2 both hold 10.0.0.200 for 10 s: they do not hear each other's VRRP");
});
test('two that answer ARP for an address are an alarm at once; who is no node is told by its MAC', () => {
  const views = vipsOf(site(), states(told('lb1', '+0 +10')));
  const heard = (...macs: string[]) => {
    const answers = new Map([['10.0.0.200' as Ipv4Address, macs as MacAddress[]]]);
    return withAnswers(views, answers, site())[0];
  };
  expect(heard('52:54:00:77:00:11')).toMatchObject({ answers: [{ node: 'lb1' }], alarm: undefined });
  expect(heard()).toMatchObject({ answers: [], alarm: undefined });
  expect(heard('52:54:00:77:00:11', '52:54:00:99:00:01')?.alarm).toBe(
    '52:54:00:99:00:01 and lb1 both answer ARP for 10.0.0.200',
  );
  expect(withAnswers(views, new Map(), site())[0]?.answers).toBeUndefined();
});
test('the advertisement interval of the profile is what three are counted of', () => {
  const slow = site({
    'profiles/lb.yaml':
      'extends: role/web\nimage: none\nvars: {advertIntervalS: 4, virtualServices: [{vip: 10.0.0.200, pool: web, mode: dr}]}\n',
  });
  const [view] = vipsOf(slow, states(told('lb1', '+0 +20'), told('lb2', '+8 +18')));
  expect(view?.alarm).toBeUndefined();
});

test('the plan: who changes, by what way, which VIP moves, what stays in each pool', () => {
  const edited = site({
    'nodes/lb1.yaml': 'macs: [52:54:00:77:00:11]\nprofile: web\naddress: 10.0.0.21\n',
    'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: lb\naddress: 10.0.0.11\n',
  });
  const all = states(
    told('lb1', '+0'),
    told('lb2', '-0'),
    state('web1', 'web'),
    state('web2', 'web'),
    state('web3', 'web', { boot: boot('web3', 'web', { isReady: false }) }),
  );
  const facts = { site: edited, images: IMAGES, states: all, nowMs: 5000, listeningSinceMs: 0 };
  const view = planOf(facts, ['lb1', 'lb2', 'web1', 'web2']);
  const rows = view.nodes.filter(({ node }) => node !== 'lb2');
  expect(rows.map(({ node, how, vips }) => [node, how, vips])).toEqual([
    ['lb1', 'kexec', [{ vip: '10.0.0.200', to: 'lb2' }]],
    ['web1', 'power-up', []],
    ['web2', 'nothing', []],
  ]);
  expect(view.nodes[0]).toMatchObject({ runs: 'lb generation 1 as lb', should: 'web generation 1 as web' });
  expect(view.pools).toMatchObject([{ name: 'web', now: 1, meanwhile: 1 }]);
});

test('silence is counted from when the boot server could listen', () => {
  const edited = site({ 'nodes/lb1.yaml': 'macs: [52:54:00:77:00:11]\nprofile: web\naddress: 10.0.0.21\n' });
  const all = states(told('lb1', '+0'), told('lb2', '-0'));
  const row = (listeningSinceMs: number) =>
    planOf({ site: edited, images: IMAGES, states: all, nowMs: 3_600_000, listeningSinceMs }, ['lb1']).nodes[0];
  expect(row(0)).toMatchObject({ how: 'power-up', vips: [{ to: undefined }] });
  expect(row(3_590_000)).toMatchObject({ how: 'kexec', vips: [{ to: 'lb2' }] });
});

test('the plan says what node boot would do: what it refuses is refused here, in the same words', () => {
  const edited = site({ 'nodes/web1.yaml': 'macs: [52:54:00:77:00:01]\nprofile: lb\naddress: 10.0.0.11\n' });
  const web1 = (memoryFreeKb: number, over: Partial<NodeState> = {}): NodeState =>
    state('web1', 'web', {
      report: { bootId: 'web1-1', atMs: 0, report: report({ memoryFreeKb }), sinceMs: {} },
      ...over,
    });
  const ask = (node: NodeState, over: { isCold?: boolean; isForced?: boolean } = {}, as = edited, images = IMAGES) => {
    const facts = { site: as, images, states: states(node, state('web2', 'web')), nowMs: 5000, listeningSinceMs: 0 };
    const view = planOf(facts, ['web1']);
    const wanted = wantedOf(facts, as.nodes.get('web1')!, undefined);
    const request = { kind: 'boot', isCold: false, isForced: false, ...over } as const;
    const refusals = wanted.kind === 'boot' ? refusalsOf(facts, 'web1', { ...request, plan: wanted.plan }) : [];
    return { how: view.nodes[0]?.how, problems: view.problems, refusals: refusals.map(({ why }) => why) };
  };
  const short = 'a kexec needs 16 MB free and it has 1 MB';
  expect(ask(web1(1000))).toEqual({ how: 'cold', problems: [`web1: ${short}; use --cold`], refusals: [short] });
  expect(ask(web1(1000), { isCold: true }).refusals).toEqual([]);
  expect(ask(web1(99_999))).toEqual({ how: 'kexec', problems: [], refusals: [] });
  const silent = ask(web1(99_999, { report: undefined }), { isCold: true, isForced: true });
  expect(silent).toMatchObject({ how: 'power-up', refusals: ['it does not report, so it takes no orders'] });
  const unbuilt = ask(web1(99_999), {}, edited, new Map([['web', IMAGES.get('web')!]]));
  expect(unbuilt).toMatchObject({ how: 'refused', problems: [expect.stringContaining("image 'lb' is not built")] });
  const local = 'macs: [52:54:00:77:00:01]\nprofile: disk\naddress: 10.0.0.11\n';
  const disk = ask(web1(99_999), {}, site({ 'nodes/web1.yaml': local, 'profiles/disk.yaml': 'boot: local\n' }));
  expect(disk).toMatchObject({ how: 'cold', refusals: ['local as disk cannot be started by kexec'] });
});

test('a loss is refused unless it is forced, in one line; an obstacle is refused even so', () => {
  const scarce = site({ 'rouse.yaml': FILES['rouse.yaml']?.replace('minimum: 1', 'minimum: 2') });
  const facts = { site: scarce, states: states(told('lb1', '+0'), state('web1', 'web'), state('web2', 'web')) };
  const refusals = (node: string, isForced: boolean) =>
    refusalsOf({ ...facts, nowMs: 0, listeningSinceMs: 0 }, node, { kind: 'drain', isForced });
  const todo = 'to do it all the same: --force';
  const pool = "pool 'web' would keep 1 of 2 in service, and its minimum is 2";
  expect(refusals('web1', false)).toEqual([{ kind: 'loss', why: pool, todo }]);
  expect(refusals('lb1', false)).toEqual([{ kind: 'loss', why: 'no other node could take 10.0.0.200', todo }]);
  expect([refusals('web1', true), refusals('lb1', true)]).toEqual([[], []]);
});

test('a node serves nobody once every balancer that is heard has applied its files, and others hold its VIPs', () => {
  const files = (kind: 'done' | 'failed'): Order => ({
    bootId: 'lb1-1',
    number: 1,
    verb: 'files',
    argument: 'a',
    madeAtMs: 0,
    outcome: { kind, atMs: 0, detail: '' },
  });
  const held = (...nodes: string[]) => [{ vip: '10.0.0.200' as Ipv4Address, holders: nodes.map((node) => ({ node })) }];
  const base = {
    states: states(told('lb1', '+0'), state('web1', 'web')),
    nowMs: 1000,
    listeningSinceMs: 0,
    isSettled: true,
    ordersOf: () => [files('done')],
    vips: held('lb1'),
  };
  const is = (over: Partial<ServiceFacts>, name = 'web1', vips: string[] = []) =>
    isOutOfService(name, vips, { ...base, ...over });
  expect(is({})).toBe(true);
  expect(is({ isSettled: false })).toBe(false);
  expect(is({ ordersOf: () => [files('failed')] })).toBe(false);
  expect(is({ ordersOf: () => [files('failed')], nowMs: 31_000 })).toBe(true);
  expect(is({ vips: held('lb1') }, 'lb1', ['10.0.0.200'])).toBe(false);
  expect(is({ vips: held() }, 'lb1', ['10.0.0.200'])).toBe(false);
  expect(is({ vips: held('lb2') }, 'lb1', ['10.0.0.200'])).toBe(true);
});

test('live files are rendered from the file of the node while it wants the profile that runs, else as it was booted', () => {
  const template: Template = {
    path: '/etc/motd',
    mode: 0o644,
    source: '{{ node.note }}/{{ vars.vrid }}',
    origin: 'services/lb/files/etc/motd.liquid',
    live: { check: '', reload: '' },
  };
  const running = (templates: readonly Template[]) => ({
    ...boot('lb1', 'lb'),
    plan: { ...boot('lb1', 'lb').plan, vars: { vrid: 7 } },
    image: { templates: [...templates], vars: { vrid: { type: 'number', default: 3, text: '' } } } as const,
  });
  const text = (profile: string, templates: readonly Template[]) => {
    const note = `macs: [52:54:00:77:00:11]\nprofile: ${profile}\naddress: 10.0.0.21\nnote: hello\n`;
    const facts = {
      site: site({ 'nodes/lb1.yaml': note, 'profiles/lb.yaml': 'extends: role/lb\n' }),
      states: states(),
      pools: [],
    };
    const rendered = renderLive(facts, 'lb1', running(templates), () => '0'.repeat(64));
    return rendered?.kind === 'live' ? new TextDecoder().decode(rendered.live.files[0]?.content) : rendered?.why;
  };
  expect(text('lb', [])).toBeUndefined();
  expect(text('lb', [{ ...template, live: undefined }])).toBeUndefined();
  expect(text('lb', [template])).toBe('hello/3');
  expect(text('web', [template])).toBe('hello/7');
  expect(text('lb', [{ ...template, source: '{{ vars.nope }}' }])).toContain('undefined variable: vars.nope');
});

test('live files are a cpio whose revision is its hash, the same for the same files; a difference is told by line', () => {
  const files = (text: string) => [{ path: '/etc/a/b.conf', mode: 0o644, content: new TextEncoder().encode(text) }];
  const hash = (octets: Uint8Array): string => String(octets.length).padStart(16, '0');
  const one = liveFiles(files('x\ny\n'), hash);
  const other = { ...liveFiles(files('x\nz\n'), hash), revision: 'other' };
  expect(liveFiles(files('x\ny\n'), hash)).toEqual(one);
  const reading = decodeArchive(one.archive);
  expect(reading.ok && reading.entries.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
    'directory etc',
    'directory etc/a',
    'file etc/a/b.conf',
  ]);
  const facts = { now: other, problem: undefined, appliedRevision: one.revision, applied: one };
  expect(liveDiff(facts, [])).toMatchObject({ isSame: false, files: [{ path: '/etc/a/b.conf', diff: ['-y', '+z'] }] });
  expect(liveDiff({ ...facts, appliedRevision: 'other' }, [])).toMatchObject({ isSame: true, files: [] });
  expect(liveDiff({ ...facts, appliedRevision: 'other' }, [{ path: '/a', detail: 'no' }])).toMatchObject({
    isSame: false,
    notes: ['/a was refused by its check, the old one is in force: no'],
  });
});
