// Settings with real processes: the tally that s6-permafailon reads, a cgroup for the whole tree, supplementary groups,
// CPU and memory of all that a service has started.

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { servicesCgroup } from '../../supervise/cgroup.ts';
import { listServices } from '../../supervise/client.io.ts';
import { ownCgroup } from '../../supervise/trace.ts';
import { usageByMain } from '../../supervise/usage.ts';
import { eventually, Rig, run } from './rig.ts';

const isRoot = process.getuid?.() === 0;
const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

test.concurrent('s6-permafailon in finish gives up after so many deaths of a kind, over the death of the supervisor', async () => {
  await using rig = new Rig();
  rig.write({
    'crashes/run': '#!/bin/sh\nexit 7\n',
    'crashes/finish': '#!/bin/sh\nexec s6-permafailon 600 3 7 true\n',
    // Killed, not exited: another kind.
    'killed/run': '#!/bin/sh\nkill -9 $$\n',
    'killed/finish': '#!/bin/sh\nexec s6-permafailon 600 3 7 true\n',
    'short/run': '#!/bin/sh\nexit 7\n',
    'short/max-death-tally': '2\n',
    'short/finish': '#!/bin/sh\nexec s6-permafailon 600 3 7 true\n',
  });
  rig.start();
  await rig.until('crashes', 'started twice', ({ starts }) => starts >= 2);
  await rig.end('SIGKILL');
  rig.start();
  const { why, starts } = await rig.until('crashes', 'given up', ({ phase }) => phase === 'down');
  expect(why).toBe('finish exited 125: not started again until told to');
  // One more, where the supervisor was killed between a death and its entry.
  expect([3, 4]).toContain(starts);
  for (const name of ['killed', 'short']) await rig.until(name, 'started further', (view) => view.starts >= 5);
  const tally = (name: string): Buffer => readFileSync(join(rig.folder, name, 'supervise/death_tally'));
  expect(tally('short')).toHaveLength(28);
  expect(tally('killed').subarray(12, 14)).toEqual(Buffer.from([0, 9]));
});

/** Folder below which cgroups of services lie on this machine; undefined where there is no cgroup v2. */
const cgroups = ((): string | undefined => {
  const own = ownCgroup(readFileSync('/proc/self/mountinfo', 'utf8'), readFileSync('/proc/self/cgroup', 'utf8'));
  return own === undefined ? undefined : servicesCgroup(own);
})();

/** Listens, and leaves a worker in a session of its own that holds the port as well: killed nginx, and worse. */
const MASTER = (port: number): string => `#!/usr/bin/perl
use Socket; use POSIX;
socket my $s, PF_INET, SOCK_STREAM, 0 or die; fcntl $s, F_SETFD, 0;
bind $s, sockaddr_in(${port}, INADDR_LOOPBACK) or do { system 'echo >>busy'; exit 1 };
listen $s, 5;
unless (fork) { setsid; fork and exit; $SIG{TERM} = 'IGNORE'; open my $f, '>', 'worker'; print $f $$; close $f; sleep 1000; exit }
sleep 1000 while 1;
`;

test
  .skipIf(!isRoot)
  .concurrent('cgroup: what left its session holds no port over a restart, and down leaves nothing', async () => {
    expect(cgroups, 'this machine has cgroup v2').toBeDefined();
    await using rig = new Rig();
    rig.write({ 'web/run': MASTER(47_113), 'web/cgroup': '' });
    rig.start();
    const first = await rig.until('web', 'ready', ({ ready }) => ready);
    const worker = (): number => Number(readFileSync(join(rig.folder, 'web/worker'), 'latin1'));
    const isThere = (pid: number): boolean => existsSync(`/proc/${pid}/cwd`);
    const left = worker();
    expect(isThere(left)).toBe(true);
    process.kill(first.pid, 'SIGKILL');
    const second = await rig.until('web', 'ready again', ({ ready, pid }) => ready && pid !== first.pid);
    expect(second.starts).toBe(2);
    expect(existsSync(join(rig.folder, 'web/busy'))).toBe(false);
    expect(isThere(left)).toBe(false);
    await rig.end('SIGKILL');
    rig.start();
    await rig.until('web', 'adopted', ({ adopted }) => adopted);
    await run('svc', '-d', join(rig.folder, 'web'));
    await rig.until('web', 'down', ({ phase }) => phase === 'down');
    expect(isThere(worker())).toBe(false);
  });

