// log/multilog with real processes: the log writer is killed, the supervisor is killed, Debian's multilog takes the folder
// over and gives it back, the disk fills up.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { orderService } from '../../../supervise/client.io.ts';
import { readLog as readFolder } from '../../../supervise/logwriter/read.io.ts';
import { eventually, Rig, run } from '../rig.ts';

const WRITER = '.log-writer';
/** Counts as fast as its log takes it, and ends when told to. */
const COUNTS = (from: number, to: number): string => `#!/bin/sh\nseq ${from} ${to}\nexec sleep 1000\n`;

/** The whole log of a folder, oldest first, and the names of its files. */
function readLog(rig: Rig, folder: string): { text: string; names: string[] } {
  const path = join(rig.folder, folder);
  const old = readdirSync(path)
    .filter((name) => name.startsWith('@'))
    .sort();
  const names = [...old, 'current'];
  // Between two files there is no `current` for a moment, with multilog as well.
  const read = (name: string): string => (existsSync(join(path, name)) ? readFileSync(join(path, name), 'latin1') : '');
  return { names, text: names.map(read).join('') };
}

const numbersOf = (text: string): number[] =>
  text
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .map(Number);

test('every line once and in order, in files of the size asked for, no more of them than asked for', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': COUNTS(1, 20_000),
    'web/log/multilog': '# all of it\ns16384 n100 ./main\n',
    'few/run': COUNTS(1, 20_000),
    'few/log/multilog': 's4096 n3 ./main',
  });
  rig.start();
  const { text, names } = await eventually('all is written', () => {
    if (!existsSync(join(rig.folder, 'web/log/main/current'))) return undefined;
    const log = readLog(rig, 'web/log/main');
    return log.text.endsWith('\n20000\n') ? log : undefined;
  });
  expect(text).toBe(Array.from({ length: 20_000 }, (_, index) => `${index + 1}\n`).join(''));
  expect(names.length).toBeGreaterThan(6);
  for (const name of names.slice(0, -1)) {
    const { size, mode } = statSync(join(rig.folder, 'web/log/main', name));
    expect(name).toMatch(/^@[0-9a-f]{24}\.s$/);
    expect(size).toBeGreaterThan(16384 - 2000 - 1);
    expect(size).toBeLessThanOrEqual(16384);
    expect(mode & 0o777).toBe(0o744);
  }
  expect(statSync(join(rig.folder, 'web/log/main/current')).mode & 0o777).toBe(0o644);
  await eventually('few has its last line', () =>
    readLog(rig, 'few/log/main').text.endsWith('20000\n') ? true : undefined,
  );
  expect(readLog(rig, 'few/log/main').names).toHaveLength(3);
});

test('a FIFO in the place of current stops that log alone, and no reader', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': COUNTS(1, 3),
    'web/log/multilog': './main',
    'web/log/main/x': '',
    'good/run': COUNTS(1, 3),
    'good/log/multilog': './main',
  });
  const current = join(rig.folder, 'web/log/main/current');
  await run('mkfifo', '-m', '755', current);
  rig.start();
  await eventually('it is said', () =>
    rig.said.includes('web/log: ./main: cannot write, trying again: current is not a regular file; remove it')
      ? true
      : undefined,
  );
  const good = join(rig.folder, 'good/log/main/current');
  await eventually('the other is written', () =>
    existsSync(good) && readFileSync(good, 'latin1') === '1\n2\n3\n' ? true : undefined,
  );
  expect(() => readFolder(join(rig.folder, 'web/log/main'), { lines: 1, sinceMs: undefined })).toThrow(
    'current is not a regular file',
  );
  rmSync(current);
  await eventually('it is written', () =>
    existsSync(current) && readFileSync(current, 'latin1') === '1\n2\n3\n' ? true : undefined,
  );
});

