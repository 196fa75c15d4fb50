// The cores are compiled without Node: not even a dependency's types may bring it in, or `process`, `Buffer` and `node:`
// imports would compile there and the rule of ARCHITECTURE.md would be an empty word.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const CORES = [
  'formats',
  'formats/yaml',
  'supervise/tsconfig.core.json',
  'images/tsconfig.core.json',
  'netboot/tsconfig.core.json',
];

test.each(CORES)('the core %s has no Node types', (project) => {
  const files = execFileSync('node_modules/.bin/tsc', ['-p', project, '--listFilesOnly'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(files).toMatch(/\.ts\n/);
  expect(files.split('\n').filter((file) => file.includes('@types/node'))).toEqual([]);
});
