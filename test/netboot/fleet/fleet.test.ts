// Orders and the disk: what a node is told is known after any restart, together with what follows from it.

import { expect, test } from 'vitest';
import type { Change } from '../../../netboot/fleet/change.ts';
import { Fleet } from '../../../netboot/fleet/fleet.io.ts';
import type { Order } from '../../../netboot/fleet/orders.ts';
import type { StoredBoot, StoreRecord } from '../../../netboot/store/records.ts';
import { boot, report, state } from './fleet-site.ts';

test('an order and what it makes of its node go to disk as one, and only then to the node', async () => {
  const commits: { records: readonly StoreRecord[]; done: () => void }[] = [];
  const commit = (records: readonly StoreRecord[]): Promise<void> =>
    new Promise((done) => {
      commits.push({ records, done });
    });
  const facts = { site: () => undefined, bootById: () => undefined, commit, log: () => undefined };
  const fleet = new Fleet(facts, { nodes: [state('web1', 'web')], orders: [] });
  const polled: string[] = [];
  const poll = fleet.waitForOrders('web1-1', 0).then((orders) => polled.push(...orders.map(({ verb }) => verb)));
  const ordering = fleet.order('web1', 'switch', 'next', (node, number) => ({ ...node, once: `order ${number}` }));
  expect(commits.map(({ records }) => records.map(({ kind }) => kind))).toEqual([['order', 'node']]);
  expect(commits[0]?.records[1]).toMatchObject({ state: { node: 'web1', once: 'order 1' } });

  // A node that asks meanwhile waits too.
  const second = fleet.waitForOrders('web1-1', 0).then((orders) => polled.push(...orders.map(({ verb }) => verb)));
  await new Promise((resolve) => setImmediate(resolve));
  expect(polled).toEqual([]);
  commits[0]?.done();
  expect(await ordering).toBe(1);
  await Promise.all([poll, second]);
  expect(polled).toEqual(['switch', 'switch']);
  fleet.close();
});

test('the orders of a boot that left the shelf are forgotten; those of what a node runs or has just left never are', async () => {
  const order = (bootId: string): Order => ({
    bootId,
    number: 7,
    verb: 'drain',
    argument: '',
    madeAtMs: 0,
    outcome: { kind: 'waiting' },
  });
  const onShelf = { id: 'shelf' } as StoredBoot;
  const facts = {
    site: () => undefined,
    bootById: (id: string) => (id === onShelf.id ? onShelf : undefined),
    commit: () => Promise.resolve(),
    log: () => undefined,
  };
  const change = { fromBootId: 'left' } as Change;
  const ids = ['web1-1', 'left', 'shelf', 'gone'];
  const fleet = new Fleet(facts, { nodes: [state('web1', 'web', { change })], orders: ids.map(order) });
  const known = (): string[] => ids.filter((id) => fleet.orders.of(id).length > 0);
  expect(known()).toEqual(ids);
  await expect.poll(known).toEqual(['web1-1', 'left', 'shelf']);
  fleet.close();
});

test('a node that reports itself ready is ready, and what an operator drained is told to drain again', async () => {
  const facts = {
    site: () => undefined,
    bootById: () => undefined,
    commit: () => Promise.resolve(),
    log: () => undefined,
  };
  const running = boot('web1', 'web', { isReady: false });
  const drained = state('web1', 'web', { boot: running, draining: 'operator' });
  const fleet = new Fleet(facts, { nodes: [drained], orders: [] });
  const stored = { ...running, mac: running.plan.node.mac } as unknown as StoredBoot;
  await fleet.report(stored, report({ isReady: false }), 1);
  expect(fleet.state('web1')).toMatchObject({ boot: { isReady: false }, lastGood: undefined, report: { atMs: 1 } });
  await fleet.report(stored, report(), 2);
  expect(fleet.state('web1')).toMatchObject({
    boot: { isReady: true },
    lastGood: { plan: running.plan },
    report: { atMs: 2 },
  });
  expect(fleet.orders.waiting(running.id, 0).map(({ verb }) => verb)).toEqual(['drain']);
  fleet.close();
});
