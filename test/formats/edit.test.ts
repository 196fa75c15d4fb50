// One value changes, every other byte stays: comments, spacing, order, quotes.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { setYamlValue } from '../../formats/yaml/edit.ts';

type Row = [what: string, text: string, path: [string, ...string[]], value: unknown, want: string];

const FILE = `# web1, third from the top
macs: [52:54:00:77:00:01]   # the left port
profile:   web  # for now

labels: {rack: r1}
vars:
    greeting: 'hi'   # four spaces
    # about workers
    workers: 2
`;

const ROWS: Row[] = [
  ['a scalar', FILE, ['profile'], 'lb', FILE.replace('profile:   web  #', 'profile:   lb  #')],
  ['a nested scalar', FILE, ['vars', 'workers'], 7, FILE.replace('workers: 2', 'workers: 7')],
  ['a quoted one', FILE, ['vars', 'greeting'], 'bye', FILE.replace("'hi'", 'bye')],
  ['a text that looks like a number', FILE, ['vars', 'greeting'], '12', FILE.replace("'hi'", '"12"')],
  ['a text with a comment sign', FILE, ['vars', 'greeting'], 'a # b', FILE.replace("'hi'", '"a # b"')],
  ['a list in brackets', FILE, ['macs'], ['52:54:00:77:00:02'], FILE.replace('00:01]', '00:02]')],
  ['a list of lines', 'macs:\n  - a\n  - b\n', ['macs'], ['c', 'd', 'e'], 'macs:\n  - c\n  - d\n  - e\n'],
  ['a list of lines at the margin', 'macs:\n- a\nnote: x # y\n', ['macs'], ['c'], 'macs:\n- c\nnote: x # y\n'],
  ['a key inside braces', FILE, ['labels', 'row'], 'a, b', FILE.replace('{rack: r1}', '{rack: r1, row: "a, b"}')],
  ['a new key of a block', FILE, ['vars', 'tls'], true, `${FILE}    tls: true\n`],
  ['a new key at the top', FILE, ['note'], 'spare fan', `${FILE}note: spare fan\n`],
  [
    'a new key in the middle of the file',
    'vars:\n  a: 1 # one\n\n# the end\nnote: x\n',
    ['vars', 'b'],
    2,
    'vars:\n  a: 1 # one\n  b: 2\n\n# the end\nnote: x\n',
  ],
  ['a new map', 'a: 1\n', ['vars', 'b'], 'x', 'a: 1\nvars:\n  b: x\n'],
  ['no newline at the end', 'a: 1', ['b'], 2, 'a: 1\nb: 2\n'],
  ['an empty file', '', ['a'], 1, 'a: 1\n'],
  ['a file of comments', '# nothing yet\n', ['a'], 1, '# nothing yet\na: 1\n'],
];

for (const [what, text, path, value, want] of ROWS) {
  test(what, () => expect(setYamlValue(text, path, value)).toEqual({ ok: true, text: want }));
}

const REFUSED: [what: string, text: string, path: [string, ...string[]], value: unknown, why: RegExp][] = [
  ['a file that is broken', 'a: "', ['a'], 1, /no valid YAML/],
  ['a list at the top', '- a\n', ['a'], 1, /no map of keys/],
  ['a list of lines with a comment', 'macs:\n  - a # left\n  - b\n', ['macs'], ['c'], /by hand/],
  ['a map where a scalar is', 'vars: 1\n', ['vars', 'a'], 1, /by hand/],
];
for (const [what, text, path, value, why] of REFUSED) {
  test(`refused: ${what}`, () => {
    const result = setYamlValue(text, path, value);
    expect(result.ok ? 'done' : result.why).toMatch(why);
  });
}

test('whatever is set, the result says exactly that, and lines without the key stay', () => {
  const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string(), { maxLength: 3 }));
  fc.assert(
    fc.property(scalar, (value) => {
      const result = setYamlValue(FILE, ['vars', 'greeting'], value);
      if (!result.ok) return;
      expect((parseDocument(result.text).toJS() as { vars: { greeting: unknown } }).vars.greeting).toEqual(value);
      const rest = (text: string): string[] => text.split('\n').filter((line) => !line.includes('greeting'));
      expect(rest(result.text).slice(0, 6)).toEqual(rest(FILE).slice(0, 6));
    }),
  );
});
