// What the supervisor tells: events, metrics, use of CPU and memory; and that nobody who does not listen holds it up.

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { applyService, listServices, orderService } from '../../supervise/client.io.ts';
import { renderMetrics } from '../../supervise/metrics.ts';
import type { ServiceView } from '../../supervise/view.ts';
import { eventually, Rig, run } from './rig.ts';

const ROUSE = fileURLToPath(new URL('../../bin/rouse', import.meta.url));
const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

test('events: every service as it is, then each change', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'db/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.until('db', 'ready', ({ ready }) => ready);
  const views: ServiceView[] = [];
  let rest = '';
  const asking = get({ socketPath: rig.socketPath, path: '/v1/events', agent: false }, (response) => {
    expect(response.headers['content-type']).toBe('text/event-stream');
    response.on('data', (chunk: Buffer) => {
      const events = (rest + chunk.toString()).split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) views.push(JSON.parse(event.replace('event: service\ndata: ', '')) as ServiceView);
    });
    response.on('error', () => undefined);
  });
  asking.on('error', () => undefined);
  await eventually('all of them', () => (views.length === 2 ? true : undefined));
  await orderService(rig.socketPath, 'web', 'down');
  await eventually('it is down', () => (views.at(-1)?.phase === 'down' ? true : undefined));
  expect(views.slice(2).every(({ name }) => name === 'web')).toBe(true);
  expect(views.at(-1)).toMatchObject({ name: 'web', pid: 0, lastDeath: { signal: 'SIGTERM' } });
  expect(views[1]).toMatchObject({ name: 'web', pid });
  asking.destroy();
});

test('use of CPU and memory is that of the process; metrics have it too', async () => {
  await using rig = new Rig();
  rig.write({ 'busy/run': '#!/bin/sh\nwhile :; do :; done\n', 'idle/run': SLEEP, 'idle/down': '' });
  rig.start();
  await rig.until('busy', 'ready', ({ ready }) => ready);
  const busy = await eventually('it has used CPU', async () => {
    const view = (await listServices(rig.socketPath, true)).find(({ name }) => name === 'busy');
    return (view?.usage?.cpuMs ?? 0) > 50 ? view : undefined;
  });
  expect(busy.usage?.residentBytes).toBeGreaterThan(100_000);
  expect((await listServices(rig.socketPath)).some(({ usage }) => usage !== undefined)).toBe(false);
  const page = await new Promise<string>((resolve, reject) => {
    get({ socketPath: rig.socketPath, path: '/metrics', agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
  expect(page).toContain('# TYPE rouse_service_starts_total counter\nrouse_service_starts_total{service="busy"} 1\n');
  expect(page).toMatch(/rouse_service_cpu_seconds_total\{service="busy"\} \d/);
  expect(page).toContain('rouse_service_up{service="idle"} 0\n');
  expect(page).not.toContain('rouse_service_resident_bytes{service="idle"}');
});

test('metrics: labels are escaped', async () => {
  await using rig = new Rig();
  rig.write({ 'a"b\\c/run': SLEEP });
  rig.start();
  await rig.until('a"b\\c', 'up', ({ phase }) => phase === 'up');
  expect(renderMetrics(await rig.services())).toContain('rouse_service_up{service="a\\"b\\\\c"} 1\n');
});

test('into a file the supervisor writes where its services write: neither is lost', () => {
  const room = join(import.meta.dirname, '../../supervise/logline.io.ts');
  const folder = mkdtempSync(join(tmpdir(), 'rouse-logline-'));
  const file = join(folder, 'log');
  const fd = openSync(file, 'w');
  const script = `
    const { openLog } = await import(${JSON.stringify(room)});
    const { spawnSync } = await import('node:child_process');
    const log = openLog('x: ');
    for (const line of ['one', 'two']) { log(line); spawnSync('echo', [line + ' of a service'], { stdio: ['ignore', 2, 2] }); }
  `;
  try {
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'ignore', fd] });
    expect(readFileSync(file, 'utf8')).toBe('x: one\none of a service\nx: two\ntwo of a service\n');
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a reader of standard error who stops reading holds nothing up, and is told what was dropped', async () => {
  const room = join(import.meta.dirname, '../../supervise/logline.io.ts');
  const script = `
    const { openLog } = await import(${JSON.stringify(room)});
    const log = openLog('x: ');
    for (let line = 0; line < 5000; line += 1) log('y'.repeat(100));
    process.stdout.write('through\\n');
    process.stdin.once('data', () => log('end'));
  `;
  const folder = mkdtempSync(join(tmpdir(), 'rouse-logline-'));
  const fifo = join(folder, 'stderr');
  execFileSync('mkfifo', [fifo]);
  // Held open for both, read by nobody.
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const blocking = openSync(fifo, constants.O_RDWR);
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', blocking] });
  closeSync(blocking);
  let out = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
  let err = '';
  const drain = (): void => {
    const buffer = Buffer.alloc(65_536);
    try {
      for (;;) err += buffer.toString('utf8', 0, readSync(fd, buffer));
    } catch {
      // EAGAIN: it is empty.
    }
  };
  try {
    await eventually('all is written', () => (out === 'through\n' ? true : undefined));
    drain();
    child.stdin?.end('go\n');
    await eventually('the end', () => {
      drain();
      return err.endsWith('x: end\n') ? true : undefined;
    });
    const written = err.split('\n').filter((line) => line.startsWith('x: yyy')).length;
    expect(written).toBeGreaterThan(100);
    expect(err.split('\n').at(-3)).toBe(`x: ${5000 - written} lines were dropped here: nobody read them`);
  } finally {
    child.kill('SIGKILL');
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
});

test('apply restarts what was edited, over the death of the supervisor too, and nothing else', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': SLEEP,
    'web/env/PORT': '80\n',
    'db/run': SLEEP,
    'db/data': 'x',
    'log/run': SLEEP,
    'log/log/multilog': './a',
  });
  rig.start();
  const names = ['web', 'db', 'log'];
  const before = new Map<string, number>();
  for (const name of names) before.set(name, (await rig.until(name, 'ready', ({ ready }) => ready)).pid);
  await rig.end('SIGKILL');
  rig.start();
  for (const name of names) await rig.until(name, 'adopted', ({ adopted }) => adopted);
  const applyAll = (): Promise<string[]> => Promise.all(names.map((name) => applyService(rig.socketPath, name)));
  expect(await applyAll()).toEqual(['unchanged', 'unchanged', 'unchanged']);
  rig.write({ 'web/env/PORT': '81\n', 'db/data': 'other', 'log/log/multilog': './b' });
  expect(await applyAll()).toEqual(['restarted', 'unchanged', 'log']);
  await rig.until('web', 'restarted', (view) => view.ready && view.pid !== before.get('web'));
  for (const name of ['db', 'log']) expect((await rig.until(name, 'there', () => true)).pid).toBe(before.get(name));
  await eventually('the log is in its new folder', () =>
    existsSync(join(rig.folder, 'log/log/b/current')) ? true : undefined,
  );
  expect(await applyAll()).toEqual(['unchanged', 'unchanged', 'unchanged']);
  // A setting that is taken away is an edit as well.
  rig.write({ 'db/limits': 'o 99\n' });
  expect((await applyAll())[1]).toBe('restarted');
  await rig.until('db', 'restarted', (view) => view.ready && view.pid !== before.get('db'));
  rmSync(join(rig.folder, 'db/limits'));
  expect((await applyAll())[1]).toBe('restarted');
});

