// What people read is fit for a terminal, and is said once; a record is believed only where it belongs.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { printable } from '../../formats/printable.ts';
import { decodeRecord, encodeRecord, strangerOf } from '../../supervise/record.ts';
import { Repeats } from '../../supervise/repeats.ts';
import { newService } from '../../supervise/machine.ts';

test('printable: control characters, other directions and half characters are spelt out, all else stays', () => {
  expect(printable('a\u001B[2J\nb\t\u009B\u202Ec\uD800')).toBe('a\\x1b[2J\\nb\\t\\x9b\\u202ec\\ud800');
  expect(printable('Grüße, 漢字 🚀 "\\"')).toBe('Grüße, 漢字 🚀 "\\"');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cs}\u2028\u2029\u202E]/u);
    }),
  );
});

test('repeats: said once an hour, with how often it was not; others are not held back', () => {
  const repeats = new Repeats();
  expect(repeats.newsOf('a', 0)).toBe('a');
  expect(repeats.newsOf('b', 1)).toBe('b');
  for (let nowMs = 1000; nowMs < 3_600_000; nowMs += 1000) expect(repeats.newsOf('a', nowMs)).toBeUndefined();
  expect(repeats.newsOf('a', 3_600_000)).toBe('a (and 3599 times since it was last said)');
  expect(repeats.newsOf('b', 3_600_001)).toBe('b');
});

test('repeats: what strangers can make many of is bounded; the oldest is forgotten', () => {
  const repeats = new Repeats();
  for (let line = 0; line < 5000; line += 1) repeats.newsOf(String(line), 0);
  expect(repeats.newsOf('4999', 1)).toBeUndefined();
  expect(repeats.newsOf('0', 1)).toBe('0');
});

test('a record of another directory or with the pid of another service is a stranger; an old one is not', () => {
  const service = { ...newService('up', { monotonicMs: 0, wall: { unixS: 0, nanoseconds: 0 }, random: 0 }), pid: 77 };
  const record = decodeRecord(encodeRecord(service, '1', 'boot', '8:1'));
  expect(strangerOf(record, '8:1', undefined)).toBeUndefined();
  expect(strangerOf(record, '8:2', undefined)).toBe('it was written for another directory');
  expect(strangerOf(record, '8:1', 'web')).toBe('its pid 77 is that of web');
  expect(strangerOf(decodeRecord(encodeRecord(service, '1', 'boot')), '8:1', undefined)).toBeUndefined();
  expect(strangerOf(undefined, '8:1', 'web')).toBeUndefined();
});
