// Service directories that are wrong in one way each: a clear line in status, the services beside them untouched.
//
// Directories that vanish: life.fault.test.ts and hostile.fault.test.ts. Files of supervise/ that are something else:
// hostile.fault.test.ts. What else can stand in the place of run: clients.fault.test.ts.

import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService } from '../../supervise/client.io.ts';
import { Rig, run } from './rig.ts';

const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

test.concurrent('run without #! is run by the shell; one that is no program at all is tried each second, and said', async () => {
  await using rig = new Rig();
  rig.write({
    'plain/run': 'echo $$ >pid\nexec sleep 1000\n',
    'empty/run': '',
    'binary/run': '\u007fELF\u0001\u0001nothing of the kind',
    'good/run': SLEEP,
  });
  rig.start();
  const plain = await rig.until('plain', 'ready', ({ ready }) => ready);
  expect(readFileSync(join(rig.folder, 'plain/pid'), 'latin1')).toBe(`${plain.pid}\n`);
  for (const name of ['empty', 'binary']) {
    const view = await rig.until(
      name,
      'tried again',
      ({ starts, lastDeath }) => starts >= 2 && lastDeath !== undefined,
    );
    expect(view.lastDeath?.signal).toBeUndefined();
  }
  expect(await rig.until('good', 'untouched', () => true)).toMatchObject({ phase: 'up', starts: 1 });
});

test.concurrent('a FIFO for down counts as one, and nobody waits for its writer; a link to nothing does not', async () => {
  await using rig = new Rig();
  rig.write({ 'fifo/run': SLEEP, 'dangling/run': SLEEP, 'folder/run': SLEEP, 'good/run': SLEEP });
  await run('mkfifo', join(rig.folder, 'fifo/down'), join(rig.folder, 'good/depends'));
  mkdirSync(join(rig.folder, 'folder/down'));
  symlinkSync('/nowhere', join(rig.folder, 'dangling/down'));
  rig.start();
  // As stat(2) in 0.76: what can be followed is there.
  for (const name of ['fifo', 'folder']) await rig.until(name, 'down', ({ phase }) => phase === 'down');
  await rig.until('dangling', 'up', ({ phase }) => phase === 'up');
  await rig.until('good', 'refused', ({ why }) => why === 'file depends: it is not a regular file');
  rmSync(join(rig.folder, 'good/depends'));
  await rig.until('good', 'up', ({ phase }) => phase === 'up');
  await orderService(rig.socketPath, 'fifo', 'up');
  await rig.until('fifo', 'up', ({ phase }) => phase === 'up');
});

test.concurrent('names: the longest that the kernel takes works with its log; a longer one is nobody’s; odd ones are names', async () => {
  await using rig = new Rig();
  const longest = 'n'.repeat(255);
  const odd = ['-rf', 'a b', 'ünï', '%2f', 'x:y', "it's", 'web,db'];
  for (const name of [longest, ...odd]) rig.write({ [`${name}/run`]: SLEEP });
  rig.write({ [`${longest}/log/multilog`]: './main', 'good/run': SLEEP, 'good/depends': `${'m'.repeat(300)}\n` });
  rig.start();
  for (const name of [longest, ...odd]) {
    const { pid } = await rig.until(name, 'up', ({ phase }) => phase === 'up');
    await orderService(rig.socketPath, name, 'kill');
    await rig.until(name, 'up again', (view) => view.phase === 'up' && view.pid !== pid);
  }
  const tooLong = 'm'.repeat(300);
  await expect(orderService(rig.socketPath, tooLong, 'up')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  await rig.until('good', 'says what is missing', ({ why }) => why === `waits for ${tooLong} (no such service)`);
  writeFileSync(join(rig.folder, 'good/depends'), `${longest}\n`);
  await rig.until('good', 'up once its file was mended', ({ phase }) => phase === 'up');
});

test.concurrent('settings that are too long, no text or no file: each said, none taken for a default', async () => {
  await using rig = new Rig();
  rig.write({
    'long/run': SLEEP,
    'long/limits': 'o 64\n'.repeat(1000),
    'octets/run': SLEEP,
    'octets/user': '\u0000\u0001\u0002',
    'folder/run': SLEEP,
    'folder/cgroup/x': '',
    'good/run': SLEEP,
  });
  rig.start();
  const rows = {
    long: 'file limits: it is longer than 4096 bytes',
    octets: String.raw`file user: expected one name of an account, got "\u0000\u0001\u0002"`,
    folder: 'file cgroup: it is not a regular file',
  };
  for (const [name, why] of Object.entries(rows)) {
    expect(await rig.until(name, why, (view) => view.why === why)).toMatchObject({ starts: 0, pid: 0 });
  }
  await rig.until('good', 'up', ({ phase, starts }) => phase === 'up' && starts === 1);
});