test.skipIf(!isRoot).concurrent('cgroup: a limit is set, or the service is not started and says why', async () => {
  await using rig = new Rig();
  rig.write({ 'web/run': SLEEP, 'web/cgroup': 'pidsMax 20\n', 'free/run': SLEEP });
  rig.start();
  await rig.until('free', 'up', ({ phase }) => phase === 'up');
  const web = await rig.until('web', 'up or refused', ({ phase, why }) => phase === 'up' || why !== undefined);
  if (web.phase === 'up') {
    const own = readFileSync(`/proc/${web.pid}/cgroup`, 'latin1').match(/^0::.*\/(rouse-[\d-]+)$/m)?.[1] ?? '';
    expect(readFileSync(join(cgroups ?? '', own, 'pids.max'), 'latin1')).toBe('20\n');
  } else {
    expect(web.why).toMatch(
      /^file cgroup: (\/\S* has no pids controller; |\/\S* holds processes itself, |a cgroup cannot be made: )/,
    );
    expect(web.starts).toBe(0);
    const made = readFileSync(join(rig.folder, 'web/supervise/cgroup.path'), 'latin1').trim();
    await eventually('no empty cgroup is left', () => (existsSync(made) ? undefined : true));
  }
});

test.skipIf(!isRoot).concurrent('user: the groups that /etc/group gives, and not those of the supervisor', async () => {
  await using rig = new Rig();
  const group = join(rig.root, 'group');
  writeFileSync(group, `${readFileSync('/etc/group', 'utf8')}rouse-one:x:65001:games\nrouse-two:x:65002:root,games\n`);
  const said = join(rig.root, 'open/said');
  mkdirSync(join(rig.root, 'open'));
  rig.write({ 'web/run': `#!/bin/sh\nid -G >${said}\nexec sleep 1000\n`, 'web/user': 'games\n' });
  for (const path of [rig.root, rig.folder, join(rig.folder, 'web')]) chmodSync(path, 0o755);
  chmodSync(join(rig.root, 'open'), 0o777);
  rig.start('unshare', '-m', '/bin/sh', '-c', `mount --bind ${group} /etc/group && exec "$@"`, 'sh');
  await rig.until('web', 'ready', ({ ready }) => ready);
  expect(readFileSync(said, 'latin1').trim().split(' ').sort()).toEqual(['60', '65001', '65002']);
});

test.concurrent('CPU and memory are those of all that a service has started', async () => {
  await using rig = new Rig();
  // The main process does nothing: a child in its group and a grandchild in a session of its own do.
  rig.write({
    'web/run': '#!/bin/sh\n(while :; do :; done) &\nsetsid sh -c "while :; do :; done" &\nexec sleep 1000\n',
    'quiet/run': SLEEP,
  });
  rig.start();
  const { pid } = await rig.until('web', 'ready', ({ ready }) => ready);
  const usage = async (name: string) =>
    (await listServices(rig.socketPath, true)).find((view) => view.name === name)?.usage;
  await eventually('it has used CPU', async () => (((await usage('web'))?.cpuMs ?? 0) > 300 ? true : undefined));
  const main = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  expect(Number(main[11]) + Number(main[12])).toBeLessThan(10);
  const [web, quiet] = [await usage('web'), await usage('quiet')];
  expect(web?.residentBytes ?? 0).toBeGreaterThan(2 * (quiet?.residentBytes ?? 0));
  expect(quiet?.cpuMs ?? 1000).toBeLessThan(100);
});

test('whose a process is: its session, else its ancestors; a circle of parents ends', () => {
  const one = (pid: number, parentPid: number, sessionId: number) => ({
    pid,
    parentPid,
    sessionId,
    cpuMs: 1,
    residentBytes: 10,
  });
  const processes = [
    one(1, 0, 1),
    one(10, 1, 10),
    one(11, 1, 10),
    one(12, 11, 12),
    one(20, 1, 20),
    one(30, 31, 30),
    one(31, 30, 31),
  ];
  expect(usageByMain([10, 20, 99], processes)).toEqual(
    new Map([
      [10, { cpuMs: 3, residentBytes: 30 }],
      [20, { cpuMs: 1, residentBytes: 10 }],
    ]),
  );
});
