// The wall clock jumps, forward and back: no service is restarted for it, none is forgotten, no age is negative, old log
// files keep their order. By libfaketime in the supervisor and all that it starts; the machine's own clock is left alone.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService } from '../../supervise/client.io.ts';
import { renderTable } from '../../supervise/view.ts';
import { eventually, Rig, run } from './rig.ts';

const LIBRARY = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;
const DAY_S = 86_400;

test('the clock goes a day forward, then two back, then the supervisor dies', async () => {
  await using rig = new Rig();
  const clock = join(rig.root, 'clock');
  const set = (offsetS: number): void => writeFileSync(clock, `${offsetS < 0 ? '' : '+'}${offsetS}\n`);
  set(0);
  rig.write({
    'web/run': '#!/bin/sh\nexec sleep 1000\n',
    'flaps/run': '#!/bin/sh\ndate +%s\nexec sleep 0.2\n',
    'logs/run': '#!/bin/sh\nn=0\nwhile :; do n=$((n+1)); echo $n; sleep 0.05; done\n',
    'logs/log/multilog': 't s4096 n50 ./main',
    'slow/run': '#!/bin/sh\nexit 1\n',
    'slow/backoff': 'initialMs 300\ncapMs 600\nresetMs 60000\n',
  });
  const environment = [`LD_PRELOAD=${LIBRARY}`, `FAKETIME_TIMESTAMP_FILE=${clock}`, 'FAKETIME_NO_CACHE=1'];
  const start = (): void => rig.start('env', ...environment, 'FAKETIME_DONT_FAKE_MONOTONIC=1');
  start();
  const web = await rig.until('web', 'ready', ({ ready }) => ready);
  const logs = await rig.until('logs', 'ready', ({ ready }) => ready);
  const nowMs = (offsetS: number): number => Date.now() + offsetS * 1000;

  for (const offsetS of [DAY_S, -DAY_S]) {
    set(offsetS);
    for (const name of ['flaps', 'slow']) {
      const { starts } = await rig.until(name, 'there', () => true);
      const later = await rig.until(name, 'started further', (view) => view.starts > starts + 1);
      // The supervisor has the clock that we gave it.
      expect(Math.abs(later.changedAtMs - nowMs(offsetS))).toBeLessThan(DAY_S * 500);
    }
    expect(await rig.until('web', 'there', () => true)).toMatchObject({ pid: web.pid, starts: 1, ready: true });
    expect((await run('svstat', join(rig.folder, 'web'))).stdout).toMatch(/up \(pid \d+\) \d+ seconds\n$/);
    for (const line of renderTable(await rig.services(), nowMs(offsetS))) expect(line).not.toMatch(/ -\d/);
    // A new file under this clock.
    const files = (): number => readdirSync(join(rig.folder, 'logs/log/main')).length;
    const before = files();
    await orderService(rig.socketPath, 'logs/log', 'alrm');
    await eventually('another file', () => (files() > before ? true : undefined));
  }

  await rig.end('SIGKILL');
  set(0);
  start();
  for (const { pid, name } of [web, logs])
    expect(await rig.until(name, 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid, starts: 1 });
  await rig.until('flaps', 'started', ({ phase }) => phase === 'up');

  await orderService(rig.socketPath, 'logs/log', 'alrm');
  const main = join(rig.folder, 'logs/log/main');
  const old = await eventually('three old files', () => {
    const names = readdirSync(main).filter((name) => name.startsWith('@'));
    return names.length >= 3 ? names.sort() : undefined;
  });
  const lines = old.flatMap((name) => readFileSync(join(main, name), 'latin1').trimEnd().split('\n'));
  const numbers = lines.map((line) => Number(line.split(' ')[1]));
  // By name, the files hold the lines in the order in which they were said.
  expect(numbers).toEqual(Array.from(numbers, (_, index) => index + 1));
  expect(lines.map((line) => line.slice(0, 25))).toEqual(lines.map((line) => line.slice(0, 25)).toSorted());
});
