// Files that the supervisor and the image builder both read: what they say, and what is refused with which words.

import { expect, test } from 'vitest';
import { linesOf, parseFghack, parseLimits, parseUser, readMultilog } from '../../formats/servicefiles.ts';

test('comments and blank lines say nothing; a # within a word is no comment', () => {
  expect(linesOf('# who\n\n  a # b\nc#d\n')).toEqual(['a', 'c#d']);
});

test.each([
  ['www-data # it\n', { user: 'www-data' }],
  ['a\nb\n', { problem: 'expected one name of an account, got "a\\nb"' }],
  ['-x', { problem: 'expected one name of an account, got "-x"' }],
  ['', { problem: 'expected one name of an account, got ""' }],
])('user %j', (text, want) => expect(parseUser(text)).toEqual(want));

test.each([
  [
    'o 1024\n-d\t50 # bytes\n',
    {
      limits: [
        { letter: 'o', value: 1024 },
        { letter: 'd', value: 50 },
      ],
    },
  ],
  ['', { limits: [] }],
  ['o many', { problem: 'o expected a whole number, got "many"' }],
  ['o 1 2', { problem: 'o expected a whole number, got "1 2"' }],
  ['m 1', { problem: `unknown word "m", expected one of softlimit's a c d f l o p r s t` }],
])('limits %j', (text, want) => expect(parseLimits(text)).toEqual(want));

test('fghack says it by being there', () => {
  expect(parseFghack('# why\n')).toEqual({ fghack: true });
  expect(parseFghack('yes')).toHaveProperty('problem');
});

test.each([
  [`# small\nt '-a b'\n./main`, { words: ['t', '-a b', './main'], onFull: 'block', onFullLine: 1 }],
  ['t ./main\n onFull  drop \n', { words: ['t', './main'], onFull: 'drop', onFullLine: 2 }],
  ['t\nonFull wait', { problem: 'onFull expected block or drop, got "wait"', line: 2 }],
  ['t\nonFull', { problem: 'onFull expected block or drop, got ""', line: 2 }],
  [`t './main`, { problem: 'a quotation mark is not closed', line: 1 }],
])('log/multilog %j', (text, want) => expect(readMultilog(text)).toEqual(want));
