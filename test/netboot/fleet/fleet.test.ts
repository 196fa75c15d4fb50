// Orders and the disk: what a node is told is known after any restart, together with what follows from it.

import { expect, test } from 'vitest';
import { Fleet } from '../../../netboot/fleet/fleet.io.ts';
import type { StoreRecord } from '../../../netboot/store/records.ts';
import { state } from './fleet-site.ts';

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
