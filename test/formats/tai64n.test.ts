// TAI64N as daemontools writes it: the constant of 10 s, big-endian, 24 digits behind an @.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { packTai64n, renderTai64n, unpackTai64n, wallTimeFromMs, wallTimeToMs } from '../../formats/tai64n.ts';

test('the label of the start of 1970 is 2^62 + 10', () => {
  expect(renderTai64n({ unixS: 0, nanoseconds: 0 })).toBe('@400000000000000a00000000');
  expect(renderTai64n({ unixS: 1_000_000_000, nanoseconds: 500 })).toBe('@400000003b9aca0a000001f4');
});

test('unpack undoes pack', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 40 }),
      fc.integer({ min: 0, max: 999_999_999 }),
      (unixS, nanoseconds) => {
        expect(unpackTai64n(packTai64n({ unixS, nanoseconds }))).toEqual({ unixS, nanoseconds });
      },
    ),
  );
});

test('a billion nanoseconds is no label', () => {
  const octets = packTai64n({ unixS: 1, nanoseconds: 0 });
  new DataView(octets.buffer).setUint32(8, 1_000_000_000);
  expect(unpackTai64n(octets)).toBeUndefined();
  expect(unpackTai64n(new Uint8Array(11))).toBeUndefined();
});

test('milliseconds survive', () => {
  expect(wallTimeToMs(wallTimeFromMs(1_700_000_000_123))).toBeCloseTo(1_700_000_000_123, 3);
});
