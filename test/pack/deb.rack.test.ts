// The package in a clean Debian: installed, run, upgraded under 20 running services, removed, purged.
//
// The machine is a root folder made by debootstrap, with process and network namespaces of its own; all of it goes with
// its first process. Without systemd: what the unit does is another test's.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeDebian, packed } from './debian.ts';
import { eventually, run } from '../supervise/rig.ts';
import type { Ran } from '../supervise/rig.ts';

const SERVICES = 20;
const describeAsRoot = describe.skipIf(process.getuid?.() !== 0);

const work = mkdtempSync(join(tmpdir(), 'rouse-deb-'));
const system = join(work, 'root');
let machine: ChildProcess | undefined;

function inside(script: string): Promise<Ran> {
  const words = [
    '-t',
    String(firstProcess()),
    '-a',
    '-r',
    '-w',
    '/usr/bin/env',
    '-i',
    'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
  ];
  return run('nsenter', ...words, 'sh', '-c', script);
}

/** The first process of the machine: the child of unshare. */
function firstProcess(): number {
  return Number(readFileSync(`/proc/${machine?.pid}/task/${machine?.pid}/children`, 'latin1').trim().split(' ')[0]);
}

async function done(script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await inside(script);
  expect({ script, exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ script, exitCode: 0, stderr: '' });
  return stdout;
}

/** Files of the machine that outlive a purge only if the package left them. */
async function listing(): Promise<string[]> {
  const text = await done(
    'find / -xdev \\( -path /proc -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log \\) -prune -o -print',
  );
  // Backups that useradd makes of its files.
  return text
    .split('\n')
    .filter((path) => !/^\/etc\/(passwd|group|shadow|gshadow|subuid|subgid)-$/.test(path))
    .sort();
}

async function pids(): Promise<string[]> {
  const text = await done('/usr/lib/rouse/applets/svstat /etc/rouse/services/*');
  return [...text.matchAll(/up \(pid (\d+)\)/g)].map(([, pid = '']) => pid);
}

const startSupervisor = (): Promise<Ran> => inside('setsid rouse supervise >/tmp/said 2>&1 & echo $! >/tmp/pid');
const endSupervisor = (signal: string): Promise<string> =>
  done(`kill -s ${signal} $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done`);

function place(version: string): void {
  copyFileSync(packed(version, work), join(system, 'tmp', `${version}.deb`));
}

describeAsRoot('the package in a clean Debian', () => {
  beforeAll(async () => {
    await makeDebian(system);
    place('0.0.1');
    place('0.0.2');
    const namespaces = ['--pid', '--mount', '--net', '--uts', '--ipc', '--fork', '--kill-child'];
    machine = spawn(
      'unshare',
      [...namespaces, `--mount-proc=${system}/proc`, 'chroot', system, 'sh', '-c', 'while :; do sleep 1; done'],
      {
        stdio: 'ignore',
      },
    );
    await eventually('the machine runs', async () =>
      (await inside('true').catch(() => undefined))?.exitCode === 0 ? true : undefined,
    );
  });

  afterAll(async () => {
    machine?.kill('SIGKILL');
    await eventually('the machine is gone', () => (machine?.signalCode === null ? undefined : true));
    rmSync(work, { recursive: true, force: true });
  });

  test('the same sources make the same bytes twice', () => {
    const sumOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
    const first = sumOf(join(system, 'tmp/0.0.2.deb'));
    const second = sumOf(packed('0.0.2', work));
    expect(second).toBe(first);
  });

  test('installed, upgraded under 20 services, removed and purged', async () => {
    const before = await listing();
    await done('dpkg -i /tmp/0.0.1.deb');
    expect(await done('rouse --version')).toBe('rouse 0.0.1\n');
    expect(await done('stat -c "%a %U %G" /var/lib/rouse /var/cache/rouse')).toBe('750 rouse rouse\n'.repeat(2));
    expect((await inside('rouse check')).stdout).toContain('rouse.yaml');
    expect(await done('zcat /usr/share/man/man8/rouse.8.gz')).toContain('.SS rouse restart [SERVICE ...]');

    for (let index = 0; index < SERVICES; index++) {
      const folder = join(system, 'etc/rouse/services', `s${index}`);
      mkdirSync(folder);
      writeFileSync(join(folder, 'run'), '#!/bin/sh\nexec /usr/lib/rouse/applets/setuidgid daemon sleep 1000\n', {
        mode: 0o755,
      });
    }
    await startSupervisor();
    const running = await eventually('20 services run', async () => {
      const found = await pids().catch(() => []);
      return found.length === SERVICES ? found : undefined;
    });
    expect(await done(`ps -o user= -p ${running[0]} 2>/dev/null || stat -c %U /proc/${running[0]}`)).toBe('daemon\n');

    await done('dpkg -i /tmp/0.0.2.deb');
    expect(await done('rouse --version')).toBe('rouse 0.0.2\n');
    expect(await pids()).toEqual(running);
    await endSupervisor('TERM');
    await startSupervisor();
    await eventually('the new supervisor answers', async () =>
      (await inside('rouse status')).exitCode === 0 ? true : undefined,
    );
    expect(await pids()).toEqual(running);
    expect(readFileSync(join(system, 'tmp/said'), 'latin1').match(/adopted/g)).toHaveLength(SERVICES);
    await endSupervisor('HUP');
    expect((await inside(`ls -d ${running.map((pid) => `/proc/${pid}/exe`).join(' ')}`)).stdout).toBe('');

    await done('dpkg -r rouse && dpkg -P rouse');
    const left = (await listing()).filter((path) => !before.includes(path));
    expect(left.filter((path) => !path.startsWith('/etc/rouse/services/'))).toEqual([
      '/etc/rouse',
      '/etc/rouse/services',
    ]);
    expect(before.filter((path) => !existsSync(join(system, path)))).toEqual([]);
    expect((await inside('getent passwd rouse')).exitCode).not.toBe(0);
  });
});
