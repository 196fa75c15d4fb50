// A spawner that is stopped, or a start that hangs: told of, replaced, and never a second copy of anything.

import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Readable, Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { newService } from '../../supervise/machine.ts';
import { readBootId } from '../../supervise/procfs.io.ts';
import { encodeRecord } from '../../supervise/record.ts';
import { decodeReport, encodeGate, encodeStart, programWords } from '../../supervise/spawner.ts';
import { eventually, kill, Rig } from './rig.ts';

const PROGRAM = readFileSync(fileURLToPath(new URL('../../supervise/spawner.pl', import.meta.url)), 'utf8');
/** A service that notices a living copy of itself: the lock goes with its last process. */
const ALONE = '#!/bin/sh\nexec 9>lock\nflock -n 9 || echo $$ >>copies\n';

const isThere = (pid: number): boolean => existsSync(`/proc/${pid}/stat`);

test.concurrent('a stopped spawner is told of and replaced: what was asked for starts, deaths are seen', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': `${ALONE}exec sleep 1000\n` });
  rig.start();
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  const stopped = rig.signalSpawner('SIGSTOP') ?? 0;
  expect(stopped).not.toBe(0);
  const names = Array.from({ length: 20 }, (_, index) => `new${index}`);
  for (const name of names) rig.write({ [`${name}/run`]: `${ALONE}echo >>ran\nexec sleep 1000\n` });
  process.kill(web.pid, 'SIGKILL');
  for (const name of names) await rig.until(name, 'started once', ({ ready, starts }) => ready && starts === 1);
  const again = await rig.until('web', 'up again', ({ ready, pid }) => ready && pid !== web.pid);
  expect(again.lastDeath?.signal).toBe('SIGKILL');
  expect(rig.said).toContain(`the spawner does not answer (pid ${stopped}): it is killed`);
  expect(await rig.until('.spawner', 'there', ({ ready }) => ready)).toMatchObject({
    why: 'the one before did not answer and was killed',
    starts: 2,
  });
  expect(isThere(stopped)).toBe(false);
  for (const name of names) expect(readFileSync(join(rig.folder, name, 'ran'), 'utf8')).toBe('\n');
  expect(existsSync(join(rig.folder, 'web/copies'))).toBe(false);
});

test.concurrent('spawners stopped and continued later, supervisors killed between: no copy, and all is up in the end', async () => {
  await using rig = new Rig();
  const steady = ['a', 'b', 'c'];
  for (const name of steady) rig.write({ [`${name}/run`]: `${ALONE}exec sleep 1000\n` });
  const restless = Array.from({ length: 6 }, (_, index) => `r${index}`);
  for (const name of restless) rig.write({ [`${name}/run`]: `${ALONE}exec sleep 0.05\n` });
  rig.start();
  for (const name of steady) await rig.until(name, 'ready', ({ ready }) => ready);
  const moment = (uptoMs: number): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, Math.random() * uptoMs));
  const stopped: number[] = [];
  try {
    for (let round = 0; round < 9; round += 1) {
      stopped.push(await eventually('a spawner', () => rig.signalSpawner('SIGSTOP')));
      await moment(400);
      await rig.end('SIGKILL');
      // Some before there is another supervisor, some after, some never.
      const late = stopped[round];
      if (round % 3 === 0 && late !== undefined) kill(late, 'SIGCONT');
      rig.start();
      await moment(900);
      if (round % 3 === 1 && late !== undefined) kill(late, 'SIGCONT');
    }
    for (const name of restless) {
      const { starts } = await rig.until(name, 'there', ({ phase }) => phase !== 'blocked');
      await rig.until(name, 'restarting', (view) => view.starts > starts + 1);
    }
    for (const name of steady) await rig.until(name, 'ready', ({ ready }) => ready);
  } finally {
    // They read the rest of their orders, and leave as those have ended.
    for (const pid of stopped) kill(pid, 'SIGCONT');
  }
  await eventually('they are gone', () => (stopped.some(isThere) ? undefined : true));
  for (const name of restless) await rig.until(name, 'up', ({ phase }) => phase === 'up');
  expect([...steady, ...restless].filter((name) => existsSync(join(rig.folder, name, 'copies')))).toEqual([]);
});

