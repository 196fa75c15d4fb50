// Published files in memory: one read for all readers, none more than there is room for, and none for ever.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Bodies } from '../../../netboot/http/bodies.io.ts';

const FOUR_MB = Buffer.alloc(4_000_000, 'rouse ');
let folder = '';
const file = (name: string, content: Buffer = FOUR_MB): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-bodies-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

test('readers follow the one that began, and have the file’s octets', async () => {
  const bodies = new Bodies(10_000_000);
  const path = file('a');
  const readers = Array.from({ length: 10 }, () => bodies.enter(path, FOUR_MB.length));
  expect(new Set(readers).size).toBe(1);
  await Promise.all(readers.map(async (body) => await body?.upTo(FOUR_MB.length)));
  expect(readers[0]?.bytes.equals(FOUR_MB)).toBe(true);
  expect(bodies.bytes).toBe(FOUR_MB.length);
});

test('there is room for so much; what nobody reads gives way, what is read does not', () => {
  const bodies = new Bodies(9_000_000);
  const [a, b, c] = [file('a'), file('b'), file('c')];
  bodies.enter(a, FOUR_MB.length);
  bodies.enter(b, FOUR_MB.length);
  expect(bodies.enter(c, FOUR_MB.length)).toBeUndefined();
  bodies.leave(a);
  expect(bodies.enter(c, FOUR_MB.length)).toBeDefined();
  expect(bodies.bytes).toBe(8_000_000);
});

test('a minute after the last reader a file is let go, and not before', () => {
  vi.useFakeTimers();
  const bodies = new Bodies(9_000_000);
  const path = file('a');
  bodies.enter(path, FOUR_MB.length);
  bodies.enter(path, FOUR_MB.length);
  bodies.leave(path);
  vi.advanceTimersByTime(300_000);
  expect(bodies.bytes).toBe(FOUR_MB.length);
  bodies.leave(path);
  vi.advanceTimersByTime(59_000);
  bodies.enter(path, FOUR_MB.length);
  bodies.leave(path);
  vi.advanceTimersByTime(59_000);
  expect(bodies.bytes).toBe(FOUR_MB.length);
  vi.advanceTimersByTime(2000);
  expect(bodies.bytes).toBe(0);
});

test('a file that is shorter than was said fails all who wait, and is tried again by the next', async () => {
  const bodies = new Bodies(10_000_000);
  const path = file('a');
  truncateSync(path, 1000);
  const readers = [bodies.enter(path, FOUR_MB.length), bodies.enter(path, FOUR_MB.length)];
  for (const body of readers) await expect(body?.upTo(FOUR_MB.length)).rejects.toThrow('shorter than its manifest');
  await readers[0]?.upTo(1000);
  for (const _ of readers) bodies.leave(path);
  expect(bodies.bytes).toBe(0);
  writeFileSync(path, FOUR_MB);
  await expect(bodies.enter(path, FOUR_MB.length)?.upTo(FOUR_MB.length)).resolves.toBeUndefined();
});
