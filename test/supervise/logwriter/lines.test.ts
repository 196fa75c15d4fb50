// The log writer's rules, beside Debian's multilog where the rule is its: scripts, selection, stamps, sizes.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter } from '../../../supervise/logwriter/lines.ts';
import { decodeList, encodeList } from '../../../supervise/logwriter/list.ts';
import { isFull, labelAfter, roomFor, surplusOf } from '../../../supervise/logwriter/rotate.ts';
import { matches, parseScript } from '../../../supervise/logwriter/script.ts';
import type { Script } from '../../../supervise/logwriter/script.ts';

function scriptOf(text: string): Script {
  const parsed = parseScript(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.script;
}

/** What a script writes for each action when its input comes in these pieces. */
function write(script: Script, pieces: readonly string[]): Map<number, string> {
  const splitter = new LineSplitter(script);
  const written = new Map<number, string>();
  const add = (outputs: ReturnType<LineSplitter['push']>): void => {
    for (const { action, octets } of outputs) {
      written.set(action, (written.get(action) ?? '') + Buffer.from(octets).toString('latin1'));
    }
  };
  for (const piece of pieces)
    add(splitter.push(Buffer.from(piece, 'latin1'), { unixS: 1_700_000_000, nanoseconds: 5 }));
  add(splitter.end({ unixS: 1_700_000_000, nanoseconds: 5 }));
  return written;
}

test('script: words, quotes, comments, clamps, defaults that hold for later folders only', () => {
  expect(scriptOf('# log\nt ./a s100 n1 "!gzip -9" ./b\ns99999999 n20 ! /c\nonFull drop')).toEqual({
    stamps: true,
    onFull: 'drop',
    actions: [
      { kind: 'folder', path: './a', sizeBytes: 99_999, files: 10, processor: undefined },
      { kind: 'folder', path: './b', sizeBytes: 4096, files: 2, processor: 'gzip -9' },
      { kind: 'folder', path: '/c', sizeBytes: 16_777_215, files: 20, processor: undefined },
    ],
  });
});

for (const [text, why] of [
  ['', 'it writes nowhere; name a folder, for example: t ./main'],
  ['./main t', 'unknown word "t", expected t (first), s, n, !, +, -, e, = or a folder (./main)'],
  ['s1k ./main', 's1k: expected s and a number of bytes'],
  ["'-a ./main", 'a quotation mark is not closed'],
  ['onFull loose\n./main', 'onFull expected block or drop, got "loose"'],
] as const) {
  test(`script ${JSON.stringify(text)} is refused: ${why}`, () => {
    expect(parseScript(text)).toEqual({ ok: false, why });
  });
}

test('script: foreign text never throws', () => {
  fc.assert(fc.property(fc.string(), (text) => void parseScript(text)));
});

test("selection is multilog's own, line for line, in whatever pieces the input comes", () => {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-multilog-'));
  try {
    const word = fc.stringMatching(/^[ab*: ]{0,5}$/);
    const patterns = fc.array(fc.tuple(fc.constantFrom('-', '+'), word), { minLength: 1, maxLength: 3 });
    const line = fc.oneof(
      fc.stringMatching(/^[ab*: ]{0,6}$/),
      fc.constantFrom('a'.repeat(999), 'a'.repeat(1000), 'a'.repeat(2500)),
    );
    let run = 0;
    fc.assert(
      fc.property(patterns, fc.array(line, { maxLength: 8 }), fc.boolean(), fc.nat(), (chosen, lines, ends, at) => {
        const text = lines.join('\n') + (ends ? '\n' : '');
        const words = [...chosen.map(([sign, pattern]) => sign + pattern), './m'];
        const cwd = join(folder, String((run += 1)));
        execFileSync('/bin/sh', ['-c', 'mkdir "$1" && cd "$1" && shift && exec multilog "$@"', 'sh', cwd, ...words], {
          input: text,
        });
        const script = scriptOf(words.map((each) => `'${each}'`).join(' '));
        const cut = text.length === 0 ? 0 : at % text.length;
        const ours = write(script, [text.slice(0, cut), text.slice(cut)]).get(words.length - 1) ?? '';
        expect(ours).toBe(readFileSync(join(cwd, 'm/current'), 'latin1'));
      }),
      { numRuns: 60 },
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('stamps: one at the start of each line, whatever the pieces; each later than the one before', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[ab\n]{0,9}$/), { maxLength: 9 }), (pieces) => {
      const text = pieces.join('');
      const written = write(scriptOf('t ./m'), pieces).get(0) ?? '';
      const lines = written.split('\n').slice(0, -1);
      expect(lines.map((line) => line.slice(26))).toEqual(text === '' ? [] : text.replace(/\n$/, '').split('\n'));
      for (const [index, line] of lines.entries()) {
        expect(line).toMatch(/^@400000006553f10a[0-9a-f]{8} /);
        if (index > 0) expect(line.slice(0, 25) > (lines[index - 1] ?? '').slice(0, 25)).toBe(true);
      }
    }),
  );
});