test("Debian's multilog takes over what the writer ended, and the writer what multilog ended", async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': '#!/bin/sh\necho ours\nexec sleep 1000\n', 'web/log/multilog': 't ./main' });
  const folder = join(rig.folder, 'web/log/main');
  const current = join(folder, 'current');
  rig.start();
  await eventually('ours is written', () =>
    existsSync(current) && readFileSync(current, 'latin1').endsWith(' ours\n') ? true : undefined,
  );
  const refused = await run('/bin/sh', '-c', `echo x | multilog t ${folder}`);
  expect(refused.stderr).toContain('unable to lock directory');
  expect(await rig.end('SIGHUP')).toBe(0);
  expect(statSync(current).mode & 0o777).toBe(0o744);
  execFileSync('multilog', ['t', folder], { input: 'theirs\n' });
  rig.start();
  const text = await eventually('ours again', () => {
    const now = readFileSync(current, 'latin1');
    return now.split('ours').length === 3 ? now : undefined;
  });
  expect(text).toMatch(/^@[0-9a-f]{24} ours\n@[0-9a-f]{24} theirs\n@[0-9a-f]{24} ours\n$/);
  // The original tool reads our stamps.
  expect(execFileSync('tai64nlocal', { input: text }).toString()).toMatch(/^20\d\d-\d\d-\d\d /);
});

test('the writer may be killed: a new one marks the gap, loses at most one read, and breaks nothing', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run':
      '#!/bin/sh\ni=0\nwhile [ $i -lt 400 ]; do i=$((i+1)); seq $((i*100)) $((i*100+99)); done\necho end\nexec sleep 1000\n',
    'web/log/multilog': 's1000000 n50 ./main',
  });
  rig.start();
  let pid = 0;
  for (let kill = 0; kill < 3; kill += 1) {
    const view = await rig.until(WRITER, 'up', (each) => each.phase === 'up' && each.pid !== pid);
    pid = view.pid;
    await eventually('it writes', () =>
      existsSync(join(rig.folder, 'web/log/main/current')) &&
      statSync(join(rig.folder, 'web/log/main/current')).size > 0 &&
      statSync(join(rig.folder, 'web/log/main/current')).mode % 8 === 4
        ? true
        : undefined,
    );
    process.kill(pid, 'SIGKILL');
    await rig.until(WRITER, 'another one', (each) => each.phase === 'up' && each.pid !== pid);
  }
  const log = await eventually('the end', () => {
    const now = readLog(rig, 'web/log/main');
    return now.text.endsWith('end\n') ? now : undefined;
  });
  expect(log.names.filter((name) => name.endsWith('.u')).length).toBeGreaterThan(0);
  expect(log.text).toContain('rouse: the log writer before this one was killed');
  // What is missing is missing beside a mark: between marks the numbers are contiguous.
  const parts = log.text.split(/^rouse: .*\n/m);
  for (const part of parts) {
    const numbers = numbersOf(part).slice(1, -1);
    for (const [index, number] of numbers.entries()) expect(number).toBe((numbers[0] ?? 0) + index);
  }
});

test.each([{ current: '' }, {}])(
  'a writer killed before it had marked the gap leaves it to the next: %j',
  async (left) => {
    await using rig = new Rig();
    const files = Object.entries({ '@400000006b01d9c0126b0e1f.u': 'one\n', ...left });
    rig.write(Object.fromEntries(files.map(([name, text]) => [`web/log/main/${name}`, text])));
    rig.write({ 'web/run': '#!/bin/sh\necho three\nexec sleep 1000\n', 'web/log/multilog': './main' });
    rig.start();
    const { text } = await eventually('the line', () => {
      const log = readLog(rig, 'web/log/main');
      return log.text.endsWith('three\n') ? log : undefined;
    });
    expect(text).toMatch(/^one\nrouse: the log writer before this one was killed.*\nthree\n$/);
  },
);

