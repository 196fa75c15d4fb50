// A service directory of rouse, lowered, under Debian's own svscan: a megabyte of output passes, and nothing waits.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { lowerService } from '../../images/lower.ts';
import type { RoleFile } from '../../images/role.ts';

const LINES = 10_000;
const WAIT = { timeout: 60_000, interval: 100 };

let folder = '';
let svscan: ChildProcess | undefined;
afterEach(() => {
  svscan?.kill('SIGTERM');
  for (const service of ['chatty/log', 'chatty']) {
    execFileSync('svc', ['-dx', join(folder, 'service', service)], { stdio: 'ignore' });
  }
  rmSync(folder, { recursive: true, force: true });
});

test('1 MB through log/multilog, as another account with its environment and limits', async () => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-lower-'));
  const file = (path: string, content: string, executable = false): RoleFile => ({
    kind: 'file',
    path,
    executable,
    data: new TextEncoder().encode(content),
  });
  const run = `#!/bin/sh
exec 2>&1
echo "as $(id -u) GREETING=$GREETING $(ulimit -S -n) files"
i=0
while [ $i -lt ${LINES} ]; do
  i=$((i + 1))
  echo "line $i ...................................................................................... $i"
done
: >"$DONE"
exec sleep 1000000
`;
  const done = join(folder, 'done');
  writeFileSync(done, '');
  const { files, problems } = lowerService(
    'chatty',
    [
      file('chatty/run', run, true),
      file('chatty/env/GREETING', 'good morning\n'),
      file('chatty/env/DONE', `${done}.now\n`),
      file('chatty/limits', 'o 77\n'),
      ...(process.getuid?.() === 0 ? [file('chatty/user', 'nobody\n')] : []),
      file('chatty/log/multilog', 't s99999 n30 ./main\n'),
    ],
    (path) => path,
  );
  expect(problems).toEqual([]);
  for (const one of files) {
    const path = join(folder, 'service', one.path);
    mkdirSync(dirname(path), { recursive: true });
    if (one.kind === 'symlink') symlinkSync(one.target, path);
    else if (one.kind === 'file') writeFileSync(path, one.data, { mode: one.executable ? 0o755 : 0o644 });
  }
  execFileSync('chmod', ['-R', 'a+rX,a+w', folder]);
  svscan = spawn('svscan', [join(folder, 'service')], { stdio: 'ignore' });
  await expect.poll(() => existsSync(`${done}.now`), WAIT).toBe(true);
  const main = join(folder, 'service', 'chatty', 'log', 'main');
  const written = (): string[] =>
    readdirSync(main)
      .filter((name) => name.startsWith('@') || name === 'current')
      .sort((a, b) => (a === 'current' ? 1 : b === 'current' ? -1 : a < b ? -1 : 1))
      .flatMap((name) => readFileSync(join(main, name), 'latin1').split('\n').slice(0, -1));
  await expect.poll(() => written().at(-1), WAIT).toMatch(new RegExp(` line ${LINES} .* ${LINES}$`));
  const lines = written().map((line) => line.replace(/^@[0-9a-f]{24} /, ''));
  const uid = process.getuid?.() === 0 ? 65_534 : process.getuid?.();
  expect(lines[0]).toBe(`as ${uid} GREETING=good morning 77 files`);
  expect(lines.slice(1).map((line) => Number(line.split(' ')[1]))).toEqual(
    Array.from({ length: LINES }, (_, i) => i + 1),
  );
  expect(execFileSync('svstat', [join(folder, 'service', 'chatty')], { encoding: 'utf8' })).toContain(': up (pid ');
});
