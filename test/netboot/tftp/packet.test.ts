// TFTP packets and file names: what is read, what is refused, and that nothing makes the decoder throw.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cleanName } from '../../../netboot/tftp/names.ts';
import { toNetascii } from '../../../netboot/tftp/netascii.ts';
import { decodePacket, encodePacket, OPTION_BOUNDS, type TftpPacket } from '../../../netboot/tftp/packet.ts';

const octets = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));

const options = fc.record(
  Object.fromEntries(
    Object.entries(OPTION_BOUNDS).map(([name, [least, most]]) => [
      name,
      fc.integer({ min: least, max: Math.min(most, 1e12) }),
    ]),
  ),
  { requiredKeys: [] },
);
const block = fc.nat(65_535);
const anyPacket: fc.Arbitrary<TftpPacket> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('rrq' as const, 'wrq' as const),
    name: fc.stringMatching(/^[!-~]{1,100}$/),
    mode: fc.constantFrom('octet' as const, 'netascii' as const),
    options,
  }),
  fc.record({ kind: fc.constant('data' as const), block, data: fc.uint8Array({ maxLength: 2000, size: 'max' }) }),
  fc.record({ kind: fc.constant('ack' as const), block }),
  fc.record({ kind: fc.constant('error' as const), code: block, message: fc.stringMatching(/^[ -~]{0,80}$/) }),
  fc.record({ kind: fc.constant('oack' as const), options: options.filter((one) => Object.keys(one).length > 0) }),
);

test('decode(encode(packet)) = packet', () => {
  fc.assert(
    fc.property(anyPacket, (packet) => {
      expect(decodePacket(encodePacket(packet))).toEqual({ ok: true, packet });
    }),
    { numRuns: 1000 },
  );
});

test('no octets make the decoder throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600, size: 'max' }), fc.nat(7), (tail, opcode) => {
      decodePacket(tail);
      decodePacket(Uint8Array.from([0, opcode, ...tail]));
    }),
    { numRuns: 3000 },
  );
});

type Row = { what: string; wire: string; want: unknown };
const plain = { ok: true, packet: { kind: 'rrq', name: 'f', mode: 'octet', options: {} } };
const withOptions = (granted: object): unknown => ({
  ok: true,
  packet: { kind: 'rrq', name: 'f', mode: 'octet', options: granted },
});
const ROWS: Row[] = [
  { what: 'a plain request', wire: '\0\x01f\0octet\0', want: plain },
  { what: 'a mode in capitals', wire: '\0\x01f\0OCTET\0', want: plain },
  {
    what: 'options in any case',
    wire: '\0\x01f\0octet\0BlkSize\x001428\0tsize\x000\0',
    want: withOptions({ blksize: 1428, tsize: 0 }),
  },
  {
    what: 'an unknown option',
    wire: '\0\x01f\0octet\0multicast\0\0blksize\x00512\0',
    want: withOptions({ blksize: 512 }),
  },
  { what: 'a block size below its bound', wire: '\0\x01f\0octet\0blksize\x007\0', want: plain },
  { what: 'a block size above its bound', wire: '\0\x01f\0octet\0blksize\x0065465\0', want: plain },
  { what: 'a value that is no number', wire: '\0\x01f\0octet\0blksize\0-1\0tsize\x001e3\0', want: plain },
  { what: 'a value of 400 digits', wire: `\0\x01f\0octet\0tsize\0${'9'.repeat(400)}\0`, want: plain },
  {
    what: 'an option twice',
    wire: '\0\x01f\0octet\0blksize\x00512\0blksize\x001024\0',
    want: withOptions({ blksize: 512 }),
  },
  { what: 'an option without a value', wire: '\0\x01f\0octet\0blksize\0', want: plain },
  { what: 'an option named as a method', wire: '\0\x01f\0octet\0toString\x001\0', want: plain },
  {
    what: 'a request cut off in its options',
    wire: '\0\x01f\0octet\0blksize\x00512\0tsi',
    want: withOptions({ blksize: 512 }),
  },
  { what: 'a request without a mode', wire: '\0\x01f\0', want: { ok: false, why: 'unterminated' } },
  { what: 'a mode cut off', wire: '\0\x01f\0octet', want: { ok: false, why: 'unterminated' } },
  { what: 'a request without a name', wire: '\0\x01\0octet\0', want: { ok: false, why: 'no-name' } },
  { what: 'mail', wire: '\0\x01f\0mail\0', want: { ok: false, why: 'unknown-mode' } },
  { what: 'a request of 600 octets', wire: `\0\x01${'f'.repeat(600)}\0octet\0`, want: { ok: false, why: 'too-long' } },
  { what: 'opcode 7', wire: '\0\x07\0\0', want: { ok: false, why: 'unknown-opcode' } },
  { what: 'three octets', wire: '\0\x04\0', want: { ok: false, why: 'too-short' } },
  {
    what: 'an error without a terminator',
    wire: '\0\x05\0\x08stop',
    want: { ok: true, packet: { kind: 'error', code: 8, message: 'stop' } },
  },
  {
    what: 'an ACK with something behind it',
    wire: '\0\x04\x01\x02xx',
    want: { ok: true, packet: { kind: 'ack', block: 258 } },
  },
];
for (const { what, wire, want } of ROWS) {
  test(`${what} is read`, () => expect(decodePacket(octets(wire))).toEqual(want));
}

const NAMES: [string, string | undefined][] = [
  ['undionly.kpxe', 'undionly.kpxe'],
  ['/undionly.kpxe', 'undionly.kpxe'],
  ['//grub//grub.cfg', 'grub/grub.cfg'],
  ['\\Boot\\x64\\bootmgr.exe', 'Boot/x64/bootmgr.exe'],
  ['./a/./b', 'a/b'],
  ['a..b', 'a..b'],
  ['../etc/passwd', undefined],
  ['a/../../etc/passwd', undefined],
  ['..\\..\\etc', undefined],
  ['/', undefined],
  ['a\nb', undefined],
  ['a\x1b[2J', undefined],
  ['caf\xe9', undefined],
  ['x'.repeat(256), undefined],
];
for (const [foreign, want] of NAMES) {
  test(`the name ${JSON.stringify(foreign.slice(0, 30))} becomes ${JSON.stringify(want)}`, () => {
    const result = cleanName(foreign);
    expect(result.ok ? result.name : undefined).toBe(want);
  });
}

test('netascii: LF becomes CR LF, a bare CR becomes CR NUL', () => {
  expect(toNetascii(octets('a\nb\rc\n'))).toEqual(octets('a\r\nb\r\0c\r\n'));
});
