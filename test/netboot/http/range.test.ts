// RFC 9110 sections 13 and 14 as a table: what of a body of 1000 bytes is asked for.

import { expect, test } from 'vitest';
import { type Conditions, select, type Selection } from '../../../netboot/http/range.ts';

const ETAG = '"abc"';
const part = (from: number, to: number): Selection => ({ kind: 'part', slice: { from, to } });
const WHOLE: Selection = { kind: 'whole' };

const ROWS: { asks: Conditions; size?: number; want: Selection }[] = [
  { asks: {}, want: WHOLE },
  { asks: { range: 'bytes=0-0' }, want: part(0, 1) },
  { asks: { range: 'bytes=10-19' }, want: part(10, 20) },
  { asks: { range: 'bytes=990-' }, want: part(990, 1000) },
  { asks: { range: 'bytes=990-5000' }, want: part(990, 1000) },
  { asks: { range: 'bytes=-10' }, want: part(990, 1000) },
  { asks: { range: 'bytes=-5000' }, want: part(0, 1000) },
  { asks: { range: 'bytes=1000-' }, want: { kind: 'unsatisfiable' } },
  { asks: { range: 'bytes=-0' }, want: { kind: 'unsatisfiable' } },
  { asks: { range: 'bytes=0-' }, size: 0, want: { kind: 'unsatisfiable' } },
  // "A server MAY ignore the Range header field": malformed, other units, several ranges.
  { asks: { range: 'bytes=20-10' }, want: WHOLE },
  { asks: { range: 'bytes=-' }, want: WHOLE },
  { asks: { range: 'lines=1-2' }, want: WHOLE },
  { asks: { range: 'bytes=0-1,5-6' }, want: WHOLE },
  { asks: { range: 'bytes=0-99999999999999999999' }, want: WHOLE },
  { asks: { range: 'bytes=1-2', ifRange: ETAG }, want: part(1, 3) },
  { asks: { range: 'bytes=1-2', ifRange: '"old"' }, want: WHOLE },
  // A weak tag never matches If-Range (13.1.5), and does match If-None-Match (13.1.2).
  { asks: { range: 'bytes=1-2', ifRange: `W/${ETAG}` }, want: WHOLE },
  { asks: { ifNoneMatch: `"x", W/${ETAG}` }, want: { kind: 'unchanged' } },
  { asks: { ifNoneMatch: '*' }, want: { kind: 'unchanged' } },
  { asks: { ifNoneMatch: '"x"' }, want: WHOLE },
  { asks: { ifNoneMatch: ETAG, range: 'bytes=0-1' }, want: { kind: 'unchanged' } },
];

for (const { asks, size = 1000, want } of ROWS) {
  test(`${JSON.stringify(asks)} of ${size} bytes`, () => expect(select(asks, size, ETAG)).toEqual(want));
}

test('a body without a tag is never unchanged', () => {
  expect(select({ ifNoneMatch: '*' }, 10, undefined)).toEqual(WHOLE);
});
