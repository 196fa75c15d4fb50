// Starting, stopping and what comes between, with real processes: finish, readiness, leftovers, dependencies, the end.

import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService, waitFor } from '../../supervise/client.io.ts';
import { decodeEntries } from '../../supervise/history.ts';
import { eventually, Rig, run } from './rig.ts';

const SLEEP = '#!/bin/sh\nexec sleep 1000\n';
/** Ignores TERM until it is killed. */
const STUBBORN = '#!/bin/sh\ntrap "" TERM\necho >deaf\nwhile :; do sleep 1; done\n';

const read = (rig: Rig, name: string): string => readFileSync(join(rig.folder, name), 'utf8');

test('finish is told how run ended: code or 256, signal, name, group', async () => {
  await using rig = new Rig();
  rig.write({
    'exits/run': '#!/bin/sh\nexit 7\n',
    'exits/finish': '#!/bin/sh\necho "$1 $2 $3" >>ends\n',
    'killed/run': SLEEP,
    'killed/finish': '#!/bin/sh\necho "$1 $2 $3 $4" >ends\n',
  });
  rig.start();
  await rig.until('exits', 'started again', ({ starts }) => starts >= 3);
  expect(read(rig, 'exits/ends')).toMatch(/^7 0 exits\n7 0 exits\n/);
  const { pid } = await rig.until('killed', 'up', ({ phase }) => phase === 'up');
  await run('svc', '-k', join(rig.folder, 'killed'));
  await rig.until('killed', 'up again', (view) => view.phase === 'up' && view.pid !== pid);
  expect(read(rig, 'killed/ends')).toBe(`256 9 killed ${pid}\n`);
});

test('finish that says 125 is obeyed until somebody says up', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\ntest -f mended || exit 1\nexec sleep 1000\n',
    'web/finish': '#!/bin/sh\nexit 125\n',
  });
  rig.start();
  const { why } = await rig.until('web', 'down', ({ phase, starts }) => phase === 'down' && starts === 1);
  expect(why).toBe('finish exited 125: not started again until told to');
  rig.write({ 'web/mended': '' });
  await orderService(rig.socketPath, 'web', 'up');
  await rig.until('web', 'up', ({ phase }) => phase === 'up');
});

test('finish that hangs is killed after timeout-finish', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\nexit 0\n',
    'web/finish': '#!/bin/sh\nexec sleep 1000\n',
    'web/timeout-finish': '100\n',
  });
  rig.start();
  await rig.until('web', 'started again', ({ starts }) => starts >= 2);
});

test('timeout-kill ends what does not listen to TERM; without it TERM is all', async () => {
  await using rig = new Rig();
  rig.write({ 'hard/run': STUBBORN, 'hard/timeout-kill': '200\n', 'soft/run': STUBBORN });
  rig.start();
  for (const name of ['hard', 'soft']) {
    await eventually(`${name} is deaf`, () => (existsSync(join(rig.folder, name, 'deaf')) ? true : undefined));
    await orderService(rig.socketPath, name, 'down');
  }
  const hard = await rig.until('hard', 'down', ({ phase }) => phase === 'down');
  expect(hard.lastDeath?.signal).toBe('SIGKILL');
  expect(await rig.until('soft', 'there', () => true)).toMatchObject({ phase: 'up', want: 'down' });
});

test('notification-fd: ready is the newline, over the death of the supervisor too', async () => {
  await using rig = new Rig();
  const waits = '#!/bin/sh\necho x >started\nwhile ! [ -f go ]; do sleep 0.05; done\n';
  rig.write({
    'three/run': `${waits}echo >&3\nexec sleep 1000\n`,
    'three/notification-fd': '3\n',
    'five/run': `${waits}echo >&5\nexec sleep 1000\n`,
    'five/notification-fd': '5\n',
  });
  rig.start();
  const five = await rig.until('five', 'up', ({ phase }) => phase === 'up');
  await rig.until('three', 'up', ({ phase }) => phase === 'up');
  rig.write({ 'three/go': '' });
  await rig.until('three', 'ready', ({ ready }) => ready);
  expect(await rig.until('five', 'there', () => true)).toMatchObject({ ready: false });
  await rig.end('SIGKILL');
  rig.write({ 'five/go': '' });
  rig.start();
  expect(await rig.until('five', 'ready', ({ ready }) => ready)).toMatchObject({ pid: five.pid, adopted: true });
});

