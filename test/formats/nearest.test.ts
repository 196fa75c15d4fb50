// A name that does not exist: the sentence offers the one that was meant, or those that there are.

import { expect, test } from 'vitest';
import { nearest, unknownName } from '../../formats/nearest.ts';

test.each([
  ['wbe', ['db', 'web'], "unknown profile 'wbe', did you mean 'web'?"],
  ['mail', ['db', 'web'], "unknown profile 'mail', expected db, web"],
  ['mail', [], "unknown profile 'mail', expected a profile that exists"],
])('%s among %j', (name, known, want) => {
  expect(unknownName('profile', name, known)).toBe(want);
});

test('two letters may differ, of a short word one; a swap of neighbours is one', () => {
  const near = (word: string) => nearest(word, ['web', 'storage']);
  expect([near('bew'), near('wbe'), near('stroaeg'), near('sturgae'), near('strg')]).toEqual([
    undefined,
    'web',
    'storage',
    'storage',
    undefined,
  ]);
});
