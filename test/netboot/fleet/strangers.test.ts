// Machines that no node file names: however many there are, a bounded number is remembered; one that became a node is told so
// where another server gives the addresses.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import type { MacAddress } from '../../../formats/mac.ts';
import { Fleet } from '../../../netboot/fleet/fleet.io.ts';
import type { NodeState } from '../../../netboot/fleet/nodestate.ts';
import { adoptedMachines, strangersToForget } from '../../../netboot/fleet/strangers.ts';
import type { Site } from '../../../netboot/site/site.ts';
import type { StoreRecord } from '../../../netboot/store/records.ts';
import { boot, FILES, plan, report, site, state, states } from './fleet-site.ts';

const macOf = (number: number): MacAddress =>
  `02:00:00:00:${String(number).padStart(4, '0').replace(/..$/, ':$&')}` as MacAddress;
function stranger(number: number, over: Partial<NodeState> = {}): NodeState {
  const name = `node-${number}`;
  const ours = plan(name, 'discover');
  const node = { ...ours.node, mac: macOf(number), known: false };
  const address = '10.0.0.150' as Ipv4Address;
  return state(name, 'discover', {
    boot: boot(name, 'discover', { plan: { ...ours, node }, startedAtMs: number, isReady: false, address }),
    ...over,
  });
}
const spoke = { report: { bootId: 'x', atMs: 1, report: report(), sinceMs: {} } };

test('those that never spoke are forgotten first, then those that booted longest ago; nodes never', () => {
  const all = states(
    stranger(1, spoke),
    state('web1', 'web'),
    stranger(2),
    stranger(3),
    stranger(4, spoke),
    stranger(5),
  );
  expect(strangersToForget(all, 5)).toEqual([]);
  expect(strangersToForget(all, 3)).toEqual(['node-2', 'node-3']);
  expect(strangersToForget(all, 1)).toEqual(['node-2', 'node-3', 'node-5', 'node-1']);
  // One that boots its own disk is known by what it booted before.
  const left = stranger(9, {
    boot: undefined,
    lastGood: { plan: stranger(9).boot!.plan, image: { templates: [], vars: {} } },
  });
  expect(strangersToForget(states(left, state('web1', 'web')), 0)).toEqual(['node-9']);
});

const rouse = (mode: string): string =>
  FILES['rouse.yaml']!.replace('router:', `mode: ${mode}, unknown: discover, router:`);
const files = (mode: string, more: Record<string, string> = {}): Site =>
  site({
    'rouse.yaml': mode === 'dhcp' ? rouse(mode) : rouse(mode).replace('pools: [10.0.0.100-10.0.0.199], ', ''),
    'profiles/discover.yaml': 'image: web\n',
    ...more,
  });
const named = { 'nodes/new1.yaml': `macs: [${macOf(7)}]\nprofile: web\n` };

test('a machine under inventory that a node file names is told, where rouse does not give the addresses', () => {
  const running = states(stranger(7), stranger(8));
  expect(adoptedMachines(files('proxy'), running)).toEqual([]);
  expect(adoptedMachines(files('proxy', named), running)).toEqual([
    { stranger: 'node-7', bootId: 'node-7-1', node: 'new1' },
  ]);
  // The renewal of its address is refused there.
  expect(adoptedMachines(files('dhcp', named), running)).toEqual([]);
  // A machine that serves (unknown: default) is not rebooted by an edit.
  const serving = stranger(7);
  const other = { ...serving.boot!.plan, profile: { name: 'web', chain: ['web'] } };
  const busy = { ...serving, boot: { ...serving.boot!, plan: other } };
  expect(adoptedMachines(files('proxy', named), states(busy))).toEqual([]);
});

test('the fleet orders it once, and lets strangers go from memory and disk', async () => {
  let now = files('proxy');
  const records: StoreRecord[] = [];
  const lines: string[] = [];
  const nodes = [stranger(7, spoke), ...Array.from({ length: 1004 }, (_, index) => stranger(index + 10))];
  const fleet = new Fleet(
    {
      site: () => now,
      bootById: () => undefined,
      commit: (some) => {
        records.push(...some);
        return Promise.resolve();
      },
      log: (line) => lines.push(line),
    },
    { nodes, orders: [] },
  );
  await expect.poll(() => fleet.states.size).toBe(1000);
  expect(fleet.states.has('node-7')).toBe(true);
  expect(records).toEqual([10, 11, 12, 13, 14].map((number) => ({ kind: 'node-forgotten', node: `node-${number}` })));
  records.length = 0;
  now = files('proxy', named);
  fleet.touch();
  await expect.poll(() => lines.at(-1)).toBe('node-7 has become new1: it is told to boot as that');
  expect(fleet.orders.of('node-7-1')).toMatchObject([{ verb: 'reboot', number: 1 }]);
  fleet.touch();
  await expect.poll(() => fleet.isSettled()).toBe(true);
  expect(fleet.orders.of('node-7-1')).toHaveLength(1);
  expect(records).toMatchObject([{ kind: 'order', order: { verb: 'reboot' } }]);
  fleet.close();
});