test('what a killed master leaves in its group is ended before the next start', async () => {
  await using rig = new Rig();
  // The workers hold the lock, as nginx' workers hold the port; one of them does not listen to TERM.
  rig.write({
    'web/run':
      '#!/bin/sh\nexec 9>lock\nflock -n 9 || { echo >>held; exit 1; }\n(trap "" TERM; echo >deaf; while :; do sleep 1; done) &\n(while :; do sleep 1; done) &\nwait\n',
  });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  await eventually('the worker is deaf', () => (existsSync(join(rig.folder, 'web/deaf')) ? true : undefined));
  process.kill(pid, 'SIGKILL');
  expect(await rig.until('web', 'ready again', (view) => view.ready && view.pid !== pid)).toMatchObject({ starts: 2 });
  expect(existsSync(join(rig.folder, 'web/held'))).toBe(false);
});

test('a service waits for what it depends on, and for nothing that is not there', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': SLEEP,
    'web/depends': '# both\ndb\ncache\n',
    'db/run': SLEEP,
    'db/check': '#!/bin/sh\ntest -f ready\n',
    'cache/run': SLEEP,
    'lost/run': SLEEP,
    'lost/depends': 'nowhere\n',
    'hen/run': SLEEP,
    'hen/depends': 'egg\n',
    'egg/run': SLEEP,
    'egg/depends': 'hen\n',
  });
  rig.start();
  await rig.until('web', 'waits for db alone', ({ why, phase }) => phase === 'waiting' && why === 'waits for db');
  await rig.until('lost', 'says what is missing', ({ why }) => why === 'waits for nowhere (no such service)');
  await rig.until(
    'hen',
    'says the circle',
    ({ why }) => why === 'waits for itself (a circle of depends: hen, egg, hen)',
  );
  rig.write({ 'db/ready': '' });
  await rig.until('web', 'up', ({ phase }) => phase === 'up');
});

test('HUP stops all in the order of their need, loggers last, and exits 0 leaving nothing', async () => {
  await using rig = new Rig();
  const says = (name: string): string =>
    `#!/bin/sh\ntrap 'echo ${name} >>../order; echo bye; exit 0' TERM\nwhile :; do sleep 0.05; done\n`;
  rig.write({
    'db/run': says('db'),
    'web/run': says('web'),
    'web/depends': 'db\n',
    'web/log/run': '#!/bin/sh\nexec multilog ./main\n',
    'idle/run': SLEEP,
    'idle/down': '',
  });
  rig.start();
  await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.until('web/log', 'ready', ({ ready }) => ready);
  expect(await rig.end('SIGHUP')).toBe(0);
  expect(read(rig, 'order')).toBe('web\ndb\n');
  expect(read(rig, 'web/log/main/current')).toBe('bye\n');
  // The end of its input ended the logger; it did not take an order.
  const ordered = decodeEntries(read(rig, 'web/log/supervise/history')).filter(({ what }) => what === 'ordered');
  expect(ordered.map(({ detail }) => detail)).toEqual(['exit']);
  // multilog marks a clean end by making the file executable for its owner.
  expect((await run('stat', '-c', '%a', join(rig.folder, 'web/log/main/current'))).stdout).toBe('744\n');
  expect(rig.processes()).toEqual([]);
  expect(rig.status('web')).toMatchObject({ pid: 0 });
  expect(readdirSync(join(rig.folder, 'web/supervise'))).not.toContain('adopt.json');
  // Stopping to leave is no wish to stay down.
  rig.start();
  await rig.until('web', 'up', ({ phase }) => phase === 'up');
});

test('INT stops all as HUP does, and a second one kills what does not listen', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': STUBBORN });
  rig.start();
  await eventually('it is deaf', () => (existsSync(join(rig.folder, 'web/deaf')) ? true : undefined));
  rig.supervisor?.kill('SIGINT');
  await rig.until('web', 'told to stop', ({ want }) => want === 'down');
  expect(await rig.end('SIGINT')).toBe(0);
  await eventually('nothing is left', () => (rig.processes().length === 0 ? true : undefined));
});

test('the process that starts services may die: they run on, their deaths are seen, they are started again', async () => {
  await using rig = new Rig();
  rig.write({ 'old/run': SLEEP });
  rig.start();
  const old = await rig.until('old', 'ready', ({ ready }) => ready);
  await rig.end('SIGKILL');
  rig.write({ 'web/run': '#!/bin/sh\nwhile ! [ -f go ]; do sleep 0.05; done\nrm go\n' });
  rig.start();
  await rig.until('old', 'adopted', ({ adopted }) => adopted);
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  expect(rig.signalSpawner('SIGKILL')).toBeDefined();
  await eventually('it is said', () => (rig.said.includes('another takes its place') ? true : undefined));
  expect(await rig.until('web', 'there', () => true)).toMatchObject({ pid: web.pid, phase: 'up', starts: 1 });
  expect(await rig.until('old', 'there', () => true)).toMatchObject({ pid: old.pid, phase: 'up', starts: 1 });
  rig.write({ 'web/go': '' });
  process.kill(old.pid, 'SIGKILL');
  const again = await rig.until('web', 'up again', (view) => view.phase === 'up' && view.pid !== web.pid);
  expect(again.lastDeath).toBeDefined();
  await rig.until('old', 'up again', (view) => view.phase === 'up' && view.pid !== old.pid);
});