test('apply leaves a service running that would not start as it is edited, and says why', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'db/run': SLEEP, 'app/run': SLEEP });
  rig.start();
  const names = ['web', 'db', 'app'];
  const pids: number[] = [];
  for (const name of names) pids.push((await rig.until(name, 'ready', ({ ready }) => ready)).pid);
  rig.write({
    'web/health': 'kind htp\ntarget x:1\n',
    'db/run': '#!/no/such/shell\n',
    'app/user': 'nobody-of-that-name\n',
  });
  const { exitCode, stdout, stderr } = await run('env', `ROUSE_HOME=${rig.root}`, ROUSE, 'apply', '--all', '--wait');
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toContain(
    'web: not restarted, as it would not start: file health: kind expected icmp, tcp, http, exec, got "htp"',
  );
  expect(stderr).toContain('/no/such/shell');
  expect(stderr).toContain(
    "app: not restarted, as it would not start: file user: there is no 'nobody-of-that-name' in /etc/passwd",
  );
  for (const [at, name] of names.entries()) {
    expect(await rig.until(name, 'there', () => true)).toMatchObject({ phase: 'up', ready: true, pid: pids[at] });
  }
  rig.write({ 'web/health': 'kind exec\ntarget true\n' });
  expect(await applyService(rig.socketPath, 'web')).toBe('restarted');
  await rig.until('web', 'restarted', ({ ready, pid }) => ready && pid !== pids[0]);
});

test('reload sends HUP, or what reload-signal says, and nothing is restarted', async () => {
  await using rig = new Rig();
  const notes = '#!/bin/sh\ntrap "echo hup >>got" HUP\ntrap "echo usr1 >>got" USR1\nwhile :; do sleep 0.05; done\n';
  rig.write({ 'web/run': notes, 'db/run': notes, 'db/reload-signal': 'USR1\n' });
  rig.start();
  for (const [name, got] of [
    ['web', 'hup\n'],
    ['db', 'usr1\n'],
  ] as const) {
    const { pid } = await rig.until(name, 'ready', ({ ready }) => ready);
    await orderService(rig.socketPath, name, 'reload');
    const path = join(rig.folder, name, 'got');
    await eventually('it got it', () => (existsSync(path) && readFileSync(path, 'utf8') === got ? true : undefined));
    expect(await rig.until(name, 'there', () => true)).toMatchObject({ pid, phase: 'up' });
  }
});
