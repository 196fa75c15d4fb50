// The first stage on a fresh machine: one npm at a time in one folder, whoever starts or is killed meanwhile. npm is a
// script that takes a while and writes down when it was called: a real npm ci takes the registry and half a minute.

import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const BOOTSTRAP = fileURLToPath(new URL('../../bin/bootstrap.mjs', import.meta.url));
const NPM = `#!/bin/sh
echo begin >>npm.calls
i=0; while [ ! -e npm.go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
mkdir -p node_modules/node-linux-${process.arch}/bin
printf '#!/bin/sh\\nexit 0\\n' >node_modules/node-linux-${process.arch}/bin/node
chmod +x node_modules/node-linux-${process.arch}/bin/node
echo end >>npm.calls
`;

let folder = '';
const calls = (): string =>
  existsSync(join(folder, 'npm.calls')) ? readFileSync(join(folder, 'npm.calls'), 'utf8') : '';
const started: { child: ChildProcess; said: string }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-bootstrap-'));
  mkdirSync(join(folder, 'bin'));
  mkdirSync(join(folder, 'path'));
  copyFileSync(BOOTSTRAP, join(folder, 'bin', 'bootstrap.mjs'));
  writeFileSync(join(folder, 'package-lock.json'), '{}');
  writeFileSync(join(folder, 'path', 'npm'), NPM, { mode: 0o755 });
});

afterEach(() => {
  writeFileSync(join(folder, 'npm.go'), '');
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** `npm run check` as far as the hand-over to the pinned Node, which here ends at once. */
function begin(): { child: ChildProcess; ended: Promise<number | null>; readonly said: string } {
  const child = spawn(process.execPath, [join(folder, 'bin', 'bootstrap.mjs'), 'test', 'check'], {
    env: { ...process.env, PATH: `${join(folder, 'path')}:${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const row = { child, said: '', ended: new Promise<number | null>((resolve) => child.on('close', resolve)) };
  child.stderr.on('data', (chunk: Buffer) => {
    row.said += chunk.toString();
  });
  started.push(row);
  return row;
}

test('of two starts in one folder one installs; the other waits, says so, and finds it done', async () => {
  const first = begin();
  await expect.poll(calls).toBe('begin\n');
  const second = begin();
  await expect.poll(() => second.said).toContain('another rouse is installing the npm packages of this folder');
  writeFileSync(join(folder, 'npm.go'), '');
  expect([await first.ended, await second.ended]).toEqual([0, 0]);
  expect(calls()).toBe('begin\nend\n');
  const third = begin();
  expect(await third.ended).toBe(0);
  expect(calls()).toBe('begin\nend\n');
});

test('a start that is killed leaves its npm at work: the next one waits for it', async () => {
  const first = begin();
  await expect.poll(calls).toBe('begin\n');
  first.child.kill('SIGKILL');
  const second = begin();
  await expect.poll(() => second.said).toContain('waiting for it');
  expect(calls()).toBe('begin\n');
  writeFileSync(join(folder, 'npm.go'), '');
  expect(await second.ended).toBe(0);
  expect(calls()).toBe('begin\nend\n');
});

test('an npm that fails leaves nothing that looks installed', async () => {
  writeFileSync(join(folder, 'path', 'npm'), '#!/bin/sh\nmkdir -p node_modules; exit 3\n', { mode: 0o755 });
  const only = begin();
  expect(await only.ended).toBe(111);
  expect(only.said).toContain('npm ci failed (status 3)');
  expect(existsSync(join(folder, 'node_modules', '.rouse-lock'))).toBe(false);
});
