// What comments and pages name is there: a name in them is the way on for whoever reads, and no compiler looks at it.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const ROOMS = ['bin', 'formats', 'supervise', 'netboot', 'images', 'pack', 'bench', 'services', 'test'];
const PAGES = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'docs/operating.md', 'docs/images.md'];
/** Any file, and what libraries bring. */
const NOT_OURS = /^(\.\/)?x\.|\.d\.ts$/;

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const FILES = ROOMS.flatMap((room) =>
  readdirSync(join(ROOT, room), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1)),
);
const SOURCES = [...FILES.filter((file) => /\.(ts|mjs)$/.test(file)), 'vitest.config.ts'];

/** The sources that a text names: "store/leases.ts", "./run.ts", "bootstrap.mjs". Patterns and templates are no names. */
function namedIn(text: string): string[] {
  const names = text.matchAll(/(?<![\w./*${}<>:-])(?:\.{1,2}\/)*(?:[\w-]+\/)*[\w-]+(?:\.[\w-]+)*\.(?:ts|mjs)\b/g);
  return [...names].map(([name]) => name).filter((name) => !NOT_OURS.test(name));
}

/** The compiler looks at imports; nobody at comments. */
const COMMENT = /^\s*(\/\/|\/\*\*|\*).*$|\/\*\*.*\*\//gm;
const commentsOf = (source: string): string => (source.match(COMMENT) ?? []).join('\n');

/** Where a name leads: "../" and "./" from the file's own folder, all else by what its path ends in. */
function targetsOf(name: string, file: string): string[] {
  const path = name.startsWith('.') ? join(dirname(file), name) : name;
  return SOURCES.filter((one) => one === path || (path === name && one.endsWith(`/${name}`)));
}

const straysOf = (file: string, text: string): string[] =>
  namedIn(text)
    .filter((name) => targetsOf(name, file).length === 0)
    .map((name) => `${file} names ${name}`);

test('every source that a comment names is there', () => {
  expect(SOURCES.flatMap((file) => straysOf(file, commentsOf(read(file))))).toEqual([]);
});

test('every source that the data of services/ names is there', () => {
  const data = FILES.filter((file) => file.startsWith('services/'));
  expect(data.flatMap((file) => straysOf(file, read(file)))).toEqual([]);
});

test('every source and folder that a page names is there', () => {
  const folders = (page: string): string[] =>
    [...read(page).matchAll(/`((?:bin|formats|supervise|netboot|images|pack|bench|services|test)\/[\w/.-]*)`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !existsSync(join(ROOT, name)))
      .map((name) => `${page} names ${name}`);
  expect(PAGES.flatMap((page) => [...straysOf(page, read(page)), ...folders(page)])).toEqual([]);
});

test('every table that CONTRIBUTING.md sends to is in a file of its row', () => {
  const strays = read('CONTRIBUTING.md')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .flatMap((row) => {
      const text = namedIn(row).flatMap((name) =>
        targetsOf(name, '').map((file) => read(file).replaceAll(COMMENT, '')),
      );
      return [...row.matchAll(/`([A-Z]\w*)`/g)]
        .map(([, table = '']) => table)
        .filter((table) => !text.some((one) => new RegExp(`\\b${table}\\b`).test(one)))
        .map((table) => `${table} in: ${row}`);
    });
  expect(strays).toEqual([]);
});
