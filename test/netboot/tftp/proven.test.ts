// An address that has answered is proven for a while; of made-up ones only so many are remembered.

import { expect, test } from 'vitest';
import { ipv4FromNumber } from '../../../formats/ipv4.ts';
import { ProvenAddresses } from '../../../netboot/tftp/proven.ts';

const ADDRESS = ipv4FromNumber(0x0a00000b);

test('proven by an answer, for five minutes after the last one', () => {
  const proven = new ProvenAddresses();
  expect(proven.has(ADDRESS, 0)).toBe(false);
  proven.prove(ADDRESS, 0);
  expect([1, 299_999, 300_000].map((nowMs) => proven.has(ADDRESS, nowMs))).toEqual([true, true, false]);
  proven.prove(ADDRESS, 299_000);
  expect(proven.has(ADDRESS, 300_000)).toBe(true);
});

test('of too many the one that answered longest ago is forgotten', () => {
  const proven = new ProvenAddresses();
  const other = ipv4FromNumber(0x0a00000c);
  proven.prove(ADDRESS, 0);
  proven.prove(other, 1);
  proven.prove(ADDRESS, 2);
  for (let index = 0; index < 19_999; index += 1) proven.prove(ipv4FromNumber(0x0b000000 + index), 3);
  expect([proven.has(ADDRESS, 4), proven.has(other, 4)]).toEqual([true, false]);
});
