// The original clients (Debian's daemontools and runit) on our supervisor, and our clients beside their supervise.

import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService, waitFor } from '../../supervise/client.io.ts';
import { eventually, Rig, run } from './rig.ts';

const isRoot = process.getuid?.() === 0;
const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

test('svc, svstat and svok on a service of ours', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'idle/run': SLEEP, 'idle/down': '' });
  const web = join(rig.folder, 'web');
  expect((await run('svok', web)).exitCode).toBe(100);
  rig.start();
  const first = await rig.until('web', 'up', ({ phase }) => phase === 'up');
  expect((await run('svok', web)).exitCode).toBe(0);
  expect((await run('svstat', web)).stdout).toMatch(new RegExp(`^${web}: up \\(pid ${first.pid}\\) \\d+ seconds\n$`));
  expect((await run('svstat', join(rig.folder, 'idle'))).stdout).toMatch(/: down \d+ seconds\n$/);

  await run('svc', '-p', web);
  await rig.until('web', 'paused', ({ paused }) => paused);
  expect((await run('svstat', web)).stdout).toContain(', paused');
  expect(readFileSync(`/proc/${first.pid}/stat`, 'latin1').split(' ')[2]).toBe('T');
  await run('svc', '-d', web);
  await rig.until('web', 'down', ({ phase }) => phase === 'down');
  expect((await run('svstat', web)).stdout).toMatch(/: down \d+ seconds, normally up\n$/);

  await run('svc', '-u', web);
  const second = await rig.until('web', 'up again', ({ phase }) => phase === 'up');
  expect(second.pid).not.toBe(first.pid);
  await run('svc', '-t', web);
  const third = await rig.until('web', 'restarted', ({ phase, pid }) => phase === 'up' && pid !== second.pid);
  expect(third.lastDeath?.signal).toBe('SIGTERM');
  await run('svc', '-o', web);
  await run('svc', '-k', web);
  const last = await rig.until('web', 'down after once', ({ phase }) => phase === 'down');
  expect(last).toMatchObject({ want: 'once', lastDeath: { signal: 'SIGKILL' } });
});

test('svc -dx lets go, and the next scan opens again what still has its name', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'up', ({ phase }) => phase === 'up');
  await run('svc', '-dx', join(rig.folder, 'web'));
  await rig.until('web', 'up in a new supervise', (view) => view.phase === 'up' && view.pid !== pid);
});

test("runit's sv reads our status and gives orders", async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const web = join(rig.folder, 'web');
  const { pid } = await rig.until('web', 'up', ({ phase }) => phase === 'up');
  expect((await run('sv', 'status', web)).stdout).toMatch(new RegExp(`^run: ${web}: \\(pid ${pid}\\) \\d+s\n$`));
  expect((await run('sv', 'down', web)).exitCode).toBe(0);
  await rig.until('web', 'down', ({ phase }) => phase === 'down');
  expect((await run('sv', 'status', web)).stdout).toMatch(/^down: .* \d+s, normally up\n$/);
});

test.skipIf(!isRoot)('the original supervise finds our directory taken, and we find theirs taken', async () => {
  await using rig = new Rig();
  rig.write({ 'ours/run': SLEEP, 'theirs/run': SLEEP });
  const original = spawn('supervise', [join(rig.folder, 'theirs')], { stdio: 'ignore' });
  try {
    await eventually('the original runs', async () =>
      (await run('svok', join(rig.folder, 'theirs'))).exitCode === 0 ? true : undefined,
    );
    rig.start();
    await rig.until('ours', 'up', ({ phase }) => phase === 'up');
    const { why } = await rig.until(
      'theirs',
      'refused',
      ({ phase, why: said }) => phase === 'blocked' && said !== 'it is being opened',
    );
    expect(why).toBe('another supervisor holds supervise/lock; stop that one');
    const refused = await run('supervise', join(rig.folder, 'ours'));
    expect(refused).toMatchObject({ exitCode: 111 });
    expect(refused.stderr).toContain('unable to acquire');
    expect(rig.status('theirs')?.pid).not.toBe(0);
    await run('svc', '-dx', join(rig.folder, 'theirs'));
    await rig.until('theirs', 'ours now', ({ phase }) => phase === 'up');
  } finally {
    original.kill('SIGKILL');
  }
});

test("Debian's multilog behind a service: no line is lost when both sides are replaced again and again", async () => {
  await using rig = new Rig();
  // Counts on through its own deaths; killed between the two echoes it says a number twice, but never skips one.
  rig.write({
    'count/run':
      '#!/bin/sh\nn=$(cat n 2>/dev/null)\nn=${n:-0}\nwhile [ -f go ]; do n=$((n+1)); echo $n; echo $n >n.new; mv n.new n; done\necho end\nexec sleep 1000\n',
    'count/go': '',
    'count/log/run': '#!/bin/sh\nexec multilog n1000 s16777215 ./main\n',
  });
  rig.start();
  const log = join(rig.folder, 'count/log');
  for (let round = 0; round < 6; round += 1) {
    const [name, ...order] = round % 2 === 0 ? ['count/log', '-t', log] : ['count', '-k', join(rig.folder, 'count')];
    const { pid } = await rig.until(name ?? '', 'up', ({ phase }) => phase === 'up');
    await run('svc', ...order);
    await rig.until(name ?? '', 'replaced', (view) => view.phase === 'up' && view.pid !== pid);
  }
  rmSync(join(rig.folder, 'count/go'));
  const numbers = await eventually('the last line is written', async () => {
    const { stdout } = await run('sh', '-c', `cat ${log}/main/@* ${log}/main/current 2>/dev/null`);
    return stdout.endsWith('\nend\n') ? stdout.split('\n').slice(0, -2).map(Number) : undefined;
  });
  const last = Math.max(...numbers);
  expect(last).toBeGreaterThan(100);
  expect([...new Set(numbers)].toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: last }, (_, index) => index + 1),
  );
});

