// rouse logs: reading and following folders of both kinds, over rotations.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { followLog, logFolders, readLog } from '../../../supervise/logwriter/read.io.ts';
import { choose, mayHold, parseSince, readableLine } from '../../../supervise/logwriter/read.ts';
import { eventually, Rig, run } from '../rig.ts';

test('followed over many rotations: every line once', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\nwhile ! [ -f go ]; do sleep 0.05; done\nseq 1 5000\nexec sleep 1000\n',
    'web/log/multilog': 's4096 n50 ./main',
  });
  rig.start();
  const [folder = ''] = await eventually('its folder', () => {
    const found = logFolders(join(rig.folder, 'web'));
    return found.length > 0 ? found : undefined;
  });
  const seen: string[] = [];
  const stop = followLog(folder, (line) => seen.push(line));
  rig.write({ 'web/go': '' });
  await eventually('all lines', () => (seen.length >= 5000 ? true : undefined));
  stop();
  expect(seen).toEqual(Array.from({ length: 5000 }, (_, index) => String(index + 1)));
  expect(readLog(folder, { lines: 1000, sinceMs: undefined })).toEqual(seen.slice(-1000));
  expect(readLog(folder, { lines: undefined, sinceMs: undefined })).toEqual(seen);
});

test('the command, with a logger of its own and without a supervisor', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\necho one; echo two\nexec sleep 1000\n',
    'web/log/run': '#!/bin/sh\nexec multilog t ./main\n',
  });
  rig.start();
  await eventually('two lines', () => {
    const [folder] = logFolders(join(rig.folder, 'web'));
    return folder !== undefined && readLog(folder, { lines: undefined, sinceMs: undefined }).length === 2
      ? true
      : undefined;
  });
  await rig.end('SIGHUP');
  const etc = join(rig.root, 'etc');
  mkdirSync(etc);
  await run('ln', '-s', rig.folder, join(etc, 'services'));
  const rouse = join(import.meta.dirname, '../../../bin/rouse');
  const shown = await run('env', `ROUSE_HOME=${rig.root}`, rouse, 'logs', '-n', '1', 'web');
  expect(shown.stdout).toMatch(/^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z two\n$/);
  const none = await run('env', `ROUSE_HOME=${rig.root}`, rouse, 'logs', 'nobody');
  expect(none).toMatchObject({ exitCode: 1, stdout: '' });
  expect(none.stderr).toContain('rouse: nobody has no log: ');
});

const STAMPED = ['@400000006553f10a00000000 a', ' of a', '@400000006553f10c00000000 c'];

test('since: by stamps, unstamped lines with the one before; files by their names', () => {
  const at = (unixS: number) => ({ lines: undefined, sinceMs: unixS * 1000 });
  expect(choose(STAMPED, at(1_700_000_001))).toEqual(STAMPED.slice(2));
  expect(choose(STAMPED, at(1_700_000_000))).toEqual(STAMPED);
  expect(choose(STAMPED, at(1_700_000_009))).toEqual([]);
  expect(choose(STAMPED, { lines: 1, sinceMs: 0 })).toEqual(STAMPED.slice(2));
  expect(mayHold('@400000006553f10a00000000.s', at(1_700_000_001))).toBe(false);
  expect(mayHold('@400000006553f10a00000000.s', at(1_700_000_000))).toBe(true);
  expect(parseSince('2h', 7_200_001)).toBe(1);
  expect(parseSince('2023-11-14T22:13:20Z', 0)).toBe(1_700_000_000_000);
  expect(parseSince('soon', 0)).toBeUndefined();
  expect(readableLine('@400000006553f10a075bcbf4 x')).toBe('2023-11-14 22:13:20.123Z x');
});
