// The option table and the message codec: decode(encode(x)) = x for whatever a row can hold, and no throw for whatever
// the network can send.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ipv4FromNumber } from '../../../formats/ipv4.ts';
import {
  decodeMessage,
  type DhcpMessage,
  encodeMessage,
  HEADER_BYTES,
  replyLimit,
} from '../../../netboot/dhcp/message.ts';
import {
  nameOptions,
  numberOptions,
  type OptionName,
  OPTIONS,
  packOptions,
  type RawOption,
  walkOptions,
} from '../../../netboot/dhcp/options.ts';
import {
  domainList,
  ipv4,
  ipv4List,
  octets,
  pxeSubOptions,
  routes,
  subOptions,
  text,
  toHex,
  u8,
  u8List,
  u16,
  u16List,
  u32,
} from '../../../netboot/dhcp/values.ts';

const hex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits.replaceAll(' ', ''), 'hex'));

const address = fc.nat(0xffffffff).map(ipv4FromNumber);
// Past one and two parts of 255 octets, or RFC 3396 would go untested.
const someOctets = fc.uint8Array({ minLength: 0, maxLength: 700, size: 'max' });
const someText = fc.string({ unit: 'binary-ascii', maxLength: 600, size: 'max' }).filter((one) => !one.endsWith('\0'));
const subOption = (least: number, most: number) =>
  fc.record({ code: fc.integer({ min: least, max: most }), octets: fc.uint8Array({ maxLength: 255, size: 'max' }) });
const route = fc
  .record({ prefix: fc.nat(32), base: fc.nat(0xffffffff), router: address })
  .map(({ prefix, base, router }) => {
    const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
    return { network: { address: ipv4FromNumber((base & mask) >>> 0), prefixLength: prefix }, router };
  });
const label = fc.stringMatching(/^[a-z0-9-]{1,63}$/);
const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));

const KINDS = new Map<unknown, fc.Arbitrary<unknown>>([
  [u8, fc.nat(255)],
  [u16, fc.nat(65_535)],
  [u32, fc.nat(0xffffffff)],
  [ipv4, address],
  [ipv4List, fc.array(address, { minLength: 1, maxLength: 100, size: 'max' })],
  [u16List, fc.array(fc.nat(65_535), { minLength: 1, maxLength: 10 })],
  [u8List, fc.array(fc.nat(255), { maxLength: 300, size: 'max' })],
  [octets, someOctets],
  [text, someText],
  [pxeSubOptions, fc.array(subOption(1, 254), { maxLength: 5 })],
  [subOptions, fc.array(subOption(0, 255), { maxLength: 5 })],
  [routes, fc.array(route, { minLength: 1, maxLength: 5 })],
  [domainList, fc.array(domain, { minLength: 1, maxLength: 3 })],
]);

const anyOptions = fc.record(
  Object.fromEntries(
    (Object.keys(OPTIONS) as OptionName[])
      // Overloading says where options lie; we never write it, and its own tests follow.
      .filter((name) => name !== 'overload')
      .map((name) => [name, KINDS.get(OPTIONS[name].kind)!]),
  ),
  { requiredKeys: [] },
);
const anyMessage: fc.Arbitrary<DhcpMessage> = fc.record({
  op: fc.constantFrom(1, 2),
  htype: fc.nat(255),
  hlen: fc.nat(255),
  hops: fc.nat(255),
  xid: fc.nat(0xffffffff),
  secs: fc.nat(65_535),
  flags: fc.nat(65_535),
  ciaddr: address,
  yiaddr: address,
  siaddr: address,
  giaddr: address,
  chaddr: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  sname: fc.stringMatching(/^[ -~]{0,63}$/),
  file: fc.stringMatching(/^[ -~]{0,127}$/),
  options: anyOptions,
  others: fc.constant([]),
});

test('every kind of value in the table has a generator here', () => {
  for (const [name, { kind }] of Object.entries(OPTIONS)) expect(KINDS.has(kind), name).toBe(true);
});

test('no two rows share a code, and none takes pad or end', () => {
  const codes = Object.values(OPTIONS).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
  expect(codes.every((code) => code >= 1 && code <= 254)).toBe(true);
});

test('decode(encode(message)) = message', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const decoded = decodeMessage(encodeMessage(message, 100_000));
      expect(decoded).toMatchObject({ ok: true, message });
    }),
    { numRuns: 500 },
  );
});

