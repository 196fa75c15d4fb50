// Without a free descriptor: the reserve still looks at processes and starts one; without it nothing living is called dead.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOM = join(import.meta.dirname, '../../supervise');

/** Runs an expression in a process that has used up its descriptors. */
function told(hasReserve: boolean): unknown {
  const script = `
    const { openSync } = await import('node:fs');
    const { holdReserve } = await import('${ROOM}/descriptors.io.ts');
    const { groupHasLiving, isLiving, livingStartTime } = await import('${ROOM}/procfs.io.ts');
    const { lockFiles } = await import('${ROOM}/commands.io.ts');
    const { launch } = await import('${ROOM}/launch.io.ts');
    const said = (look) => { try { return look(); } catch (thrown) { return thrown.code; } };
    const lockFd = openSync('/tmp', 'r');
    const start = livingStartTime(process.pid);
    ${hasReserve ? 'holdReserve();' : ''}
    try { for (;;) openSync('/dev/null', 'r'); } catch {}
    const answers = {
      knowsItself: said(() => livingStartTime(process.pid) === start),
      isLiving: isLiving(process.pid, start),
      group: said(() => groupHasLiving(99999999)),
      starts: launch({ base: '/', argv: ['true'], env: {}, stdin: 'ignore', stdout: 1, stderr: 2, onExit: () => undefined }).ok,
      locks: await lockFiles([lockFd]).then(() => 'told', () => 'unknown'),
    };
    process.stdout.write(JSON.stringify(answers), () => process.exit(0));
  `;
  const argv = ['--nofile=80:80', '--', process.execPath, '--input-type=module', '-e', script];
  return JSON.parse(execFileSync('prlimit', argv, { encoding: 'utf8' }));
}

test('with the reserve processes are known and started; a lock that could not be tried is nobody else’s', () => {
  expect(told(true)).toEqual({ knowsItself: true, isLiving: true, group: false, starts: true, locks: 'unknown' });
});

test('without it what cannot be told is living, or said to be unknown', () => {
  expect(told(false)).toMatchObject({ knowsItself: 'EMFILE', isLiving: true, group: 'EMFILE', locks: 'unknown' });
});
