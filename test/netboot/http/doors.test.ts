// Who may have another connection, and whose body is next.

import { expect, test } from 'vitest';
import {
  connectionLimit,
  descriptorLimit,
  Doors,
  MOST_BODIES_PER_PEER,
  MOST_PER_PEER,
  MOST_PER_PEER_CROWDED,
  Turns,
} from '../../../netboot/http/doors.ts';

const enter = (doors: Doors, peer: string, times: number): string[] =>
  Array.from({ length: times }, () => doors.enter(peer));

test('one peer has so many, the first refusal is told, and a place that is left is given again', () => {
  const doors = new Doors(1000);
  expect(new Set(enter(doors, 'a', MOST_PER_PEER))).toEqual(new Set(['come']));
  expect(enter(doors, 'a', 2)).toEqual(['refuse-first', 'refuse']);
  expect(doors.enter('b')).toBe('come');
  doors.leave('a');
  expect(doors.enter('a')).toBe('come');
});

test('when it is crowded, those who have many wait for those who have few', () => {
  const doors = new Doors(100);
  enter(doors, 'a', MOST_PER_PEER);
  enter(doors, 'b', 11);
  expect(doors.enter('b')).not.toBe('come');
  expect(new Set(enter(doors, 'c', MOST_PER_PEER_CROWDED))).toEqual(new Set(['come']));
  expect(doors.enter('c')).not.toBe('come');
  for (let index = 0; doors.open < 100; index += 1) expect(doors.enter(`d${index}`)).toBe('come');
  expect(doors.enter('late')).not.toBe('come');
});

test('connections take a quarter of the descriptors that there are', () => {
  expect(descriptorLimit('Max open files            20000                524288               files \n')).toBe(20_000);
  expect([connectionLimit(20_000), connectionLimit(1024), connectionLimit(1_000_000)]).toEqual([5000, 256, 8192]);
});

test('bodies of one peer wait for their turn, in their order; others do not wait', async () => {
  const turns = new Turns();
  const begun: number[] = [];
  for (let index = 0; index < MOST_BODIES_PER_PEER + 2; index += 1) void turns.take('a').then(() => begun.push(index));
  void turns.take('b').then(() => begun.push(99));
  await Promise.resolve();
  expect(begun).toEqual([...Array(MOST_BODIES_PER_PEER).keys(), 99]);
  turns.done('a');
  turns.done('a');
  await Promise.resolve();
  expect(begun.slice(-2)).toEqual([MOST_BODIES_PER_PEER, MOST_BODIES_PER_PEER + 1]);
});
