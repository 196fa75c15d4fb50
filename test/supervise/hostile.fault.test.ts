// What stands in supervise/ and around it may be anybody's: no FIFO, link, device, copy or crowd holds up the supervisor,
// and none makes root write or kill elsewhere.

import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService, serviceHistory, waitFor } from '../../supervise/client.io.ts';
import { renderTable } from '../../supervise/view.ts';
import { eventually, Rig, run } from './rig.ts';

const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

/** The supervisor's own descriptors. */
function fdCount(rig: Rig): number {
  return readdirSync(`/proc/${rig.supervisor?.pid}/fd`).length;
}

test('files of supervise/ that are something else block their own service alone, with the reason', async () => {
  await using rig = new Rig();
  rig.write({
    'good/run': SLEEP,
    'history/run': SLEEP,
    'lock/run': SLEEP,
    'record/run': SLEEP,
    'control/run': SLEEP,
    'status/run': SLEEP,
    'linked/run': SLEEP,
    'notify/run': SLEEP,
    'notify/notification-fd': '3',
    'plain/run': SLEEP,
    'plain/notification-fd': '3',
    'logged/run': SLEEP,
    'logged/log/run': SLEEP,
  });
  const at = (path: string): string => join(rig.folder, path);
  const precious = join(rig.root, 'precious');
  writeFileSync(precious, 'mine\n');
  for (const name of readdirSync(rig.folder)) mkdirSync(at(`${name}/supervise`));
  execFileSync('mkfifo', [
    at('history/supervise/history'),
    at('lock/supervise/lock'),
    at('record/supervise/adopt.json'),
    at('status/supervise/status.new'),
    at('status/supervise/adopt.json.new'),
  ]);
  symlinkSync('/dev/zero', at('control/supervise/control'));
  symlinkSync(precious, at('linked/supervise/history'));
  symlinkSync('/dev/zero', at('notify/supervise/notify.fifo'));
  symlinkSync('/dev/zero', at('logged/supervise/log.fifo'));
  writeFileSync(at('plain/supervise/notify.fifo'), '');
  rig.start();
  await rig.until('good', 'ready', ({ ready }) => ready);
  const why = async (name: string, text: string): Promise<void> => {
    await rig.until(name, `says ${text}`, (view) => view.why?.includes(text) === true);
  };
  await why('lock', 'supervise/lock is not a regular file; remove it');
  await why('record', 'supervise/adopt.json is not a regular file; remove it');
  await why('control', 'supervise/control is not a FIFO; remove it');
  await why('notify', 'supervise/notify.fifo is not a FIFO; remove it');
  await why('plain', 'supervise/notify.fifo is not a FIFO; remove it');
  await why('logged', 'supervise/log.fifo is not a FIFO; remove it');
  // Not being remembered does not keep a service from running.
  for (const name of ['history', 'linked']) {
    await rig.until(name, 'up', ({ phase }) => phase === 'up');
    await why(name, 'cannot write supervise/history: supervise/history is not a regular file; remove it');
  }
  // What is in the way of a new file is replaced.
  await rig.until('status', 'ready', ({ ready, why: what }) => ready && what === undefined);
  expect(readFileSync(precious, 'utf8')).toBe('mine\n');

  // A start that fails each second keeps no descriptor.
  const before = fdCount(rig);
  const starts = (): number => rig.said.split('\n').length;
  expect(starts()).toBeGreaterThan(5);
  await new Promise((resolve) => setTimeout(resolve, 4000));
  expect(fdCount(rig)).toBeLessThanOrEqual(before + 1);

  for (const path of ['lock/supervise/lock', 'record/supervise/adopt.json', 'plain/supervise/notify.fifo'])
    rmSync(at(path));
  for (const name of ['lock', 'record', 'plain']) await rig.until(name, 'healed', ({ phase }) => phase === 'up');
});

