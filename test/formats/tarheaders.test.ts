// The headers of an archive are bounded before its reader takes them into memory, however the octets arrive.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TarHeaders } from '../../formats/tarheaders.ts';

const BLOCK = 512;

/** A header, and its body padded. */
function entry(type: string, body: string, sizeField = body.length.toString(8).padStart(11, '0')): Uint8Array {
  const octets = new Uint8Array(BLOCK + Math.ceil(body.length / BLOCK) * BLOCK);
  const put = (text: string, at: number): void => octets.set(new TextEncoder().encode(text), at);
  put('etc/x', 0);
  put(sizeField, 124);
  put(type, 156);
  put(body, BLOCK);
  return octets;
}
const END = new Uint8Array(2 * BLOCK);
const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
function verdict(archive: Uint8Array, cuts: readonly number[] = []): string | undefined {
  const headers = new TarHeaders();
  let from = 0;
  for (const to of [...cuts, archive.length]) {
    const why = headers.push(archive.subarray(from, to));
    if (why !== undefined) return why;
    from = to;
  }
  return undefined;
}

const LONG = entry('x', '30 path=etc/profiles/a-long-name\n');
const ROWS: readonly [string, Uint8Array, string | undefined][] = [
  ['plain files', join(entry('0', 'a'), entry('0', 'b'.repeat(1000)), END), undefined],
  ['a long name before each', join(LONG, entry('0', 'a'), LONG, entry('2', ''), END), undefined],
  ['GNU long name and link', join(entry('L', 'n'.repeat(200)), entry('K', 'l'.repeat(200)), entry('2', '')), undefined],
  ['65536 octets', join(entry('x', 'x'.repeat(65_536)), entry('0', '')), undefined],
  ['65537 octets', entry('x', 'x'.repeat(65_537)), 'an extended header is longer than 65536 bytes'],
  ['a global one', entry('g', 'x'.repeat(70_000)), 'an extended header is longer than 65536 bytes'],
  ['five in a row', join(LONG, LONG, LONG, LONG, LONG), 'more than 4 extended headers come in a row'],
  [
    'a size of its own',
    join(entry('x', '12 size=99\n'), entry('0', 'a')),
    'an extended header gives the size of its entry',
  ],
  ['a size in base 256', entry('0', 'a', '\u0080\0\0\0'), 'a header gives no size that it may have'],
  ['words for a size', entry('0', 'a', 'twelve'), 'a header gives no size that it may have'],
  // What lies in a body is no header.
  ['a body that looks like one', join(entry('0', String.fromCharCode(...entry('x', ''))), END), undefined],
];
for (const [what, archive, why] of ROWS) test(`${what}: ${why ?? 'taken'}`, () => expect(verdict(archive)).toBe(why));

test('however the octets are cut, the verdict is the same, and nothing throws', () => {
  const pieces = fc.array(
    fc.oneof(
      fc
        .record({ type: fc.constantFrom('0', '2', 'x', 'g', 'L'), length: fc.nat(1500) })
        .map(({ type, length }) => entry(type, 'y'.repeat(length))),
      fc.uint8Array({ minLength: 1, maxLength: 700 }),
    ),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(pieces, fc.array(fc.nat(4000), { maxLength: 8 }), (parts, cuts) => {
      const archive = join(...parts);
      const sorted = cuts.filter((cut) => cut <= archive.length).sort((a, b) => a - b);
      expect(verdict(archive, sorted)).toBe(verdict(archive));
    }),
  );
});
