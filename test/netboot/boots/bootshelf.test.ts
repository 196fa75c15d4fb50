// Which boots stay in memory: what a machine runs is never pushed out, and strangers push out nobody but strangers.

import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { BootShelf } from '../../../netboot/boots/bootshelf.ts';
import type { StoredBoot } from '../../../netboot/store/records.ts';

const boot = (id: string, mac: string, known = true): StoredBoot =>
  ({ id, mac: mac as MacAddress, plan: { node: { known } }, overlay: new Uint8Array(1) }) as unknown as StoredBoot;
const idsOf = (shelf: BootShelf): string[] => [...shelf.byId.keys()];

test('the latest three of a machine, and the one that spoke last, however many are asked for', () => {
  const shelf = new BootShelf([boot('before', 'a'), boot('runs', 'a')]);
  for (const id of ['before', 'runs']) shelf.keep({ ...boot(id, 'a'), overlay: undefined });
  for (let index = 0; index < 10; index += 1) shelf.keep(boot(String(index), 'a'));
  expect(idsOf(shelf)).toEqual(['runs', '7', '8', '9']);
  expect(shelf.latest('a' as MacAddress)?.id).toBe('9');
});

test('of strangers so many are kept, the latest; nodes are counted apart', () => {
  const shelf = new BootShelf([boot('node', 'node')]);
  for (let index = 0; index < 2000; index += 1) shelf.keep(boot(String(index), `stranger ${index}`, false));
  expect(shelf.byId.size).toBe(501);
  expect(idsOf(shelf).slice(0, 2)).toEqual(['node', '1500']);
  expect(shelf.latest('stranger 1499' as MacAddress)).toBeUndefined();
  expect(shelf.latest('stranger 1999' as MacAddress)?.id).toBe('1999');
});
