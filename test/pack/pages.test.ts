// The pages that the package installs: those of the clone, and no link of one leads to a file that is not there.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { installedPages } from '../../pack/tree.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PAGES = installedPages(ROOT);

test('every page of docs/ is installed, and the README', () => {
  expect([...PAGES.keys()]).toEqual(expect.arrayContaining(['README.md', ...readdirSync(`${ROOT}/docs`)]));
});

test.each([...PAGES])('the links of %s lead to installed pages', (_name, text) => {
  const links = Array.from(text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g), (match) => match[1]);
  expect(links.filter((link) => !PAGES.has(link ?? ''))).toEqual([]);
});