test('without perl services are started, adopted and seen to die', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'web/log/run': '#!/bin/sh\nexec cat >said\n' });
  const path = join(rig.root, 'bin');
  mkdirSync(path);
  for (const name of ['flock', 'mkfifo', 'sh', 'cat', 'sleep']) symlinkSync(`/usr/bin/${name}`, join(path, name));
  rig.start('/usr/bin/env', `PATH=${path}`);
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.until('web/log', 'ready', ({ ready }) => ready);
  process.kill(web.pid, 'SIGKILL');
  const second = await rig.until('web', 'up again', (view) => view.ready && view.pid !== web.pid);
  expect(second.lastDeath).toMatchObject({ signal: 'SIGKILL' });
  expect(rig.said).toContain('perl is missing: starts take longer');
  await rig.end('SIGKILL');
  rig.start('/usr/bin/env', `PATH=${path}`);
  await rig.until('web', 'adopted', ({ adopted }) => adopted);
  process.kill(second.pid, 'SIGKILL');
  await rig.until('web', 'up once more', (view) => view.phase === 'up' && view.pid !== second.pid);
  expect(await rig.end('SIGHUP')).toBe(0);
});

test('the exit code of an adopted service is known', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\nwhile ! [ -f go ]; do sleep 0.05; done\nexit 37\n' });
  rig.start();
  await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.end('SIGKILL');
  rig.write({ 'later/run': SLEEP });
  rig.start();
  await rig.until('web', 'adopted', ({ adopted }) => adopted);
  // What starts a service has been told before to watch the other.
  await rig.until('later', 'up', ({ phase }) => phase === 'up');
  rig.write({ 'web/go': '' });
  const { lastDeath } = await rig.until('web', 'dead', (view) => view.lastDeath !== undefined);
  expect(lastDeath).toMatchObject({ exitCode: 37 });
});

test('a directory that is deleted while its service runs: it goes on, and is not started again', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'web/log/run': '#!/bin/sh\nexec cat\n', 'good/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  rmSync(join(rig.folder, 'web'), { recursive: true });
  await rig.until('web', 'removed', ({ removed }) => removed);
  expect(process.kill(pid, 0)).toBe(true);
  process.kill(pid, 'SIGKILL');
  await eventually('it is gone from status', async () =>
    (await rig.services()).every(({ name }) => !name.startsWith('web')) ? true : undefined,
  );
  await waitFor(rig.socketPath, 'good', 'up', 0, 1000);
});

test.skipIf(process.getuid?.() !== 0)(
  'user with its groups, env and limits; what cannot be is refused, never run as root',
  async () => {
    await using rig = new Rig();
    const said = join(rig.root, 'open/said');
    rig.write({
      'web/run': `#!/bin/sh\n{ id -un; id -Gn; echo "$COLOUR"; echo "\${HOME-unset}"; ulimit -Sn; ulimit -Sf; } >${said}\nexec sleep 1000\n`,
      'web/user': 'games\n',
      'web/limits': 'o 99\nf 5120\n',
      'web/env/COLOUR': 'dark red  \nnot this\n',
      'web/env/HOME': '',
      'ghost/run': SLEEP,
      'ghost/user': 'nobody-has-this\n',
      'fifo/run': SLEEP,
    });
    mkdirSync(join(rig.root, 'open'));
    mkdirSync(join(rig.folder, 'fifo/env'));
    await run('mkfifo', join(rig.folder, 'fifo/env/X'));
    // The rig's folders are closed to others, as temporary folders are.
    for (const path of [rig.root, rig.folder, join(rig.folder, 'web')]) chmodSync(path, 0o755);
    chmodSync(join(rig.root, 'open'), 0o777);
    rig.start();
    await rig.until('web', 'ready', ({ ready }) => ready);
    const groups = (await run('id', '-Gn', 'games')).stdout.trim();
    expect(readFileSync(said, 'utf8')).toBe(`games\n${groups}\ndark red\nunset\n99\n10\n`);
    await rig.until('ghost', 'refused', ({ why }) => why === "file user: there is no 'nobody-has-this' in /etc/passwd");
    await rig.until('fifo', 'refused', ({ why }) => why === 'file env/X: it is not a regular file');
  },
);
