// The supervisor may die: SIGKILL at any moment loses no service, no log line and no want, and never makes a second copy.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService, serviceHistory, waitFor } from '../../supervise/client.io.ts';
import { eventually, Rig, run } from './rig.ts';

const SLEEP = '#!/bin/sh\nexec sleep 1000\n';
/** A service that notices a living copy of itself: the lock goes with its last process. */
const ALONE = '#!/bin/sh\nexec 9>lock\nflock -n 9 || echo $$ >>copies\n';
/** How often the supervisor is killed; fewer by the environment while one works on it. */
const KILLS = Number(process.env['ROUSE_TEST_KILLS'] ?? 500);

test('after SIGKILL the next supervisor has the same processes, and sees and controls them as its own', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'web/log/run': '#!/bin/sh\nexec multilog t ./main\n' });
  rig.start();
  const before = await rig.until('web', 'ready', ({ ready }) => ready);
  const logBefore = await rig.until('web/log', 'ready', ({ ready }) => ready);
  expect(await rig.end('SIGKILL')).toBe('SIGKILL');
  expect((await run('svok', join(rig.folder, 'web'))).exitCode).toBe(100);
  rig.write({ 'later/run': SLEEP });
  rig.start();
  // What starts a service has been told before to watch the others.
  await rig.until('later', 'up', ({ phase }) => phase === 'up');
  const after = await rig.until('web', 'adopted', ({ adopted }) => adopted);
  expect(after).toMatchObject({ pid: before.pid, starts: 1, ready: true, changedAtMs: before.changedAtMs });
  expect((await rig.until('web/log', 'adopted', ({ adopted }) => adopted)).pid).toBe(logBefore.pid);
  expect((await run('svstat', join(rig.folder, 'web'))).stdout).toContain(`up (pid ${before.pid})`);

  await run('svc', '-t', join(rig.folder, 'web'));
  const restarted = await rig.until('web', 'restarted', ({ phase, pid }) => phase === 'up' && pid !== before.pid);
  expect(restarted).toMatchObject({ adopted: false, starts: 2, lastDeath: { signal: 'SIGTERM' } });
  expect((await serviceHistory(rig.socketPath, 'web')).map(({ what, detail }) => `${what} ${detail}`.trim())).toEqual([
    'started',
    'adopted',
    'ordered SIGTERM',
    'died killed by SIGTERM',
    'started',
  ]);
});

test('adopted services that die while others are started do not end the spawner', async () => {
  await using rig = new Rig();
  const names = Array.from({ length: 40 }, (_, index) => `s${index}`);
  for (const name of names) rig.write({ [`${name}/run`]: SLEEP });
  rig.start();
  await eventually('all are up', async () => {
    const services = await rig.services().catch(() => []);
    return services.length === names.length && services.every(({ ready }) => ready) ? true : undefined;
  });
  await rig.end('SIGKILL');
  rig.start();
  const adopted = await eventually('all are adopted', async () => {
    const services = await rig.services().catch(() => []);
    return services.length === names.length && services.every((each) => each.adopted) ? services : undefined;
  });
  // One after the other, so that each death falls among the starts of those before it.
  for (const { pid } of adopted) {
    process.kill(pid, 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  await eventually('all are up again', async () => {
    const services = await rig.services().catch(() => []);
    return services.length === names.length && services.every(({ ready, adopted: old }) => ready && !old)
      ? true
      : undefined;
  });
  expect(rig.said).not.toMatch(/Bad symbol|the spawner is gone/);
});

test('TERM leaves the services to the next supervisor', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  expect(await rig.end('SIGTERM')).toBe(0);
  expect(process.kill(pid, 0)).toBe(true);
  rig.start();
  expect((await rig.until('web', 'adopted', ({ adopted }) => adopted)).pid).toBe(pid);
});

test('what died while nobody looked is started again; what was put down stays down', async () => {
  await using rig = new Rig();
  rig.write({ 'dies/run': SLEEP, 'down/run': SLEEP, 'wanted/run': SLEEP, 'wanted/down': '', 'once/run': SLEEP });
  rig.start();
  const dies = await rig.until('dies', 'up', ({ phase }) => phase === 'up');
  await rig.until('down', 'up', ({ phase }) => phase === 'up');
  await orderService(rig.socketPath, 'down', 'down');
  await waitFor(rig.socketPath, 'down', 'down', 0, 20_000);
  await orderService(rig.socketPath, 'wanted', 'up');
  await rig.until('wanted', 'up', ({ phase }) => phase === 'up');
  await orderService(rig.socketPath, 'once', 'once');
  const once = await rig.until('once', 'once', ({ want }) => want === 'once');
  await rig.end('SIGKILL');
  process.kill(dies.pid, 'SIGKILL');
  process.kill(once.pid, 'SIGKILL');
  rig.start();
  await rig.until('dies', 'started again', ({ phase, pid }) => phase === 'up' && pid !== dies.pid);
  await rig.until('once', 'left down', ({ phase }) => phase === 'down');
  expect(await rig.until('down', 'there', () => true)).toMatchObject({ phase: 'down', want: 'down' });
  expect(await rig.until('wanted', 'there', () => true)).toMatchObject({ phase: 'up', adopted: true });
});

test('a recorded pid that now belongs to another process is not adopted and not touched', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  // Later, because start times count in hundredths of a second.
  rig.write({ 'other/run': SLEEP });
  const other = await rig.until('other', 'up', ({ phase }) => phase === 'up');
  await rig.end('SIGKILL');
  // As if the kernel had given web's number to the other one.
  const record = join(rig.folder, 'web/supervise/adopt.json');
  await run('sed', '-i', `s/"pid":${pid}/"pid":${other.pid}/; s/"groupId":${pid}/"groupId":${other.pid}/`, record);
  process.kill(pid, 'SIGKILL');
  rig.start();
  const web = await rig.until('web', 'up', ({ phase }) => phase === 'up');
  expect(web).toMatchObject({ adopted: false, starts: 2 });
  expect(await rig.until('other', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid: other.pid, starts: 1 });
});