test('no octets make the decoder throw', () => {
  const header = hex(`0101060012345678${'00'.repeat(HEADER_BYTES - 12)}63825363`);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600, size: 'max' }), fc.boolean(), (tail, withHeader) => {
      const packet = withHeader ? Uint8Array.from([...header, ...tail]) : tail;
      const decoded = decodeMessage(packet);
      if (decoded.ok) encodeMessage(decoded.message);
    }),
    { numRuns: 3000 },
  );
});

test('the decoded message keeps nothing of the packet', () => {
  const packet = Buffer.from(encodeMessage(blank({ clientIdentifier: hex('0102030405') })));
  const decoded = decodeMessage(packet);
  packet.fill(0xff);
  expect(decoded.ok && toHex(decoded.message.chaddr)).toBe(`525400770001${'00'.repeat(10)}`);
  expect(decoded.ok && decoded.message.options.clientIdentifier).toEqual(hex('0102030405'));
});

function blank(options: DhcpMessage['options'], more: Partial<DhcpMessage> = {}): DhcpMessage {
  const none = ipv4FromNumber(0);
  return {
    op: 1,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 1,
    secs: 0,
    flags: 0,
    ciaddr: none,
    yiaddr: none,
    siaddr: none,
    giaddr: none,
    chaddr: hex(`525400770001${'00'.repeat(10)}`),
    sname: '',
    file: '',
    options,
    others: [],
    ...more,
  };
}

type WalkRow = { what: string; field: string; want: string[] | 'options-truncated' };

const WALKS: WalkRow[] = [
  { what: 'an option and END', field: '350101 ff', want: ['53:01'] },
  { what: 'pads before, between and after', field: '00 00 350101 00 0c0161 00 ff 00', want: ['53:01', '12:61'] },
  { what: 'a missing END', field: '350101', want: ['53:01'] },
  { what: 'nothing', field: '', want: [] },
  { what: 'what follows END is not read', field: '350101 ff 0c0161', want: ['53:01'] },
  { what: 'an empty option', field: '0c00 ff', want: ['12:'] },
  // RFC 3396: parts of one option need not be neighbours.
  { what: 'an option in two parts', field: '0c0161 350101 0c0162 ff', want: ['12:6162', '53:01'] },
  { what: 'a code without a length', field: '350101 0c', want: 'options-truncated' },
  { what: 'a length one past the end', field: '350101 0c0261', want: 'options-truncated' },
  { what: 'a length past the end', field: '350101 0c0561', want: 'options-truncated' },
];
for (const { what, field, want } of WALKS) {
  test(`walking ${what}`, () => {
    const result = walkOptions([hex(field)]);
    expect(result.ok ? result.options.map((one) => `${one.code}:${toHex(one.octets)}`) : result.why).toEqual(want);
  });
}

test('an option longer than 255 octets travels in parts', () => {
  const long: RawOption = { code: 67, octets: new Uint8Array(511).fill(0x61) };
  const packed = packOptions([long]);
  expect([packed[0], packed[1], packed[257], packed[258], packed[514], packed[515]]).toEqual([67, 255, 67, 255, 67, 1]);
  expect(packed.length).toBe(511 + 6 + 1);
  expect(walkOptions([packed])).toEqual({ ok: true, options: [long] });
});

test('an illegal value drops its option, and the whole message where a decision hangs on it', () => {
  const raw = (code: number, octetsHex: string): RawOption => ({ code, octets: hex(octetsHex) });
  expect(nameOptions([raw(97, 'ff'), raw(51, '01')])).toMatchObject({ ok: true, others: [raw(51, '01')] });
  for (const code of [50, 53, 54, 118]) {
    expect(nameOptions([raw(code, '0a0000')])).toMatchObject({ ok: false, why: 'option-value' });
  }
});

test('our messages carry 53 first, 67 behind everything but 82, and 82 last', () => {
  const options = numberOptions(
    {
      relayAgent: hex('0102aabb'),
      bootFile: 'x',
      vendorInformation: [],
      messageType: 2,
      subnetMask: ipv4FromNumber(1),
    },
    [{ code: 224, octets: hex('01') }],
  );
  expect(options.map(({ code }) => code)).toEqual([53, 1, 43, 67, 224, 82]);
});

type OverloadRow = { overload: number; want: { file: string; sname: string; hostname?: string; domainName?: string } };