test('the supervisor may be killed: the writer writes on, the next supervisor has the same writer', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\nwhile ! [ -f go ]; do sleep 0.05; done\nseq 1 20000\nexec sleep 1000\n',
    'web/log/multilog': './main',
  });
  rig.start();
  const { pid } = await rig.until(WRITER, 'ready', ({ ready }) => ready);
  await rig.until('web', 'ready', ({ ready }) => ready);
  await rig.end('SIGKILL');
  rig.write({ 'web/go': '' });
  await eventually('written without a supervisor', () =>
    readLog(rig, 'web/log/main').text.endsWith('\n20000\n') ? true : undefined,
  );
  rig.start();
  expect(await rig.until(WRITER, 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid });
  expect(numbersOf(readLog(rig, 'web/log/main').text)).toEqual(Array.from({ length: 20_000 }, (_, index) => index + 1));
});

test('patterns, status file, processor; a new script takes effect at restart; a wrong one is said', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': '#!/bin/sh\necho good; echo "error: bad"; echo good2\nseq 1 2000\nexec sleep 1000\n',
    'web/log/multilog': "s4096 '!tr 0-9 A-J' ./main '-*' '+error: *' =status ./errors",
    'bad/run': '#!/bin/sh\nexec sleep 1000\n',
    'bad/log/multilog': 'q ./main',
  });
  rig.start();
  await eventually('errors are written', () =>
    existsSync(join(rig.folder, 'web/log/errors/current')) &&
    readFileSync(join(rig.folder, 'web/log/errors/current'), 'latin1') === 'error: bad\n'
      ? true
      : undefined,
  );
  expect(readFileSync(join(rig.folder, 'web/log/status'), 'latin1')).toBe(`error: bad${'\n'.repeat(991)}`);
  const main = await eventually('a file was processed', () => {
    const log = readLog(rig, 'web/log/main');
    return log.names.length > 1 ? log : undefined;
  });
  const [first = ''] = main.names;
  expect(readFileSync(join(rig.folder, 'web/log/main', first), 'latin1')).toMatch(
    /^good\nerror: bad\ngoodC\nB\nC\nD\n/,
  );
  await eventually('the wrong script is said', () =>
    rig.said.includes('bad/log: file multilog: unknown word "q"') ? true : undefined,
  );
  writeFileSync(join(rig.folder, 'bad/log/multilog'), './other');
  await orderService(rig.socketPath, 'bad/log', 'restart');
  await eventually('the mended one works', () =>
    existsSync(join(rig.folder, 'bad/log/other/current')) ? true : undefined,
  );
});

test.skipIf(process.getuid?.() !== 0)(
  'a full disk: the service waits, or lines are dropped and counted; it goes on by itself',
  async () => {
    await using rig = new Rig();
    rig.write({
      'waits/run': COUNTS(1, 60_000),
      'waits/log/multilog': `s16000000 ${join(rig.root, 'disk/waits')}`,
      'drops/run': COUNTS(1, 60_000),
      'drops/log/multilog': `onFull drop\ns16000000 ${join(rig.root, 'disk/drops')}`,
    });
    execFileSync('mkdir', [join(rig.root, 'disk')]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=262144', 'tmpfs', join(rig.root, 'disk')]);
    try {
      rig.start();
      await eventually('it is said', () =>
        rig.said.includes('cannot write, trying again: ENOSPC') ? true : undefined,
      );
      execFileSync('mount', ['-o', 'remount,size=8388608', join(rig.root, 'disk')]);
      const waits = await eventually('all of it is there', () => {
        const text = readFileSync(join(rig.root, 'disk/waits/current'), 'latin1');
        return text.endsWith('\n60000\n') ? text : undefined;
      });
      expect(numbersOf(waits)).toEqual(Array.from({ length: 60_000 }, (_, index) => index + 1));
      await orderService(rig.socketPath, 'drops', 'restart');
      const drops = await eventually('it goes on', () => {
        const text = readFileSync(join(rig.root, 'disk/drops/current'), 'latin1');
        return text.endsWith('\n60000\n') ? text : undefined;
      });
      for (const line of drops.split('\n').slice(0, -1))
        expect(line).toMatch(/^(\d+|rouse: \d+ bytes were thrown away here: .*)$/);
      expect(await rig.end('SIGHUP')).toBe(0);
    } finally {
      execFileSync('umount', ['-l', join(rig.root, 'disk')]);
    }
  },
);
