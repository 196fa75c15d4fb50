// Daemons that put themselves into the background: found, shown, signalled, restarted once, and nothing left of them.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceHistory } from '../../supervise/client.io.ts';
import { mainOf, ownCgroup } from '../../supervise/trace.ts';
import { eventually, Rig, run } from './rig.ts';

const isRoot = process.getuid?.() === 0;
/** Forks twice with a session of its own, as daemons do; then two workers. Each writes down who it is. */
const DAEMON = (before: string): string => `#!/usr/bin/perl
use POSIX;
${before}
fork and exit 0; setsid; fork and exit 0;
sub note { open my $f, '>>', 'copies'; print $f "$_[0] $$\\n" }
note('daemon');
for (1, 2) { unless (fork) { $SIG{TERM} = 'IGNORE'; note('worker'); sleep 1000; exit } }
sleep 1000 while 1;
`;
const CLOSES_ALL = 'POSIX::close($_) for 3 .. 1023;';
/** A machine without cgroup v2: only the inherited FIFO is left. */
const WITHOUT_CGROUPS = ['unshare', '-m', '/bin/sh', '-c', 'umount -R -l /sys/fs/cgroup; exec "$@"', 'sh'];

const noted = (rig: Rig, word: string): number[] =>
  readFileSync(join(rig.folder, 'web/copies'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${word} `))
    .map((line) => Number(line.split(' ')[1]));

/** Who wrote itself down, once they are so many: a busy machine lets a daemon wait for its turn. */
const notedAll = (rig: Rig, word: string, count: number): Promise<number[]> =>
  eventually(`${count} of ${word}`, () => {
    const pids = existsSync(join(rig.folder, 'web/copies')) ? noted(rig, word) : [];
    return pids.length >= count ? pids : undefined;
  });

const isAlive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
  } catch {
    return false;
  }
};

for (const [where, prefix, before] of [
  ['by the inherited FIFO', WITHOUT_CGROUPS, ''],
  ['by its cgroup although it closes everything', [], CLOSES_ALL],
] as const) {
  test.skipIf(!isRoot)(`a daemon is found ${where}; restart makes one of it; down leaves nothing`, async () => {
    await using rig = new Rig();
    rig.write({ 'web/run': DAEMON(before), 'web/fghack': '' });
    rig.start(...prefix);
    // Caught before its second fork, the one between is the service until it ends.
    const [daemon = 0] = await notedAll(rig, 'daemon', 1);
    const first = await rig.until('web', 'ready', ({ ready, pid }) => ready && pid === daemon);
    await notedAll(rig, 'worker', 2);
    expect((await run('svstat', join(rig.folder, 'web'))).stdout).toContain(`up (pid ${first.pid})`);

    await run('svc', '-t', join(rig.folder, 'web'));
    // Not a process on its way there that counts as ready for having been there for a second.
    const isNew = (pid: number): boolean => !pids.has(pid) && noted(rig, 'daemon').includes(pid);
    const pids = new Set([first.pid]);
    const second = await rig.until('web', 'ready again', ({ ready, pid }) => ready && isNew(pid));
    pids.add(second.pid);
    const workers = await notedAll(rig, 'worker', 4);
    expect(noted(rig, 'daemon')).toEqual([first.pid, second.pid]);
    expect(workers).toHaveLength(4);
    expect(workers.map(isAlive)).toEqual([false, false, true, true]);

    await rig.end('SIGKILL');
    rig.start(...prefix);
    expect((await rig.until('web', 'adopted', ({ adopted, ready }) => adopted && ready)).pid).toBe(second.pid);
    // A killed master's workers hold its port: they are ended before the next one starts.
    process.kill(second.pid, 'SIGKILL');
    const third = await rig.until('web', 'ready once more', ({ ready, pid }) => ready && isNew(pid));
    await notedAll(rig, 'worker', 6);
    expect(workers.map(isAlive)).toEqual([false, false, false, false]);

    await run('svc', '-d', join(rig.folder, 'web'));
    await rig.until('web', 'down', ({ phase }) => phase === 'down');
    expect([...noted(rig, 'daemon'), ...noted(rig, 'worker')].filter(isAlive)).toEqual([]);
    expect(noted(rig, 'daemon')).toHaveLength(3);
    expect(
      (await serviceHistory(rig.socketPath, 'web')).filter(({ what }) => what === 'traced').map(({ pid }) => pid),
    ).toContain(third.pid);
  });
}

test.skipIf(!isRoot)(
  'a daemon that hands over again and again while it is looked for is followed to the end',
  async () => {
    await using rig = new Rig();
    rig.write({
      'web/run': DAEMON(`${CLOSES_ALL} for (1 .. 60) { fork and exit 0; select undef, undef, undef, rand 0.004 }`),
    });
    rig.write({ 'web/fghack': '' });
    rig.start();
    const [daemon] = await notedAll(rig, 'daemon', 1);
    expect((await rig.until('web', 'ready', ({ ready, pid }) => ready && pid === daemon)).starts).toBe(1);
  },
);

test.skipIf(!isRoot)('the supervisor dies before the daemon is found: the next one finds it', async () => {
  await using rig = new Rig();
  rig.write({
    'web/run': DAEMON("sleep 0.05 until -f 'go' or !select(undef, undef, undef, 0.05) && 0;"),
    'web/fghack': '',
  });
  rig.start(...WITHOUT_CGROUPS);
  await rig.until('web', 'up', ({ phase }) => phase === 'up');
  await rig.end('SIGKILL');
  rig.write({ 'web/go': '' });
  await notedAll(rig, 'worker', 2);
  rig.start(...WITHOUT_CGROUPS);
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  expect(noted(rig, 'daemon')).toEqual([pid]);
});

test.skipIf(!isRoot)(
  'a daemon that cannot be found is said, not started again and again; one that fails is restarted',
  async () => {
    await using rig = new Rig();
    rig.write({
      'web/run': DAEMON(CLOSES_ALL),
      'web/fghack': '',
      'fails/run': '#!/bin/sh\nexit 3\n',
      'fails/fghack': '',
    });
    rig.start(...WITHOUT_CGROUPS);
    const { why } = await rig.until('web', 'given up', ({ phase }) => phase === 'down');
    expect(why).toMatch(/^run exited 0 and nothing of it can be found: /);
    await rig.until('fails', 'tried again', ({ starts }) => starts >= 3);
    // Where it was given up before its session was its own, it was ended with the group of `run`.
    const copies = existsSync(join(rig.folder, 'web/copies')) ? noted(rig, 'daemon') : [];
    expect(copies.length).toBeLessThanOrEqual(1);
    expect((await rig.services()).find(({ name }) => name === 'web')?.starts).toBe(1);
  },
);

test('the main process is the oldest one that no other member started', () => {
  const member = (pid: number, parentPid: number, startTime: string) => ({ pid, parentPid, startTime });
  expect(mainOf([member(7, 9, '100'), member(9, 1, '99'), member(5, 1, '100')])?.pid).toBe(9);
  expect(mainOf([member(5, 1, '100'), member(9, 1, '99')])?.pid).toBe(9);
  expect(mainOf([])).toBeUndefined();
});

test('our cgroup: below the mount, also where only a part of the tree is mounted', () => {
  const mounted = (root: string): string => `30 24 0:26 ${root} /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n`;
  expect(ownCgroup(mounted('/'), '1:cpu:/x\n0::/system/rouse\n')).toBe('/sys/fs/cgroup/unified/system/rouse');
  expect(ownCgroup(mounted('/'), '0::/\n')).toBe('/sys/fs/cgroup/unified');
  expect(ownCgroup(mounted('/c1'), '0::/c1/a\n')).toBe('/sys/fs/cgroup/unified/a');
  expect(ownCgroup('', '0::/\n')).toBeUndefined();
});