test('a copied directory is a service of its own: neither its record nor its orders reach the original', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'gone/run': SLEEP });
  rig.start();
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  const copy = (name: string): void => {
    cpSync(join(rig.folder, 'web'), join(rig.folder, `.${name}`), {
      recursive: true,
      filter: (path) => !/(control|ok)$/.test(path),
    });
    renameSync(join(rig.folder, `.${name}`), join(rig.folder, name));
  };
  copy('web2');
  const web2 = await rig.until('web2', 'up', ({ phase }) => phase === 'up');
  expect(web2).toMatchObject({ adopted: false, starts: 1 });
  expect(web2.pid).not.toBe(web.pid);
  expect(rig.said).toContain('web2: supervise/adopt.json is ignored: it was written for another directory');
  await orderService(rig.socketPath, 'web2', 'down');
  await waitFor(rig.socketPath, 'web2', 'down', 0, 20_000);
  expect(await rig.until('web', 'there', () => true)).toMatchObject({ phase: 'up', pid: web.pid });

  // Over the supervisor's death, and before the original in the alphabet; and a record that does not say where it is from.
  await rig.end('SIGKILL');
  copy('a');
  copy('zzz');
  const old = join(rig.folder, 'zzz/supervise/adopt.json');
  writeFileSync(old, readFileSync(old, 'utf8').replace(/"directoryId":"[^"]*",/, ''));
  rig.start();
  expect(await rig.until('web', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid: web.pid });
  for (const name of ['a', 'zzz']) {
    const view = await rig.until(name, 'up', ({ phase }) => phase === 'up');
    expect(view).toMatchObject({ adopted: false });
    expect(view.pid).not.toBe(web.pid);
  }
  expect(rig.said).toContain(`zzz: supervise/adopt.json is ignored: its pid ${web.pid} is that of web`);
});

test('a crowd of connections and a shortage of descriptors end neither the supervisor nor a service', async () => {
  await using rig = new Rig();
  const leaver = '#!/bin/sh\nsleep 1000 &\nsleep 0.2\nexit 1\n';
  for (let index = 0; index < 20; index += 1) rig.write({ [`leaver${index}/run`]: leaver });
  rig.write({ 'good/run': SLEEP });
  rig.start('prlimit', '--nofile=200:200', '--');
  const good = await rig.until('good', 'ready', ({ ready }) => ready);
  const supervisor = rig.supervisor;
  const sockets: Socket[] = [];
  try {
    for (let index = 0; index < 400; index += 1) {
      const socket = connect(rig.socketPath);
      socket.on('error', () => undefined);
      sockets.push(socket);
    }
    // The crowd is held to its share, so people still get an answer, and services still end and start.
    const { starts } = await rig.until('leaver0', 'there', () => true);
    await rig.until('leaver0', 'started further', (view) => view.starts > starts + 1);
    expect(fdCount(rig)).toBeLessThan(195);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  expect(supervisor?.exitCode).toBe(null);
  expect(await rig.until('good', 'there', () => true)).toMatchObject({ pid: good.pid, phase: 'up' });
});

test('out of descriptors: services are told so, none is doubled, and all is well once there are some', async () => {
  await using rig = new Rig();
  for (let index = 0; index < 30; index += 1) {
    rig.write({
      [`s${index}/run`]: '#!/bin/sh\nexec 9>lock\nflock -n 9 || echo $$ >>copies\nsleep 1000 &\nsleep 0.3\nexit 1\n',
    });
  }
  rig.start('prlimit', '--nofile=100:100', '--');
  const blocked = await eventually('some are blocked', async () => {
    const views = (await rig.services().catch(() => [])).filter(({ phase }) => phase === 'blocked');
    return views.length > 0 && views.every(({ why }) => why !== 'it is being opened') ? views : undefined;
  });
  for (const { why } of blocked) expect(why).toMatch(/EMFILE/);
  expect(rig.said).not.toContain('another supervisor');
  expect(rig.supervisor?.exitCode).toBe(null);
  await rig.end('SIGKILL');
  rig.start();
  await eventually('all of them run', async () => {
    const views = await rig.services().catch(() => []);
    return views.length === 30 && views.every(({ starts }) => starts > 0) ? true : undefined;
  });
  for (let index = 0; index < 30; index += 1) expect(existsSync(join(rig.folder, `s${index}/copies`))).toBe(false);
});

test('names and scripts with escape sequences and newlines reach people spelt out', async () => {
  await using rig = new Rig();
  symlinkSync('/nonexistent', join(rig.folder, 'dang\u001B[2J\nrouse supervise: fake line'));
  rig.write({ 'web/run': '#!/no/such\u001B[31m\nx\n' });
  rig.start();
  await rig.until('web', 'refused', ({ why }) => why?.includes('/no/such') === true);
  expect(rig.said).toContain('dang\\x1b[2J\\nrouse supervise: fake line: it is a link to nothing\n');
  expect(rig.said).toContain('/no/such\\x1b[31m');
  const table = renderTable(await rig.services(), Date.now());
  expect(table).toHaveLength(3);
  for (const text of [rig.said, table.join('\n')]) expect(text).not.toContain('\u001B');
});

test('a directory that is deleted and made anew: the old service is marked, orders go to the new one', async () => {
  await using rig = new Rig();
  rig.write({ 'rc/run': SLEEP });
  rig.start();
  const old = await rig.until('rc', 'ready', ({ ready }) => ready);
  rmSync(join(rig.folder, 'rc'), { recursive: true });
  rig.write({ '.rc/run': SLEEP });
  renameSync(join(rig.folder, '.rc'), join(rig.folder, 'rc'));
  const present = await rig.until('rc', 'new', ({ phase, pid }) => phase === 'up' && pid !== old.pid);
  expect(present.removed).toBe(false);
  expect(await rig.until('rc (removed)', 'there', () => true)).toMatchObject({ pid: old.pid, removed: true });
  await orderService(rig.socketPath, 'rc', 'down');
  await waitFor(rig.socketPath, 'rc', 'down', 0, 20_000);
  expect(await rig.until('rc (removed)', 'there', () => true)).toMatchObject({ pid: old.pid, phase: 'up' });
  await orderService(rig.socketPath, 'rc', 'up');
  await rig.until('rc', 'up', ({ phase }) => phase === 'up');
  // HUP stops both of the name.
  expect(await rig.end('SIGHUP')).toBe(0);
  expect(rig.processes()).toEqual([]);
});

test('what is wrong every second is said once', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\nexit 1\n',
    'web/finish/x': '',
    'state/run': '#!/bin/sh\nexit 1\n',
    'state/supervise/status/x': '',
  });
  rig.start();
  for (const name of ['web', 'state']) await rig.until(name, 'started often', ({ starts }) => starts > 4);
  const times = (text: string): number => rig.said.split('\n').filter((line) => line.includes(text)).length;
  expect(times('web: finish is a directory')).toBe(1);
  expect(times('state: cannot write supervise/status')).toBe(1);
  expect((await rig.until('state', 'there', () => true)).why).toContain('cannot write supervise/status');
});