test('a supervisor killed between making a process and recording it leaves none behind', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\necho ran >>ran\nexec sleep 1000\n' });
  // What the supervisor does up to that moment; it goes on only by opening the gate.
  const room = join(import.meta.dirname, '../../supervise/spawner.io.ts');
  const script = `
    const { Spawner } = await import(${JSON.stringify(room)});
    const base = ${JSON.stringify(join(rig.folder, 'web'))};
    const plan = { base, argv: ['./run'], env: {}, stdin: 'ignore', stdout: 2, stderr: 2, onExit: () => undefined };
    new Spawner(() => undefined).launch(plan, () => undefined);
    setInterval(() => undefined, 1000);
  `;
  const supervisor = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  await eventually('the process is at its gate', () => (rig.processes().length > 0 ? true : undefined));
  supervisor.kill('SIGKILL');
  await eventually('it has gone', () => (rig.processes().length === 0 ? true : undefined));
  expect(existsSync(join(rig.folder, 'web/ran'))).toBe(false);
  rig.start();
  await rig.until('web', 'up', ({ phase, starts }) => phase === 'up' && starts === 1);
});

test('two supervisors on one socket: the second says who is there and goes', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const first = rig.supervisor;
  await rig.until('web', 'up', ({ phase }) => phase === 'up');
  rig.start();
  await eventually('the second has gone', () => (rig.supervisor?.exitCode === 111 ? true : undefined));
  expect(rig.said).toContain('another rouse supervise is running on it');
  rig.supervisor = first;
  expect(await rig.services()).toHaveLength(1);
});

test(`${KILLS} SIGKILLs at random moments under load, of the spawner too: same pids, no copy, no line missing`, {
  timeout: 900_000,
}, async () => {
  await using rig = new Rig();
  const steady = ['a', 'b', 'c', 'd'];
  for (const name of steady) rig.write({ [`${name}/run`]: `${ALONE}exec sleep 1000\n` });
  rig.write({
    // Dies all the time, so that kills fall into every phase of a restart; finish too.
    'restless/run': `${ALONE}exec sleep 0.05\n`,
    'restless/finish': '#!/bin/sh\nexec sleep 0.05\n',
    'flood/run': `${ALONE}n=0\nwhile [ -f go ]; do n=$((n+1)); echo $n; done\necho $n >last\nexec sleep 1000\n`,
    'flood/go': '',
    'flood/log/run': `${ALONE}exec multilog n1000 s16777215 ./main\n`,
  });
  const copies = (): string[] =>
    ['restless', 'flood', 'flood/log', ...steady].filter((name) => existsSync(join(rig.folder, name, 'copies')));
  rig.start();
  const pids = new Map<string, number>();
  for (const name of [...steady, 'flood', 'flood/log']) {
    pids.set(name, (await rig.until(name, 'ready', ({ ready }) => ready)).pid);
  }
  const restlessBefore = (await rig.until('restless', 'there', () => true)).starts;
  const moment = (uptoMs: number): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, Math.random() * uptoMs));
  for (let kill = 0; kill < KILLS; kill += 1) {
    // Every fifth time the process that starts the services goes first, with or without time for another to come.
    if (kill % 5 === 4) {
      await eventually('a spawner', () => rig.signalSpawner('SIGKILL'));
      await moment(kill % 2 === 0 ? 300 : 10);
    } else await moment(600);
    await rig.end('SIGKILL');
    rig.start();
  }
  for (const [name, pid] of pids) {
    expect(await rig.until(name, 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid, starts: 1 });
  }
  const restless = await rig.until('restless', 'still restarting', ({ starts }) => starts > restlessBefore + 2);
  expect(restless.starts).toBeGreaterThan(3);
  expect(copies()).toEqual([]);

  rmSync(join(rig.folder, 'flood/go'));
  const last = await eventually('flood has ended', () => {
    const path = join(rig.folder, 'flood/last');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
  });
  const main = join(rig.folder, 'flood/log/main');
  await eventually('all is written', async () =>
    (await run('tail', '-n1', join(main, 'current'))).stdout === `${last}\n` ? true : undefined,
  );
  // awk: the whole may be too long to read here. Prints what does not follow the line before it.
  const gaps = await run(
    'sh',
    '-c',
    `cat ${main}/@* ${main}/current 2>/dev/null | awk '$1 != NR {print NR": "$0; exit}'`,
  );
  expect(gaps.stdout).toBe('');
});
