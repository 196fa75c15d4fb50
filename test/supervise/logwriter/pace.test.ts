// When lines are left to gather: in a steady stream, and neither after a silence nor in bulk.

import { expect, test } from 'vitest';
import { paced, REST_MS, UNREAD } from '../../../supervise/logwriter/pace.ts';

/** What each read of a row of [after so many ms, so many bytes] leads to. */
function steadiness(reads: readonly (readonly [number, number])[]): boolean[] {
  let pace = UNREAD;
  let atMs = 1000;
  return reads.map(([afterMs, bytes]) => {
    atMs += afterMs;
    const next = paced(pace, bytes, atMs);
    ({ pace } = next);
    return next.isSteady;
  });
}

test('the first line after a silence is followed by no rest', () => {
  expect(
    steadiness([
      [0, 100],
      [10 * REST_MS, 100],
      [10 * REST_MS, 100],
    ]),
  ).toEqual([false, false, false]);
});

test('lines that follow each other closely gather, and after a rest those that came meanwhile too', () => {
  expect(
    steadiness([
      [0, 100],
      [0.1, 100],
      [REST_MS, 2000],
      [REST_MS, 2000],
    ]),
  ).toEqual([false, true, true, true]);
});

test('bulk is read on, in whatever pieces it comes, until it is over', () => {
  const bulk = Array.from({ length: 20 }, () => [0.05, 4096] as const);
  expect(steadiness(bulk).slice(8)).not.toContain(true);
  const after = Array.from({ length: 5 }, () => [REST_MS, 100] as const);
  expect(steadiness([...bulk, ...after]).at(-1)).toBe(true);
});