test.concurrent('a process that a stopped spawner still holds at its gate runs once the next supervisor has adopted it', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\necho $$ >>ran\nexec sleep 1000\n' });
  mkdirSync(join(rig.folder, 'web/supervise'));
  const child = spawn('perl', ['-e', PROGRAM, ...(programWords(process.arch, false) ?? [])], {
    stdio: ['ignore', 1, 2, 'pipe', 'pipe'],
  });
  const [orders, reports] = [child.stdio[3] as Writable, child.stdio[4] as Readable];
  // Should anything here fail: stopped, it would outlive the test.
  using _ = { [Symbol.dispose]: () => void child.kill('SIGKILL') };
  const base = join(rig.folder, 'web');
  orders.write(
    encodeStart(1, {
      directory: base,
      argv: ['./run'],
      env: {},
      fds: [{ kind: 'open', asFd: 0, path: '/dev/null', access: 'read' }],
      cgroup: undefined,
    }),
  );
  let said = '';
  reports.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const { pid, startTime } = await eventually('it is at its gate', () => {
    const report = said
      .split('\n')
      .map(decodeReport)
      .find((each) => each?.kind === 'started');
    return report?.kind === 'started' ? report : undefined;
  });
  child.kill('SIGSTOP');
  // What the supervisor does, and at this moment it is killed.
  const wall = { unixS: Math.floor(Date.now() / 1000), nanoseconds: 0 };
  const monotonicMs = Number(process.hrtime.bigint() / 1_000_000n);
  const moment = { monotonicMs, wall, random: 0 };
  const up = {
    ...newService('up', moment),
    phase: 'up',
    pid,
    groupId: pid,
    starts: 1,
    startedMs: monotonicMs,
  } as const;
  const { dev, ino } = statSync(base, { bigint: true });
  writeFileSync(join(base, 'supervise/adopt.json'), encodeRecord(up, startTime, readBootId(), `${dev}:${ino}`));
  orders.end(encodeGate(1, 'go'));
  rig.start();
  const view = await rig.until('web', 'adopted', ({ adopted }) => adopted);
  expect(view).toMatchObject({ pid, starts: 1 });
  await eventually('it runs', () => (existsSync(join(base, 'ran')) ? true : undefined));
  expect(readFileSync(join(base, 'ran'), 'utf8')).toBe(`${pid}\n`);
});

test.concurrent('a perl that fails at first: services run meanwhile, it is told, and the spawner comes by itself', async () => {
  await using rig = new Rig();
  const bin = join(rig.root, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'perl'), `#!/bin/sh\n[ -e ${bin}/works ] || exit 9\nexec /usr/bin/perl "$@"\n`);
  chmodSync(join(bin, 'perl'), 0o755);
  rig.write({ 'web/run': '#!/bin/sh\nexec sleep 1000\n' });
  rig.start('/usr/bin/env', `PATH=${bin}:${process.env['PATH'] ?? ''}`);
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  expect(rig.said).toContain('no spawner: perl ended before it was ready (exited 9); tried again in 1 s');
  const row = await rig.until('.spawner', 'tried again', ({ starts }) => starts > 1);
  expect(row).toMatchObject({
    ready: false,
    why: expect.stringContaining('perl ended before it was ready (exited 9)'),
  });
  writeFileSync(join(bin, 'works'), '');
  const spawner = await eventually('a spawner', () => rig.signalSpawner('SIGCONT'));
  await eventually('all is well', async () =>
    (await rig.services()).every(({ name }) => name !== '.spawner') ? true : undefined,
  );
  process.kill(web.pid, 'SIGKILL');
  const again = await rig.until('web', 'up again', ({ ready, pid }) => ready && pid !== web.pid);
  expect(again.lastDeath?.signal).toBe('SIGKILL');
  expect(readFileSync(`/proc/${again.pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[1]).toBe(String(spawner));
});

test.concurrent('a start that hangs on its way to the gate has failed after a while, is ended, and others go on', async () => {
  await using rig = new Rig();
  const bin = join(rig.root, 'bin');
  mkdirSync(bin);
  // Whatever is started in a folder with a file `hangs` does what a process does that a dead file server holds.
  const hang = `if (-e 'hangs') { open my $f, '>>', 'hung'; syswrite $f, "$$\\n"; sleep 1000 }`;
  writeFileSync(
    join(bin, 'program'),
    PROGRAM.replace('  # All that is still needed above', `  ${hang}\n  # All that is still needed above`),
  );
  writeFileSync(
    join(bin, 'perl'),
    `#!/bin/sh\nmark=$1; shift 2\n[ "$mark" = -e ] || exit 1\nexec /usr/bin/perl ${bin}/program "$@"\n`,
  );
  chmodSync(join(bin, 'perl'), 0o755);
  rig.write({
    'web/run': '#!/bin/sh\necho >>ran\nexec sleep 1000\n',
    'web/hangs': '',
    'good/run': '#!/bin/sh\nexec sleep 1000\n',
  });
  rig.start('/usr/bin/env', `PATH=${bin}:${process.env['PATH'] ?? ''}`);
  await rig.until('good', 'ready', ({ ready }) => ready);
  const hung = await eventually('it hangs', () =>
    existsSync(join(rig.folder, 'web/hung'))
      ? Number(readFileSync(join(rig.folder, 'web/hung'), 'latin1').split('\n')[0])
      : undefined,
  );
  await rig.until('web', 'told of', ({ why }) => why === 'cannot start a process: it was not ready to run after 20 s');
  await eventually('it is ended', () => (isThere(hung) ? undefined : true));
  expect(rig.said).not.toContain('the spawner does not answer');
  expect(existsSync(join(rig.folder, 'web/ran'))).toBe(false);
});
