// No space, no writing, no processes: what cannot be said on disk or started is said, the others go on, and all is well
// again once there is some. Full disks of logs: logwriter/writer.fault.test.ts. Descriptors: hostile.fault.test.ts.

import { chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ServiceView } from '../../supervise/view.ts';
import { eventually, Rig, run } from './rig.ts';

const isRoot = process.getuid?.() === 0;
const SLEEP = '#!/bin/sh\nexec sleep 1000\n';

async function mount(path: string, ...options: readonly string[]): Promise<void> {
  expect(await run('mount', '-t', 'tmpfs', ...options, 'tmpfs', path)).toMatchObject({ exitCode: 0 });
}

/** To the last page: no file gets another one. */
async function fill(disk: string): Promise<void> {
  expect(await run('sh', '-c', `cat /dev/zero >${disk}/full`)).toMatchObject({ exitCode: 1 });
}

/** Pids of the processes in the service directory. */
function copiesOf(rig: Rig, name: string): number[] {
  return rig.processes().filter((pid) => readlinkSync(`/proc/${pid}/cwd`) === join(rig.folder, name));
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
    'a full disk under supervise/: restarts are recorded all the same, and the next supervisor starts no second copy',
    async () => {
      await using rig = new Rig();
      const disk = join(rig.root, 'disk');
      mkdirSync(disk);
      await mount(disk, '-o', 'size=64k');
      try {
        rig.write({ 'web/run': SLEEP, 'good/run': SLEEP });
        symlinkSync(join(disk, 'web'), join(rig.folder, 'web/supervise'));
        rig.start();
        let web = await rig.until('web', 'ready', ({ ready }) => ready);
        const good = await rig.until('good', 'ready', ({ ready }) => ready);
        await fill(disk);
        for (const round of [1, 2, 3]) {
          const { pid } = web;
          await run('svc', '-t', join(rig.folder, 'web'));
          web = await rig.until('web', `restarted ${round}`, (view) => view.ready && view.pid !== pid);
          expect(rig.status('web')?.pid).toBe(web.pid);
        }
        expect(await rig.until('good', 'untouched', () => true)).toMatchObject({ pid: good.pid, starts: 1 });
        for (const round of [1, 2]) {
          await rig.end('SIGKILL');
          rig.start();
          const adopted = await rig.until('web', `adopted ${round}`, (view) => view.phase === 'up' && view.ready);
          expect(adopted).toMatchObject({ pid: web.pid, adopted: true, starts: 4 });
          expect(copiesOf(rig, 'web')).toEqual([web.pid]);
        }
        await run('rm', `${disk}/full`);
        await run('svc', '-t', join(rig.folder, 'web'));
        await rig.until('web', 'restarted', (view) => view.ready && view.pid !== web.pid && view.why === undefined);
        expect(await rig.end('SIGHUP')).toBe(0);
      } finally {
        await run('umount', '-l', disk);
      }
    },
  );

test
  .skipIf(!isRoot)
  .concurrent(
    'no room for a first record, or a disk that has become read-only: not started until it can be written; what runs goes on',
    async () => {
      await using rig = new Rig();
      const disk = join(rig.root, 'disk');
      mkdirSync(disk);
      await mount(disk, '-o', 'size=64k');
      try {
        await fill(disk);
        const ran = (name: string): string => join(rig.root, `ran-${name}`);
        const says = (name: string): string => `#!/bin/sh\necho >>${ran(name)}\nexec sleep 1000\n`;
        rig.write({ 'first/run': says('first'), 'first/finish': '#!/bin/sh\necho >>finished\n' });
        symlinkSync(join(disk, 'first'), join(rig.folder, 'first/supervise'));
        rig.start();
        const because = (code: string) => (view: ServiceView) =>
          view.pid === 0 && view.why?.startsWith(`not started: cannot write supervise/record: ${code}`) === true;
        await rig.until('first', 'refused', because('ENOSPC'));
        await rig.end('SIGKILL');
        rig.start();
        await rig.until('first', 'refused again', because('ENOSPC'));
        expect(existsSync(ran('first'))).toBe(false);
        await run('rm', `${disk}/full`);
        const first = await rig.until('first', 'ready', (view) => view.ready && view.why === undefined);
        expect(first.starts).toBe(1);

        // Whoever has a file open there may go on, as where ext4 has found damage: new names are looked up in this mount.
        const path = join(disk, 'first');
        await run('mount', '--bind', path, path);
        await run('mount', '-o', 'remount,bind,ro', path);
        await run('svc', '-p', join(rig.folder, 'first'));
        await rig.until('first', 'told', (view) => view.pid === first.pid && view.why?.includes('EROFS') === true);
        process.kill(first.pid, 'SIGKILL');
        await rig.until('first', 'not started anew', because('EROFS'));
        // The one that was held at its gate for the record is on its way out: it has run nothing.
        await eventually('no copy', () => (copiesOf(rig, 'first').length === 0 ? true : undefined));
        expect(existsSync(join(rig.folder, 'first/finished'))).toBe(false);
        expect(readFileSync(ran('first'), 'utf8')).toBe('\n');
        expect(await run('umount', path)).toMatchObject({ exitCode: 0 });
        await rig.until('first', 'started', (view) => view.ready && view.why === undefined);
        expect(readFileSync(ran('first'), 'utf8')).toBe('\n\n');
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