test('megabytes in a control FIFO: little work, everybody else served, and the next order is taken', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\ntrap "" HUP ALRM\nwhile :; do sleep 1; done\n', 'db/run': SLEEP });
  rig.start();
  await rig.until('web', 'ready', ({ ready }) => ready);
  const control = join(rig.folder, 'web/supervise/control');
  const megabytes = 4;
  const flood = spawn('sh', ['-c', `yes ha | tr -d '\\n' | head -c ${megabytes}000000 >'${control}'`], {
    stdio: 'ignore',
  });
  let isThrough = false;
  flood.once('exit', () => {
    isThrough = true;
  });
  // Orders to others are taken meanwhile.
  for (let answers = 0; answers < 10; answers += 1) await orderService(rig.socketPath, 'db', 'hup');
  expect(isThrough).toBe(false);
  await eventually('all of it is taken', () => (isThrough ? true : undefined));
  await run('svc', '-d', join(rig.folder, 'web'));
  await rig.until('web', 'told to stop', ({ want }) => want === 'down');
  const ordered = (await serviceHistory(rig.socketPath, 'web')).filter(({ what }) => what === 'ordered').length;
  // Two letters for each read of 64 KiB, and some for reads of less.
  expect(ordered).toBeGreaterThan(10);
  const entries = readFileSync(join(rig.folder, 'web/supervise/history'), 'utf8').split('\n').length;
  expect(entries).toBeLessThan(megabytes * 200);
  expect(existsSync(join(rig.folder, 'web/supervise/history.old'))).toBe(false);
});