test('bad directories are said in status and retried; good ones beside them run', async () => {
  await using rig = new Rig();
  rig.write({
    'good/run': SLEEP,
    'plain/run': SLEEP,
    'interpreter/run': '#!/no/such/shell\n',
    'setting/run': SLEEP,
    'setting/timeout-kill': 'soon\n',
    'stopped/run': SLEEP,
    file: '',
  });
  chmodSync(join(rig.folder, 'plain/run'), 0o644);
  mkdirSync(join(rig.folder, 'empty'));
  mkdirSync(join(rig.folder, 'folder/run'), { recursive: true });
  mkdirSync(join(rig.folder, 'link'));
  symlinkSync('/no/such/file', join(rig.folder, 'link/run'));
  symlinkSync('/no/such/folder', join(rig.folder, 'dangling'));
  await run('mkfifo', join(rig.folder, 'stopped/down'), join(rig.folder, 'good/env-is-not-read'));
  rig.write({ 'control/run': SLEEP, 'control/supervise/control': 'not a FIFO' });
  rig.start();
  const rows: Record<string, string> = {
    plain: 'run is not executable; chmod +x it',
    interpreter: 'run names /no/such/shell in its first line, which does not exist',
    setting: 'file timeout-kill: expected a whole number from 0 to 86400000, got "soon"',
    empty: 'run is missing; make an executable file of that name',
    folder: 'run is a directory, not a program',
    link: 'run is a link to nothing',
    dangling: 'it is a link to nothing',
    control: 'supervise/control is not a FIFO; remove it',
  };
  for (const [name, why] of Object.entries(rows)) await rig.until(name, why, (view) => view.why === why);
  const good = await rig.until('good', 'ready', ({ ready }) => ready);
  await rig.until('stopped', 'down', ({ phase }) => phase === 'down');
  expect((await rig.services()).map(({ name }) => name)).not.toContain('file');

  chmodSync(join(rig.folder, 'plain/run'), 0o755);
  await rig.until('plain', 'up after chmod', ({ phase }) => phase === 'up');
  expect(await rig.until('good', 'untouched', () => true)).toMatchObject({ pid: good.pid, starts: 1 });
});

test('a directory that appears is started, a renamed one keeps its process, a removed one runs on', async () => {
  await using rig = new Rig();
  rig.start();
  await eventually('the socket answers', () => rig.services().catch(() => undefined));
  rig.write({ '.new/run': SLEEP });
  renameSync(join(rig.folder, '.new'), join(rig.folder, 'new'));
  const { pid } = await rig.until('new', 'up', ({ phase }) => phase === 'up');
  renameSync(join(rig.folder, 'new'), join(rig.folder, 'renamed'));
  expect((await rig.until('renamed', 'there', () => true)).pid).toBe(pid);
  renameSync(join(rig.folder, 'renamed'), join(rig.root, 'elsewhere'));
  await rig.until('renamed', 'removed', ({ removed }) => removed);
  expect(process.kill(pid, 0)).toBe(true);
  await run('svc', '-dx', join(rig.root, 'elsewhere'));
  await eventually('it is gone', async () => ((await rig.services()).length === 0 ? true : undefined));
});

test('supervise/ may be a link to a folder yet to be made, on a directory that nobody can write to', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  symlinkSync(join(rig.root, 'state/web'), join(rig.folder, 'web/supervise'));
  rig.start();
  const { pid } = await rig.until('web', 'up', ({ phase }) => phase === 'up');
  expect(readFileSync(join(rig.root, 'state/web/status')).readUInt32LE(12)).toBe(pid);
});

test('orders over the socket, and waiting for them', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'slow/run': SLEEP, 'slow/check': '#!/bin/sh\ntest -f ready\n' });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  await orderService(rig.socketPath, 'web', 'restart');
  await waitFor(rig.socketPath, 'web', 'restart', pid, 20_000);
  await orderService(rig.socketPath, 'web', 'down');
  await waitFor(rig.socketPath, 'web', 'down', 0, 20_000);
  await expect(orderService(rig.socketPath, 'none', 'up')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  await expect(waitFor(rig.socketPath, 'slow', 'up', 0, 100)).rejects.toMatchObject({
    code: 'E_TIMEOUT',
    message: 'slow: up was not done after 0.1 s: it is up and not ready',
  });
  rig.write({ 'slow/ready': '' });
  await waitFor(rig.socketPath, 'slow', 'up', 0, 20_000);
  expect((await run('stat', '-c', '%a', rig.socketPath)).stdout).toBe('600\n');
});

test('nothing leaks into a service: descriptors, soft limit of open files, session', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\nls /proc/self/fd | tr "\\n" " " >fds\nulimit -Sn >limit\nexec sleep 1000\n' });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  // 3 is the folder that ls itself reads.
  expect(readFileSync(join(rig.folder, 'web/fds'), 'latin1').trim()).toBe('0 1 2 3');
  expect(readFileSync(join(rig.folder, 'web/limit'), 'latin1').trim()).toBe('1024');
  const [, , group, session] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  expect([group, session]).toEqual([String(pid), String(pid)]);
});
