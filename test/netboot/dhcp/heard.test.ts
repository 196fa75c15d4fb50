// Who has which address where another server gives them: as the clients themselves say.

import { expect, test } from 'vitest';
import type { Ipv4Address } from '../../../formats/ipv4.ts';
import { addressTaken, HeardAddresses } from '../../../netboot/dhcp/heard.ts';
import { message, WEB1 } from './messages.ts';

const ADDRESS = '10.77.1.50' as Ipv4Address;

test('a REQUEST says which address its sender takes or renews; a DISCOVER only wishes for one', () => {
  expect(addressTaken(message('request', { options: { requestedAddress: ADDRESS } }))).toBe(ADDRESS);
  expect(addressTaken(message('request', { ciaddr: ADDRESS }))).toBe(ADDRESS);
  expect(addressTaken(message('request', {}))).toBeUndefined();
  expect(addressTaken(message('discover', { options: { requestedAddress: ADDRESS } }))).toBeUndefined();
});

test('the latest counts, and so many are remembered', () => {
  const heard = new HeardAddresses();
  const address = (index: number): Ipv4Address =>
    `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}` as Ipv4Address;
  for (let index = 0; index < 16_385; index += 1) heard.put(address(index), WEB1);
  expect(heard.macAt(address(0))).toBeUndefined();
  expect(heard.macAt(address(1))).toBe(WEB1);
});
