// The notation for many nodes, as a table.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { expandNoderange } from '../../../netboot/site/noderange.ts';

const ROWS: [text: string, want: string[] | RegExp][] = [
  ['web1', ['web1']],
  ['web1,web2', ['web1', 'web2']],
  ['web[1-3]', ['web1', 'web2', 'web3']],
  ['web[08-11]', ['web08', 'web09', 'web10', 'web11']],
  ['web[1,3,5-6]', ['web1', 'web3', 'web5', 'web6']],
  ['r[1-2]n[01-02]', ['r1n01', 'r1n02', 'r2n01', 'r2n02']],
  ['web[1-2],lb1,web2', ['web1', 'web2', 'lb1']],
  ['', /empty name/],
  ['web1,', /empty name/],
  ['web[', /bracket without its partner/],
  ['web[1-3', /bracket without its partner/],
  ['web1]', /bracket without its partner/],
  ['web[]', /expected numbers and ranges/],
  ['web[a-c]', /expected numbers and ranges/],
  ['web[3-1]', /3 is above 1/],
  ['web[1-99999999]', /more than 20000/],
  ['a[1-1000]b[1-1000]', /more than 20000/],
];
for (const [text, want] of ROWS) {
  test(`'${text}'`, () => {
    const result = expandNoderange(text);
    if (want instanceof RegExp) expect(result.ok ? result.names : result.why).toMatch(want);
    else expect(result).toEqual({ ok: true, names: want });
  });
}

test('any text has an answer, and never too many names', () => {
  const soup = fc.array(fc.constantFrom('web', '[', ']', '-', ',', '1', '01', '20', '9999'), { maxLength: 15 });
  fc.assert(
    fc.property(soup, (parts) => {
      const result = expandNoderange(parts.join(''));
      expect(result.ok ? result.names.length <= 20_000 : result.why.length > 0).toBe(true);
    }),
  );
});
