// formats/yaml/words.ts - what is wrong with a YAML text, in words for people who do not know YAML's grammar.
//
// Owns: a sentence for each kind of error that the parser tells apart. Does not own parsing (document.ts). The parser's own
// words name tokens and collections; these name what one typed. Source: yaml 2.9, errors.d.ts and compose/. Pure.

import type { ErrorCode } from 'yaml';

/** @param said the parser's own words, for what is in them: a character, a name. */
type Words = string | ((said: string) => string);

const WORDS = {
  ALIAS_PROPS: 'an alias (*name) stands alone, without a tag or an anchor before it',
  BAD_ALIAS: 'a * begins an alias: put the text in quotes',
  BAD_COLLECTION_TYPE: 'a tag (!!name) that does not fit what follows it: leave it out',
  BAD_DIRECTIVE: 'a line that begins with %: put it in quotes, or leave it out',
  BAD_DQ_ESCAPE: 'a \\ in "double quotes" begins an escape: write \\\\, or use \'single quotes\'',
  BAD_INDENT: (said) =>
    said.startsWith('Flow')
      ? `a ${said.includes('end with a ]') ? '[ list ]' : '{ map }'} is opened and not closed, or goes on too far to the left`
      : 'the line begins in another column than those beside it: what belongs together begins in one column',
  BAD_PROP_ORDER: 'a tag or an anchor stands in the wrong place: leave it out',
  BAD_SCALAR_START: (said) => `a text cannot begin with ${said.at(-1) ?? ''}: put it in quotes`,
  BLOCK_AS_IMPLICIT_KEY: "two 'key:' on one line: put the value in quotes, or begin a new line further to the right",
  BLOCK_IN_FLOW: 'inside [ ] and { } a list is written with commas, not with lines that begin with -',
  DUPLICATE_KEY: 'this key is in the map already: keep one of the two',
  IMPOSSIBLE: (said) => said,
  KEY_OVER_1024_CHARS: 'a key is longer than 1024 characters: is a quote missing?',
  MISSING_CHAR: (said) => {
    if (/quote/.test(said)) return 'a quote is opened and not closed';
    if (/end with a (.)/.test(said)) return `a ${said.includes('map') ? '{' : '['} is opened and not closed`;
    if (/map values|map keys/.test(said)) return "a colon is missing: expected 'key: value'";
    if (/Missing , or/.test(said)) return 'a comma is missing';
    return `something is missing: ${said}`;
  },
  MULTILINE_IMPLICIT_KEY: "a key must be on one line with its colon: is a 'key:' missing, or a quote?",
  MULTIPLE_ANCHORS: 'two anchors (&name) for one value: keep one',
  MULTIPLE_DOCS: 'a line --- begins a second document: a file holds one',
  MULTIPLE_TAGS: 'two tags (!!name) for one value: leave them out',
  NON_STRING_KEY: 'a key must be a text',
  RESOURCE_EXHAUSTION: 'it is nested too deep',
  TAB_AS_INDENT: 'a tab at the beginning of the line: use blanks',
  TAG_RESOLVE_FAILED: (said) =>
    `a tag that means nothing here (${/[^:]*$/.exec(said)?.[0] ?? ''}): leave it out, or put the text in quotes`,
  UNEXPECTED_TOKEN: (said) =>
    said.startsWith('Block scalar')
      ? 'behind | or > the line must end: the text begins on the next one'
      : 'this belongs to nothing before it: is it indented as the lines that it belongs to?',
} satisfies Record<ErrorCode, Words>;

/** @param said the parser's words. */
export function yamlWords(code: ErrorCode, said: string): string {
  const words: Words = WORDS[code];
  return typeof words === 'string' ? words : words(said);
}