test('a stamp whose nanoseconds overflow goes on in the next second', () => {
  const splitter = new LineSplitter(scriptOf('t ./m'));
  const [output] = splitter.push(Buffer.from('a\nb\n'), { unixS: 1_700_000_000, nanoseconds: 999_999_998 });
  expect(Buffer.from(output?.octets ?? []).toString()).toBe(
    '@400000006553f10a3b9ac9ff a\n@400000006553f10b00000000 b\n',
  );
});

test('e and = say what multilog says', () => {
  const written = write(scriptOf('e =f ./m'), [`${'x'.repeat(300)}\nshort\n`]);
  expect(written.get(0)).toBe(`${'x'.repeat(200)}...\nshort\n`);
  expect(written.get(1)).toBe(`${'x'.repeat(300)}${'\n'.repeat(701)}short${'\n'.repeat(996)}`);
});

for (const [bytes, sizeBytes, text, room] of [
  [0, 4096, 'a\nb', 3],
  [4096, 4096, 'a\n', 0],
  [2095, 4096, 'a\nbc', 2],
  [2095, 4096, 'abcd', 4],
  [4094, 4096, 'abcd', 2],
] as const) {
  test(`a file of ${bytes} of ${sizeBytes} bytes takes ${room} of ${JSON.stringify(text)}`, () => {
    expect(roomFor({ bytes, sizeBytes }, Buffer.from(text))).toBe(room);
  });
}

test('a file is full at a newline 2000 bytes below its size, not within a line', () => {
  expect(isFull({ bytes: 2096, sizeBytes: 4096 }, Buffer.from('a\n'))).toBe(true);
  expect(isFull({ bytes: 2096, sizeBytes: 4096 }, Buffer.from('a'))).toBe(false);
  expect(isFull({ bytes: 2095, sizeBytes: 4096 }, Buffer.from('a\n'))).toBe(false);
});

test('the oldest files go; other names are left alone', () => {
  const old = [3, 1, 2].map((digit) => `@40000000000000000000000${digit}.s`);
  expect(surplusOf([...old, 'current', '@short', 'notes'], 3)).toEqual(['@400000000000000000000001.s']);
  expect(surplusOf(old, 2)).toEqual(['@400000000000000000000001.s', '@400000000000000000000002.s']);
});

test('pattern: a star stops at the first occurrence of what follows', () => {
  expect(matches(Buffer.from('*b'), Buffer.from('abab'))).toBe(false);
  expect(matches(Buffer.from('*: x*'), Buffer.from('a: x and'))).toBe(true);
});

test('list: what is written is read; anything else is refused', () => {
  const logs = [{ id: '1:2', name: 'web', directory: '/s/web', script: 't ./main\n' }];
  expect(decodeList(encodeList(logs))).toEqual(logs);
  for (const text of ['', '[]', '{"version":2,"logs":[]}', '{"version":1,"logs":[{"id":1}]}']) {
    expect(decodeList(text)).toBeUndefined();
  }
});

test('labels of old files only grow, whatever the clock does', () => {
  const label = (seconds: string, nanoseconds: string): string => `@40000000${seconds}${nanoseconds}`;
  const now = label('6b000000', '00000005');
  expect(labelAfter(now, ['current', 'lock', 'state', '@short'])).toBe(now);
  expect(labelAfter(now, [`${label('6affffff', '3b9ac9ff')}.s`])).toBe(now);
  expect(labelAfter(now, [`${now}.s`])).toBe(label('6b000000', '00000006'));
  expect(labelAfter(now, [`${label('7fffffff', '3b9ac9ff')}.u`, `${now}.s`])).toBe(label('80000000', '00000000'));
  // A stranger's name is no time.
  expect(labelAfter(now, [`@${'z'.repeat(24)}`])).toBe(now);
});
