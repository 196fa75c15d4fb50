// No space, no writing, no processes: what cannot be said on disk or started is said, the others go on, and all is well
// again once there is some. Full disks of logs: logwriter/writer.fault.test.ts. Descriptors: hostile.fault.test.ts.

import { chownSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Rig, run } from './rig.ts';

const isRoot = process.getuid?.() === 0;
const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

async function mount(path: string, ...options: readonly string[]): Promise<void> {
  expect(await run('mount', '-t', 'tmpfs', ...options, 'tmpfs', path)).toMatchObject({ exitCode: 0 });
}

test
  .skipIf(!isRoot)
  .concurrent(
    'a read-only root: services whose supervise leads to /run are kept, others are told why not',
    async () => {
      await using rig = new Rig();
      await mount(rig.folder);
      try {
        rig.write({ 'web/run': SLEEP, 'web/log/run': '#!/bin/sh\nexec cat >/dev/null\n', 'bare/run': SLEEP });
        const state = join(rig.root, 'state');
        symlinkSync(join(state, 'web'), join(rig.folder, 'web/supervise'));
        symlinkSync(join(state, 'web-log'), join(rig.folder, 'web/log/supervise'));
        mkdirSync(state);
        await run('mount', '-o', 'remount,ro', rig.folder);
        rig.start();
        const web = await rig.until('web', 'ready', ({ ready }) => ready);
        await rig.until('web/log', 'ready', ({ ready }) => ready);
        const bare = await rig.until(
          'bare',
          'refused',
          ({ phase, why }) => phase === 'blocked' && why?.includes('EROFS') === true,
        );
        expect(bare.pid).toBe(0);
        expect((await run('svstat', join(rig.folder, 'web'))).stdout).toContain(`up (pid ${web.pid})`);
        await run('svc', '-t', join(rig.folder, 'web'));
        const again = await rig.until('web', 'restarted', ({ ready, pid }) => ready && pid !== web.pid);
        await rig.end('SIGKILL');
        rig.start();
        expect(await rig.until('web', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid: again.pid });
        // Writable again: the other one is supervised at the next scan.
        await run('mount', '-o', 'remount,rw', rig.folder);
        await rig.until('bare', 'up', ({ phase }) => phase === 'up');
        expect(await rig.end('SIGHUP')).toBe(0);
      } finally {
        await run('umount', '-l', rig.folder);
      }
    },
  );

test
  .skipIf(!isRoot)
  .concurrent(
    'a full disk under supervise/: services go on and are told so, and the state is written once there is room',
    async () => {
      await using rig = new Rig();
      const disk = join(rig.root, 'disk');
      mkdirSync(disk);
      await mount(disk, '-o', 'size=64k');
      try {
        rig.write({ 'web/run': SLEEP, 'good/run': SLEEP });
        symlinkSync(join(disk, 'web'), join(rig.folder, 'web/supervise'));
        rig.start();
        const web = await rig.until('web', 'ready', ({ ready }) => ready);
        const good = await rig.until('good', 'ready', ({ ready }) => ready);
        await run('sh', '-c', `head -c 1000000 /dev/zero >${disk}/full 2>/dev/null`);
        await run('svc', '-t', join(rig.folder, 'web'));
        const second = await rig.until('web', 'restarted', ({ ready, pid }) => ready && pid !== web.pid);
        expect(second.why).toMatch(/^cannot write supervise\/(record|status|history): ENOSPC/);
        expect(await rig.until('good', 'untouched', () => true)).toMatchObject({ pid: good.pid, starts: 1 });
        await run('rm', `${disk}/full`);
        await run('svc', '-t', join(rig.folder, 'web'));
        const third = await rig.until(
          'web',
          'restarted',
          (view) => view.ready && view.pid !== second.pid && view.why === undefined,
        );
        expect(readFileSync(join(disk, 'web/status')).readUInt32LE(12)).toBe(third.pid);
        await rig.end('SIGKILL');
        rig.start();
        expect(await rig.until('web', 'adopted', ({ adopted }) => adopted)).toMatchObject({ pid: third.pid });
        expect(await rig.end('SIGHUP')).toBe(0);
      } finally {
        await run('umount', '-l', disk);
      }
    },
  );

test
  .skipIf(!isRoot)
  .concurrent(
    'no more processes: the start that failed is said and tried again, and nothing else is touched',
    async () => {
      await using rig = new Rig();
      // An account that nobody else has: the kernel counts the processes of a user.
      const uid = 54_321;
      rig.write({ 'good/run': SLEEP, 'later/run': SLEEP, 'later/down': '' });
      const all = await run('chown', '-R', String(uid), rig.root);
      expect(all.exitCode).toBe(0);
      chownSync(rig.root, uid, uid);
      const asUser = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
      rig.start('setpriv', ...asUser);
      const good = await rig.until('good', 'ready', ({ ready }) => ready);
      const hard = await run('prlimit', '--nproc', '--output=HARD', '--noheadings');
      const limit = async (count: string): Promise<void> => {
        const listed = await run('pgrep', '-u', String(uid));
        // One that was listed may have ended.
        for (const pid of listed.stdout.trim().split('\n'))
          await run('setpriv', ...asUser, 'prlimit', '--pid', pid, `--nproc=${count}:`);
      };
      await limit('1');
      await run('svc', '-u', join(rig.folder, 'later'));
      const { why } = await rig.until('later', 'told why not', (view) => view.why !== undefined);
      expect(why).toMatch(/^cannot (start|fork)/);
      expect(await rig.until('good', 'untouched', () => true)).toMatchObject({ pid: good.pid, starts: 1 });
      await limit(hard.stdout.trim());
      await rig.until('later', 'up', ({ phase }) => phase === 'up');
      expect(rig.supervisor?.exitCode).toBe(null);
    },
  );
