// `rouse check` looks at service directories: what would keep one from being started or built is said before either.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkServices } from '../../bin/servicecheck.ts';

let etc = '';
beforeEach(() => {
  etc = mkdtempSync(join(tmpdir(), 'rouse-check-'));
});
afterEach(() => rmSync(etc, { recursive: true, force: true }));

const RUN = '#!/bin/sh\nexec sleep 9\n';
function write(path: string, text: string): void {
  const file = join(etc, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  if (text.startsWith('#!')) chmodSync(file, 0o755);
}
const check = () => checkServices(etc, [join(etc, 'roles')]);

test('services of this host: what the supervisor would refuse, and nothing of what it would start', async () => {
  expect(await check()).toEqual([]);
  write('services/good/run', RUN);
  write('services/good/log/multilog', 't ./main\n');
  write('services/good/env/A', '1');
  // A template is no service, what is no folder neither; an instance has its template's files, and gets none by being looked at.
  write('services/web@/run', RUN);
  write('services/web@/log/multilog', 't ./main\n');
  mkdirSync(join(etc, 'services/web@80'));
  write('services/README', 'x');
  expect(await check()).toEqual([]);
  expect(readdirSync(join(etc, 'services/web@80'))).toEqual([]);

  write('services/a/run', 'no script');
  write('services/b/run', RUN);
  write('services/b/backoff', 'frob 1');
  write('services/c/run', RUN);
  write('services/c/log/multilog', 'zzz');
  write('services/d/run', '#!/nonsuch\n');
  write('services/e/run', RUN);
  write('services/e/user', 'nobody-of-that-name');
  write('services/f/run', RUN);
  mkdirSync(join(etc, 'services/f/log'));
  expect((await check()).map((line) => line.split(/, expected|; make/)[0])).toEqual([
    'services/a: run is not executable; chmod +x it',
    'services/b: file backoff: unknown word "frob"',
    'services/c: log/multilog: unknown word "zzz"',
    'services/d: run names /nonsuch in its first line, which does not exist',
    "services/e: file user: there is no 'nobody-of-that-name' in /etc/passwd",
    'services/f: log/run is missing',
  ]);
});

test('all that is wrong with a service is said at once, and which services wait for themselves', async () => {
  write('services/a/run', RUN);
  write('services/a/backoff', 'frob 1');
  write('services/a/timeout-kill', 'soon');
  write('services/a/user', 'nobody-of-that-name');
  execFileSync('mkfifo', [join(etc, 'services/a/limits')]);
  mkdirSync(join(etc, 'services/a/env'));
  execFileSync('mkfifo', [join(etc, 'services/a/env/A'), join(etc, 'services/a/env/B')]);
  write('services/b/run', RUN);
  write('services/b/depends', 'b\n');
  write('services/c/run', RUN);
  write('services/c/depends', 'd\n');
  write('services/d/run', RUN);
  write('services/d/depends', 'b\nc\n');
  expect(await check()).toEqual([
    'services/a: file limits: it is not a regular file',
    expect.stringContaining('services/a: file timeout-kill: expected a whole number'),
    expect.stringContaining('services/a: file backoff: unknown word'),
    'services/a: file env/A: it is not a regular file; file env/B: it is not a regular file',
    'services/b: file depends: it waits for itself, so it is never started (b, b)',
    'services/c: file depends: it waits for itself, so it is never started (c, d, c)',
    'services/d: file depends: it waits for itself, so it is never started (d, c, d)',
  ]);
});

test('a name cannot act on a terminal, nor make a line that nobody said', async () => {
  mkdirSync(join(etc, 'services/a\u001b[31m\nb'), { recursive: true });
  write('services/c/run', '#!/no/such\u001b[0m\n');
  expect(await check()).toEqual([
    String.raw`services/a\x1b[31m\nb: run is missing; make an executable file of that name`,
    String.raw`services/c: run names /no/such\x1b[0m in its first line, which does not exist`,
  ]);
});

test("the site's own roles: settings of services that rouse will run on nodes, by the files alone", async () => {
  write('roles/profile-alone/profile.yaml', 'boot: local\n');
  write('roles/shop/recipe.yaml', 'version: 1\nsupervisor: rouse\nservices: [app]\n');
  write('roles/shop/app/run', '#!/usr/bin/of-the-node\n');
  write('roles/shop/app/user', 'shop\n');
  expect(await check()).toEqual([]);
  write('roles/shop/app/timeout-kill', 'soon');
  expect(await check()).toEqual([expect.stringContaining('roles/shop/app: file timeout-kill:')]);
  // The builder has its own words for these.
  write('roles/shop/recipe.yaml', 'version: 1\nservices: [app]\n');
  expect(await check()).toEqual([]);
  write('roles/shop/recipe.yaml', 'version: 1\nservice: [app]\n');
  expect(await check()).toEqual([]);
});
