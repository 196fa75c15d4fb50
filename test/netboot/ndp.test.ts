// Router solicitations: iPXE's own, and what must not be answered. Bytes from a capture of iPXE (1.0.0+git-20190125).

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { decideSolicitation, decodeSolicitation, encodeNoRouter } from '../../netboot/ndp.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const IPXE = '8500 7b8a 00000000 0101 525400770001';

const ROWS: readonly { readonly name: string; readonly wire: string; readonly want: string }[] = [
  { name: 'from iPXE', wire: IPXE, want: '52:54:00:77:00:01' },
  {
    name: 'another option first',
    wire: '85000000 00000000 0e01 000000000000 0101 525400770001',
    want: '52:54:00:77:00:01',
  },
  { name: 'without a sender', wire: '85000000 00000000', want: 'does not say who sent it' },
  { name: 'an advertisement', wire: '86000000 00000000 0101 525400770001', want: 'is no router solicitation' },
  { name: 'a code other than 0', wire: '85010000 00000000 0101 525400770001', want: 'is no router solicitation' },
  { name: 'cut in its header', wire: '85000000 000000', want: 'is shorter than its header' },
  {
    name: 'an option of length 0',
    wire: '85000000 00000000 0100 525400770001',
    want: 'has an option of an impossible length',
  },
  {
    name: 'an option that points past the end',
    wire: '85000000 00000000 0e02 000000000000',
    want: 'has an option of an impossible length',
  },
  {
    name: 'from a multicast address',
    wire: '85000000 00000000 0101 01005e000001',
    want: 'names no unicast hardware address',
  },
];

test.each(ROWS)('a solicitation $name', ({ wire, want }) => {
  const decoded = decodeSolicitation(hex(wire));
  expect(decoded.ok ? decoded.mac : decoded.why).toBe(want);
});

test('only a machine that is loading is answered', () => {
  expect(decideSolicitation(() => true, hex(IPXE))).toMatchObject({ kind: 'answer' });
  expect(decideSolicitation(() => false, hex(IPXE))).toEqual({
    kind: 'ignore',
    why: '52:54:00:77:00:01 is not being booted from here',
  });
});

test('the answer is no router: type 134, lifetime 0, no flags, no options', () => {
  expect(Buffer.from(encodeNoRouter()).toString('hex')).toBe(`86${'00'.repeat(15)}`);
});

test('foreign octets never throw', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => void decodeSolicitation(octets)));
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      (rest) => void decodeSolicitation(Uint8Array.from([133, 0, ...rest])),
    ),
  );
});
