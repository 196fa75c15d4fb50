// The bundles of packages and images: a program of its own is another bundle beside the first, one in perl is a text within.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { bundle } from '../../pack/bundle.io.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('the supervisor is one file, with its spawner in it, and beside it the log writer', async () => {
  const out = mkdtempSync(join(tmpdir(), 'rouse-bundle-'));
  try {
    expect(await bundle(ROOT.replace(/\/$/, ''), out, ['rouse-supervise'])).toEqual([
      'rouse-supervise.cjs',
      'logwriter-main.io.cjs',
    ]);
    const program = readFileSync(join(out, 'rouse-supervise.cjs'), 'utf8');
    // A template literal spells out backslashes and `${`.
    const lines = readFileSync(join(ROOT, 'supervise/spawner.pl'), 'utf8').split('\n');
    for (const line of lines.filter((each) => !/\\|`|\$\{/.test(each))) expect(program.includes(line), line).toBe(true);
    expect(program).toContain('new URL("./logwriter-main.io.cjs"');
    // Nothing is read from beside the sources.
    expect(program).not.toMatch(/new URL\("[^"]*\.(ts|pl)"/);
  } finally {
    rmSync(out, { recursive: true });
  }
});
