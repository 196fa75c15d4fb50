// Bodies of the node protocol: what is read from them, what is refused with which words, and that nothing throws.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OrderBook, renderOrders } from '../../../netboot/fleet/orders.ts';
import { lastingPart, parseAcks, parseReport } from '../../../netboot/fleet/reports.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const WHOLE = `uptimeMs 61000
ready no
load 0.12
supervisor rouse
memoryFreeKb 123456
service nginx up 212 58 ready
service agent down 0 3 waiting down 3 seconds, normally up
address lo 127.0.0.1/8
address eth0 10.77.0.11/24
files 0123456789abcdef
file /etc/nginx/nginx.conf applied
file /etc/keepalived/keepalived.conf refused (line 3) unknown keyword 'foo'
newWord of a later version
`;

test('a whole report', () => {
  expect(parseReport(bytes(WHOLE))).toEqual({
    ok: true,
    value: {
      uptimeMs: 61_000,
      isReady: false,
      supervisor: 'rouse',
      load: 0.12,
      memoryFreeKb: 123_456,
      services: [
        { name: 'nginx', isUp: true, pid: 212, forS: 58, isReady: true },
        { name: 'agent', isUp: false, pid: 0, forS: 3, isReady: false, why: 'down 3 seconds, normally up' },
      ],
      addresses: [
        { interface: 'lo', address: '127.0.0.1', prefixLength: 8 },
        { interface: 'eth0', address: '10.77.0.11', prefixLength: 24 },
      ],
      filesRevision: '0123456789abcdef',
      refused: [{ path: '/etc/keepalived/keepalived.conf', detail: "(line 3) unknown keyword 'foo'" }],
    },
  });
});

const WRONG: [body: string, why: string][] = [
  ['', "expected a line 'ready' with yes or no"],
  ['ready maybe\n', "expected a line 'ready' with yes or no"],
  ['ready yes\nload high\n', "expected numbers after 'uptimeMs', 'load' and 'memoryFreeKb'"],
  ['ready yes\nservice nginx up x 5 ready\n', "expected 'service NAME up|down PID SECONDS ready|waiting'"],
  ['ready yes\naddress eth0 10.0.0.300/24\n', "expected 'address INTERFACE ADDRESS/PREFIX'"],
  ['ready yes\naddress eth0 10.0.0.3/33\n', "expected 'address INTERFACE ADDRESS/PREFIX'"],
  ['ready yes\nfiles new\n', "expected 'files REVISION' or 'files none'"],
  ['ready yes\nfile etc applied\n', "expected 'file PATH applied|refused DETAIL'"],
  ['ready yes\n1\n', 'a line is not of the form: word value'],
  [`ready yes\n${'x y\n'.repeat(400)}`, 'more than 400 lines'],
  ['x'.repeat(16_385), 'the body is longer than 16384 bytes'],
];
for (const [body, why] of WRONG) {
  test(`refused: ${JSON.stringify(body.slice(0, 40))}`, () =>
    expect(parseReport(bytes(body))).toEqual({ ok: false, why }));
}

test('acknowledgements', () => {
  expect(parseAcks(bytes('order 1 done\norder 12 failed nginx -t: no\r\nlater word\n'))).toEqual({
    ok: true,
    value: [
      { number: 1, isDone: true, detail: '' },
      { number: 12, isDone: false, detail: 'nginx -t: no' },
    ],
  });
  expect(parseAcks(bytes('order one done\n'))).toMatchObject({ ok: false });
  expect(parseAcks(bytes(''))).toMatchObject({ ok: false });
});

test('a carriage return within a line, as progress bars write, does not cost the report', () => {
  const result = parseReport(bytes('ready yes\nfile /a refused 1%\r2% no\r\n'));
  expect(result).toMatchObject({ ok: true, value: { refused: [{ path: '/a', detail: '1%?2% no' }] } });
});

test('any bytes are read or refused, never thrown at, and never reach a terminal raw', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom('', 'ready yes\nfile /a refused '),
      (octets, head) => {
        const body = new Uint8Array([...bytes(head), ...octets]);
        const result = parseReport(body);
        // oxlint-disable-next-line no-control-regex -- control characters are what must not be there
        expect(JSON.stringify(result)).not.toMatch(/\\u00[01]|\\[nrtbf]/);
        parseAcks(body);
      },
    ),
  );
});

test('what differs in every report is not written to disk for its own sake', () => {
  const read = (text: string) => {
    const result = parseReport(bytes(text));
    if (!result.ok) throw new Error(result.why);
    return lastingPart(result.value);
  };
  const later = WHOLE.replace('61000', '71000')
    .replace('0.12', '0.5')
    .replace('123456', '7')
    .replace('58 ready', '68 ready');
  expect(read(later)).toBe(read(WHOLE));
  for (const [from, to] of [
    ['ready no', 'ready yes'],
    ['212', '213'],
    ['10.77.0.11', '10.77.0.12'],
    ['files 0', 'files 1'],
  ] as const) {
    expect(read(WHOLE.replace(from, to))).not.toBe(read(WHOLE));
  }
});

/** A book after these orders, each "verb argument"; "!2" acknowledges the second. */
function bookAfter(...words: readonly string[]): OrderBook {
  const book = new OrderBook();
  for (const word of words) {
    const [verb = '', argument = ''] = word.split(' ');
    if (verb.startsWith('!')) {
      const order = book.acknowledged('b', Number(verb.slice(1)), true, '', 5);
      if (order !== undefined) book.put(order);
    } else for (const order of book.made('b', verb as 'files', argument, 1)) book.put(order);
  }
  return book;
}

const BOOKS: { words: string[]; after: number; want: string }[] = [
  { words: [], after: 0, want: '' },
  { words: ['files a'], after: 0, want: 'order 1 files a\n' },
  { words: ['files a'], after: 1, want: '' },
  { words: ['files a', 'files b'], after: 0, want: 'order 2 files b\n' },
  { words: ['files a', '!1', 'files b'], after: 0, want: 'order 2 files b\n' },
  { words: ['drain', 'undrain'], after: 0, want: 'order 2 undrain\n' },
  { words: ['drain', 'files a', 'switch x'], after: 0, want: 'order 1 drain\norder 2 files a\norder 3 switch x\n' },
  { words: ['service nginx', 'service redis'], after: 0, want: 'order 1 service nginx\norder 2 service redis\n' },
  { words: ['drain', '!1', '!1'], after: 0, want: '' },
];
for (const { words, after, want } of BOOKS) {
  test(`orders after ${words.join(', ') || 'none'}, above ${after}`, () =>
    expect(renderOrders(bookAfter(...words).waiting('b', after))).toBe(want));
}
