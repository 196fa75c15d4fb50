// Wrong YAML, and the exact sentence an operator gets for it: file:line:column, what was expected, the nearest word.

import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseYaml, renderProblem, YAML_LIMIT_BYTES } from '../../formats/yaml/document.ts';

const Schema = z.strictObject({
  version: z.literal(1),
  name: z.string().optional(),
  sizes: z.array(z.int()).optional(),
  mode: z.enum(['dhcp', 'proxy', 'observe']).optional(),
  nested: z.strictObject({ leaseTimeS: z.int(), routers: z.array(z.string()).optional() }).optional(),
  labels: z.record(z.string(), z.string()).optional(),
});

const WRONG: readonly (readonly [string, string, readonly string[]])[] = [
  ['a misspelt key', 'version: 1\nnmae: x\n', ["f.yaml:2:1 unknown key 'nmae', did you mean 'name'?"]],
  [
    'a misspelt key inside',
    'version: 1\nnested:\n  leaseTimeS: 1\n  router: [a]\n',
    ["f.yaml:4:3 unknown key 'router', did you mean 'routers'?"],
  ],
  [
    'a foreign key',
    'version: 1\nzzz: 1\n',
    ["f.yaml:2:1 unknown key 'zzz', expected version, name, sizes, mode, nested, labels"],
  ],
  [
    'a wrong word',
    'version: 1\nmode: dhpc\n',
    ['f.yaml:2:7 mode: expected dhcp | proxy | observe, got "dhpc", did you mean \'dhcp\'?'],
  ],
  ['a missing key', 'name: x\n', ["f.yaml:1:1 missing key 'version', expected 1"]],
  ['a missing key inside', 'version: 1\nnested: {}\n', ["f.yaml:2:1 missing key 'leaseTimeS', expected a number"]],
  ['a wrong kind', 'version: 1\nsizes: [1, two]\n', ['f.yaml:2:12 sizes[1]: expected a number, got "two"']],
  [
    'a text instead of keys',
    'version: 1\nnested: yes please\n',
    ['f.yaml:2:9 nested: expected keys with values, got "yes please"'],
  ],
  [
    'several at once, in order',
    'version: 1\nmode: x\nnmae: y\n',
    [
      'f.yaml:2:7 mode: expected dhcp | proxy | observe, got "x"',
      "f.yaml:3:1 unknown key 'nmae', did you mean 'name'?",
    ],
  ],
  ['a key twice', 'version: 1\nname: a\nname: b\n', ['f.yaml:3:1 this key is in the map already: keep one of the two']],
  ['an open quote', 'version: 1\nname: "a\n', ['f.yaml:3:1 a quote is opened and not closed']],
  ['a list at the top', '- 1\n', ['f.yaml:1:1 expected keys with values, got [1]']],
];

test.each(WRONG)('%s', (_, text, want) => {
  const parsed = parseYaml('f.yaml', text, Schema);
  expect(parsed.ok ? [] : parsed.problems.map(renderProblem)).toEqual(want);
});

test('scalars that YAML would damage reach a text as they were written', () => {
  const parsed = parseYaml(
    'f.yaml',
    'version: 1\nlabels: {serial: 00042, big: 12345678901234567890, exp: 1e5, hex: 0x1f, mac: 52:54:00:77:00:01, no: no}\n',
    Schema,
  );
  expect(parsed.ok && parsed.value.labels).toEqual({
    serial: '00042',
    big: '12345678901234567890',
    exp: '1e5',
    hex: '0x1f',
    mac: '52:54:00:77:00:01',
    no: 'no',
  });
});

test('a value knows where it stands', () => {
  const parsed = parseYaml('f.yaml', 'version: 1\nnested:\n  leaseTimeS: 60\n', Schema);
  expect(parsed.ok && parsed.positions.of(['nested', 'leaseTimeS'])).toEqual({ file: 'f.yaml', line: 3, column: 15 });
  expect(parsed.ok && parsed.positions.ofKey(['nested', 'leaseTimeS'])).toEqual({ file: 'f.yaml', line: 3, column: 3 });
});

test('hostile documents are refused with a reason, not with memory', () => {
  const laughs = `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from(
    { length: 9 },
    (_, index) =>
      `${String.fromCharCode(98 + index)}: &${String.fromCharCode(98 + index)} [${Array(9)
        .fill(`*${String.fromCharCode(97 + index)}`)
        .join(',')}]`,
  ).join('\n')}\n`;
  const parsed = parseYaml('f.yaml', laughs, z.record(z.string(), z.unknown()));
  expect(parsed.ok ? [] : parsed.problems.map(renderProblem)).toEqual([
    expect.stringMatching(/^f\.yaml:1:1 Excessive alias count/),
  ]);
  const long = parseYaml('f.yaml', `# ${'x'.repeat(YAML_LIMIT_BYTES)}`, Schema);
  expect(long.ok ? '' : long.problems[0]?.message).toMatch(/bytes long, expected at most/);
  const deep = parseYaml('f.yaml', `${'['.repeat(200)}${']'.repeat(200)}`, z.unknown());
  expect(deep.ok ? '' : deep.problems[0]?.message).toMatch(/nested more than 64 levels/);
  const proto = parseYaml('f.yaml', '__proto__: {polluted: 1}\nversion: 1\n', Schema);
  expect(proto.ok).toBe(false);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

test('what a file makes a problem say is printable: no escape sequence, no second line', () => {
  const parsed = parseYaml('f\u001b[2J.yaml', 'version: 1\n"a\\e[31m\\nrouse: fake": 1\n', Schema);
  const [line = ''] = parsed.ok ? [] : parsed.problems.map(renderProblem);
  expect(line).toMatch(/^f\\u001b\[2J\.yaml:2:1 .*a\\u001b\[31m\\u000arouse: fake/);
  // oxlint-disable-next-line no-control-regex
  expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
});

const JARGON: readonly [text: string, words: string][] = [
  ['a: b: c', "1:4 two 'key:' on one line: put the value in quotes, or begin a new line further to the right"],
  ['a: [1, 2', '1:9 a [ list ] is opened and not closed, or goes on too far to the left'],
  ['{a: 1', '1:6 a { is opened and not closed'],
  ['a:\n\tb: 1', '2:1 a tab at the beginning of the line: use blanks'],
  ['- a\nb: 1', '2:1 this belongs to nothing before it: is it indented as the lines that it belongs to?'],
  ['a: %x', '1:4 a text cannot begin with %: put it in quotes'],
  ['a: @x', '1:4 a text cannot begin with @: put it in quotes'],
  [
    'a: >\n  x\n y',
    '3:1 the line begins in another column than those beside it: what belongs together begins in one column',
  ],
  ['!!foo a: 1', '1:1 a tag that means nothing here (foo): leave it out, or put the text in quotes'],
  ['--- a\n--- b', '2:1 a line --- begins a second document: a file holds one'],
];
test.each(JARGON)('a slip is told in words of who typed it, and once: %j', (text, words) => {
  const parsed = parseYaml('f.yaml', text, z.strictObject({}));
  const shown = parsed.ok ? [] : parsed.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
  expect(shown).toEqual([words]);
});

test('the password of an address is in no message', () => {
  const schema = z.strictObject({ mirror: z.string().regex(/^file:/, 'expected a file') });
  const parsed = parseYaml('f.yaml', 'mirror: "http://bob:secret@host/debian"\n', schema);
  expect(parsed).toMatchObject({
    ok: false,
    problems: [{ message: 'mirror: expected a file, got "http://…@host/debian"' }],
  });
});
