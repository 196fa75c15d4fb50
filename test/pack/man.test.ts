// rouse(8) from the command table: every command that does something is in it, and roff sees no commands of its own.

import { Command } from 'commander';
import { expect, test } from 'vitest';
import { buildProgram } from '../../bin/program.ts';
import { manPage } from '../../pack/man.ts';

const nothing = (): never => {
  throw new Error('the table is read, not run');
};

test('a command with its words, and text that roff would take for its own', () => {
  const program = new Command('rouse').description('Keeps daemons alive.');
  program
    .command('give')
    .description(".dots, it's and \\slashes")
    .argument('<name>', 'who')
    .argument('[more...]')
    .option('--in-time <seconds>', 'bound');
  const page = manPage(program, '1.2.3', '2026-01-02');
  expect(page).toContain('.TH ROUSE 8 2026-01-02 "rouse 1.2.3"\n');
  expect(page).toContain('rouse \\- keeps daemons alive\n');
  expect(page).toContain(
    [
      '.SS rouse give NAME [MORE ...]',
      '\\&.dots, it\\(aqs and \\eslashes.',
      '.TP',
      '.I NAME',
      'Who.',
      '.TP',
      '.B \\-\\-in\\-time <seconds>',
      'Bound.',
    ].join('\n'),
  );
});

test('every command of rouse has its section', () => {
  const program = buildProgram(() => ({
    places: nothing,
    print: nothing,
    warn: nothing,
    isTerminal: false,
    exit: nothing,
  }));
  const page = manPage(program, '0', '2026-01-01');
  const pathsOf = (command: Command, path: string): string[] =>
    command.commands.flatMap((sub) => {
      const name = `${path} ${sub.name()}`.trim();
      return sub.commands.length > 0 ? pathsOf(sub, name) : [name];
    });
  const paths = pathsOf(program, '');
  expect(paths).toContain('applets');
  expect(paths.filter((path) => !page.includes(`.SS rouse ${path.replaceAll('-', String.raw`\-`)}`))).toEqual([]);
});
