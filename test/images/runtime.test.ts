// Node and rouse for an image: what is taken of this machine, and what is refused with the line of the recipe.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type RuntimeSource, readRuntime } from '../../images/runtime.io.ts';
import { rouseEntries } from '../../images/runtime.ts';

const PLACE = 'roles/web/recipe.yaml:3:13';
const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64';
const OTHER = ARCHITECTURE === 'amd64' ? 'arm64' : 'amd64';

let folder = '';
let source: RuntimeSource;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-runtime-'));
  const programs: Record<string, string> = {
    'rouse-supervise.cjs': 'start(new URL("./logs.cjs",here))',
    'rouse-node.cjs': 'start(new URL("./logs.cjs",here))',
    'logs.cjs': 'start(new URL("./deeper.cjs",here))',
    'deeper.cjs': '',
    'netboot.cjs': 'the boot server',
  };
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), text);
  source = { nodePath: process.execPath, nodeVersion: '24.0.0', rouseVersion: '9.9.9', programs: async () => folder };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('the programs of a node and all that they start, and no others; Node without its symbols', async () => {
  const runtime = await readRuntime(source, ARCHITECTURE, PLACE);
  expect([...runtime.programs.keys()].sort()).toEqual([
    'deeper.cjs',
    'logs.cjs',
    'rouse-node.cjs',
    'rouse-supervise.cjs',
  ]);
  const { node } = runtime;
  expect(node).toMatchObject({ path: 'usr/lib/rouse/node/bin/node', mode: 0o755, kind: 'file' });
  const bytes = node.kind === 'file' ? node.data.length : 0;
  expect(bytes).toBeLessThan(0.9 * readFileSync(process.execPath).length);
  const entries = rouseEntries(runtime.programs, runtime.rouseVersion);
  expect(entries.map(({ path }) => path)).toEqual([
    'usr/lib/rouse/bin/deeper.cjs',
    'usr/lib/rouse/bin/logs.cjs',
    'usr/lib/rouse/bin/rouse-node.cjs',
    'usr/lib/rouse/bin/rouse-supervise.cjs',
    'usr/lib/rouse/package.json',
    'usr/bin/rouse',
  ]);
});

test('a program that is not there, and a Node for another machine, are refused with the place of the wish', async () => {
  await expect(readRuntime(source, OTHER, PLACE)).rejects.toMatchObject({
    code: 'E_BUILD',
    message: expect.stringMatching(
      new RegExp(
        `^${PLACE} cannot put rouse into the image: .* is no program for ${OTHER}; or say supervisor: daemontools$`,
      ),
    ),
  });
  rmSync(join(folder, 'deeper.cjs'));
  await expect(readRuntime(source, ARCHITECTURE, PLACE)).rejects.toThrow(
    /recipe\.yaml:3:13 cannot put .*ENOENT.*deeper/,
  );
  writeFileSync(join(folder, 'deeper.cjs'), '');
  await expect(readRuntime({ ...source, nodePath: join(folder, 'logs.cjs') }, ARCHITECTURE, PLACE)).rejects.toThrow(
    /logs\.cjs is no program for/,
  );
});
