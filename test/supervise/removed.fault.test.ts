// The supervisor's own files are removed under it: nobody is left without a supervisor, and nothing runs on unseen.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually, Rig } from './rig.ts';

const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

test('all of it removed: it says so, ends its services and goes', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'web/log/multilog': './main', 'db/run': SLEEP });
  rig.start();
  await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.until('db', 'ready', ({ ready }) => ready);
  const { supervisor } = rig;
  rmSync(rig.folder, { recursive: true });
  rmSync(join(rig.root, 'run'), { recursive: true });
  await eventually('it has gone', () => (supervisor?.exitCode === 111 ? true : undefined));
  expect(rig.said).toContain('have been removed: all services are stopped');
  expect(rig.processes()).toEqual([]);
});

test('only the socket removed: made again, the services untouched, and their logs written on', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\nwhile sleep 0.1; do echo said; done\n', 'web/log/multilog': './main' });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  const writer = await rig.until('.log-writer', 'ready', ({ ready }) => ready);
  const current = join(rig.folder, 'web/log/main/current');
  const lines = (): number => (existsSync(current) ? readFileSync(current, 'latin1').split('\n').length : 0);
  await eventually('a line', () => (lines() > 1 ? true : undefined));
  rmSync(join(rig.root, 'run'), { recursive: true });
  expect(await rig.until('web', 'there again', () => true)).toMatchObject({ pid, starts: 1 });
  expect(rig.said).toContain('had been removed: made again');
  await rig.until('.log-writer', 'another', (view) => view.ready && view.pid !== writer.pid);
  const before = lines();
  await eventually('more lines', () => (lines() > before + 3 ? true : undefined));
  // The next supervisor finds everything.
  await rig.end('SIGKILL');
  rig.start();
  expect(await rig.until('web', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid, starts: 1 });
  await rig.until('.log-writer', 'adopted', ({ adopted }) => adopted);
});

test('another supervisor in its place: the services are left to that one', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  const first = rig.supervisor;
  rmSync(join(rig.root, 'run'), { recursive: true });
  rig.start();
  expect(await rig.until('web', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid, starts: 1 });
  await eventually('the first has gone', () => (first?.exitCode === 111 ? true : undefined));
  expect(rig.said).toContain('services are left to that one');
});
