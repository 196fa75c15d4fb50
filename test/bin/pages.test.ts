// Every command that a page tells people to type is one: words and long options, as the table of bin/program.ts has them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { buildProgram } from '../../bin/program.ts';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'docs/operating.md',
  'docs/benchmarks.md',
  'docs/images.md',
  'docs/errors.md',
  'docs/settings.md',
];
const nothing = (): never => {
  throw new Error('the table is read, not run');
};
const program = buildProgram(() => ({
  places: nothing,
  print: nothing,
  warn: nothing,
  isTerminal: false,
  exit: nothing,
}));

/** What stands in code, behind `rouse`: up to a comment, a further command, or the column beside it. */
function typedIn(page: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const code = [...text.matchAll(/`([^`\n]+)`/g), ...text.matchAll(/^ {4}(.+)$/gm)].map(([, words = '']) => words);
  return code
    .flatMap((words) => words.split(/;|&&|\|\|/))
    .flatMap((words) => /^(?:sudo |do )?\s*rouse ([a-z].*)$/.exec(words.trim())?.[1] ?? [])
    .map((words) => words.split(/ {2,}| #/, 1)[0] ?? '');
}

/** What is wrong with words as they would be typed; "up|down" stands for two commands. */
function problemOf(words: string): string | undefined {
  let commands: readonly Command[] = [program];
  for (const word of words.split(' ')) {
    if (word.startsWith('--')) {
      const name = word.split('=', 1)[0];
      const isThere = commands.every((one) => name === '--help' || one.options.some(({ long }) => long === name));
      if (!isThere) return `${name} is no option`;
      continue;
    }
    const lower = commands.map((one) =>
      word.split('|').map((name) => one.commands.find((each) => each.name() === name)),
    );
    const found = lower.flat();
    if (found.every((one) => one === undefined)) {
      if (commands.every((one) => one.commands.length > 0)) return `${word} is no command`;
      continue;
    }
    if (found.includes(undefined)) return `one of ${word} is no command`;
    commands = found.filter((one) => one !== undefined);
  }
  return undefined;
}

test.each(PAGES)('%s names commands that there are', (page) => {
  const wrong = typedIn(page).flatMap((words) => {
    const problem = problemOf(words.replaceAll(/[[\]]/g, ''));
    return problem === undefined ? [] : [`rouse ${words}: ${problem}`];
  });
  expect(wrong).toEqual([]);
});

test('the pages do name some, and a wrong one is seen', () => {
  expect(PAGES.flatMap(typedIn).length).toBeGreaterThan(50);
  expect(problemOf('node boot web1 --now')).toBeUndefined();
  expect(problemOf('node boot web1 --soon')).toBe('--soon is no option');
  expect(problemOf('image polish web')).toBe('polish is no command');
});