const OVERLOADS: OverloadRow[] = [
  { overload: 1, want: { file: '', sname: '\x0f\x01b\xff', hostname: 'a' } },
  { overload: 2, want: { file: '\x0c\x01a\xff', sname: '', domainName: 'b' } },
  { overload: 3, want: { file: '', sname: '', hostname: 'a', domainName: 'b' } },
];
for (const { overload, want } of OVERLOADS) {
  test(`option 52 = ${overload} fills file or sname with options`, () => {
    const packet = encodeMessage(blank({ overload }));
    packet.set(hex('0c0161ff'), 108);
    packet.set(hex('0f0162ff'), 44);
    const decoded = decodeMessage(packet);
    if (!decoded.ok) throw new Error(decoded.why);
    const { message } = decoded;
    const { hostname, domainName } = message.options;
    expect({ file: message.file, sname: message.sname, hostname, domainName }).toEqual({
      hostname: undefined,
      domainName: undefined,
      ...want,
    });
  });
}

test('an option in a field and its overload is joined in RFC 3396 order: options, file, sname', () => {
  const packet = encodeMessage(blank({ overload: 3, hostname: '1' }));
  packet.set(hex('0c0132ff'), 108);
  packet.set(hex('0c0133ff'), 44);
  const decoded = decodeMessage(packet);
  expect(decoded.ok && decoded.message.options.hostname).toBe('123');
});

test('a reply is padded to 300 octets, and gives up what can be spared to fit its limit', () => {
  expect(encodeMessage(blank({ messageType: 2 })).length).toBe(300);
  const full = blank({
    messageType: 2,
    hostname: 'h'.repeat(100),
    domainName: 'd'.repeat(100),
    bootFile: 'f'.repeat(120),
  });
  expect(encodeMessage(full, 548).length).toBe(240 + 3 + 102 + 102 + 122 + 1 - 102);
  const decoded = decodeMessage(encodeMessage(full, 548));
  expect(decoded.ok && Object.keys(decoded.message.options)).toEqual(['messageType', 'hostname', 'bootFile']);
  // Never the boot file, however small the limit.
  const least = decodeMessage(encodeMessage(full, 300));
  expect(least.ok && Object.keys(least.message.options)).toEqual(['messageType', 'bootFile']);
});

test('a name of 127 characters fits the file field, one of 128 is left to option 67', () => {
  const file = (length: number): unknown => {
    const decoded = decodeMessage(encodeMessage(blank({ messageType: 2 }, { file: 'f'.repeat(length) })));
    return decoded.ok && decoded.message.file.length;
  };
  expect([file(127), file(128)]).toEqual([127, 0]);
});

const LIMITS: [asked: number | undefined, want: number][] = [
  [undefined, 548],
  [300, 548],
  [576, 548],
  [1260, 1232],
  [1500, 1472],
  [0xff00, 1472],
];
for (const [asked, want] of LIMITS) {
  test(`option 57 = ${asked} lets a reply have ${want} octets`, () => {
    expect(replyLimit(blank({ maxMessageBytes: asked }))).toBe(want);
  });
}

const ROUTE_ROWS: [string, number][] = [
  ['00 0a000001', 0],
  ['08 0a 0a000001', 8],
  ['19 0a000080 0a000001', 25],
];
for (const [value, prefixLength] of ROUTE_ROWS) {
  test(`a classless route of /${prefixLength} takes only the octets it needs`, () => {
    const list = routes.decode(hex(value));
    expect(list).toMatchObject([{ network: { prefixLength }, router: '10.0.0.1' }]);
    expect(toHex(routes.encode(list!))).toBe(value.replaceAll(' ', ''));
  });
}

test('domain names are read with compression, and a pointer that does not go back is refused', () => {
  // RFC 3397's own example: eng.apple.com., marketing.apple.com. with a pointer to apple.com.
  const value = hex('03656e67 056170706c65 03636f6d 00 096d61726b6574696e67 c004');
  expect(domainList.decode(value)).toEqual(['eng.apple.com', 'marketing.apple.com']);
  expect(domainList.decode(hex('c002 0161 00'))).toBeUndefined();
  expect(domainList.decode(hex('c000'))).toBeUndefined();
  expect(domainList.decode(hex('0161 c002'))).toBeUndefined();
});

const NOT_DHCP: [string, string, string][] = [
  ['an empty packet', '', 'too-short'],
  ['239 octets', '00'.repeat(239), 'too-short'],
  ['another magic cookie', '00'.repeat(240), 'not-dhcp'],
  ['a truncated option', `${'00'.repeat(236)}63825363 3505`, 'options-truncated'],
  ['a message type of two octets', `${'00'.repeat(236)}63825363 35020101`, 'option-value'],
];
for (const [what, digits, why] of NOT_DHCP) {
  test(`${what} is no message: ${why}`, () => {
    expect(decodeMessage(hex(digits))).toMatchObject({ ok: false, why });
  });
}
