// The package under systemd: a Debian that boots in QEMU with it installed. Restart, upgrade and SIGKILL of the supervisor
// keep the services and their pids; stop and shutdown end them, the dependent one first.
//
// The machine is a debootstrap of this host's release, handed over as an initramfs: no disk, no initrd of its own. Its
// kernel is the one that images are built with. Takes ten minutes or so under TCG, most of them debootstrap and the boot.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { openStore } from '../../images/store.io.ts';
import { type Guest, startGuest } from '../images/guest.ts';
import { makeDebian, packed } from './debian.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');
const work = mkdtempSync(join(tmpdir(), 'rouse-systemd-'));
const system = join(work, 'root');
let guest: Guest;

function put(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(join(system, path)), { recursive: true });
  writeFileSync(join(system, path), content, { mode });
}

/** Says on the console when it is ended, and takes its time. */
const SAYS = (name: string): string =>
  `#!/bin/sh\ntrap 'echo "ended ${name}" >/dev/ttyS0; exit 0' TERM\nwhile :; do sleep 0.2; done\n`;

beforeAll(async () => {
  const kernel = buildImage({ roleDirs: [join(ROOT, 'services')], role: 'base', libDir: join(work, 'lib'), cacheDir });
  await makeDebian(system, ['systemd-sysv']);
  copyFileSync(packed('0.0.1', work), join(system, 'root/1.deb'));
  copyFileSync(packed('0.0.2', work), join(system, 'root/2.deb'));
  execFileSync('chroot', [system, 'dpkg', '-i', '/root/1.deb'], { stdio: 'ignore' });
  for (const path of ['root/1.deb', 'var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/locale'])
    rmSync(join(system, path), { recursive: true });
  put('etc/rouse/services/db/run', SAYS('db'), 0o755);
  put('etc/rouse/services/web/run', SAYS('web'), 0o755);
  put('etc/rouse/services/web/depends', 'db\n');
  put('etc/rouse/services/web/log/multilog', 't /var/log/web\n');
  // For a supervisor beside systemd's.
  const forks = 'for (1 .. 30) { my $pid = fork; if (defined $pid && !$pid) { sleep 1000; exit } }';
  put('root/s/many/run', `#!/usr/bin/perl\n${forks}\nsleep 1000;\n`, 0o755);
  put('root/s/many/cgroup', 'memoryMaxBytes 67108864\npidsMax 20\ncpuMaxPercent 50\n');
  // A shell on the console instead of a login.
  put(
    'etc/systemd/system/console.service',
    '[Unit]\nConflicts=serial-getty@ttyS0.service\n[Service]\nExecStart=/bin/sh -c "echo the console is ready; exec sh"\nStandardInput=tty\nStandardOutput=tty\n' +
      'StandardError=tty\nTTYPath=/dev/ttyS0\nTTYReset=yes\nEnvironment=PS1=\n',
  );
  execFileSync('chroot', [system, 'systemctl', 'mask', 'serial-getty@ttyS0.service']);
  execFileSync('chroot', [system, 'systemctl', 'add-wants', 'multi-user.target', 'console.service']);
  const initrd = execFileSync('sh', ['-c', 'find . -xdev | cpio -o -H newc --quiet'], {
    cwd: system,
    maxBuffer: 2 ** 31 - 1,
  });
  const { manifest } = await kernel;
  guest = await startGuest({
    kernel: openStore(join(work, 'lib')).kernelPath(manifest.kernel.sha256),
    initrd: [initrd],
    cmdline: ['rdinit=/sbin/init', 'systemd.show_status=no'],
    memoryMb: 2048,
  });
}, 1_800_000);

afterAll(async () => {
  await guest?.kill();
  rmSync(work, { recursive: true, force: true });
});

let asked = 0;
/** What a command says on the console. */
async function says(command: string): Promise<string> {
  asked += 1;
  // The console shows what is typed as well: the mark is put together by the shell.
  guest.type(`${command}; echo "<""${asked}>"`);
  const [all] = await guest.sees(new RegExp(`\\n[^\\n"]*<${asked}>`));
  const said = guest.said();
  const from = said.lastIndexOf(`; echo "<""${asked}>"`);
  return said.slice(said.indexOf('\n', from) + 1, said.lastIndexOf(all) + 1).replaceAll('\r', '');
}

/** The machine's pids of both services, once they are up and the supervisor answers. */
async function pids(): Promise<string[]> {
  const text = await says(
    'until [ "$(rouse status | grep -cE "^(db|web) +up +")" = 2 ]; do sleep 1; done; /usr/lib/rouse/applets/svstat /etc/rouse/services/*',
  );
  return [...text.matchAll(/services\/(\w+: up \(pid \d+\))/g)].map(([, found = '']) => found);
}

const supervisor = async (): Promise<string> => (await says('systemctl show -p MainPID rouse')).trim();

test('restart, upgrade and SIGKILL keep the services; stop and shutdown end them in order', async () => {
  await guest.sees(/the console is ready/);
  const running = await pids();
  expect(running).toHaveLength(2);
  let master = await supervisor();
  const replaced = async (how: string): Promise<void> => {
    await says(how);
    await says(`until [ "$(systemctl show -p MainPID rouse)" != ${master} ]; do sleep 1; done`);
    expect({ how, pids: await pids() }).toEqual({ how, pids: running });
    master = await supervisor();
    expect(master).not.toBe('MainPID=0');
  };
  await replaced('systemctl restart rouse');
  await replaced('systemctl kill --kill-who=main --signal=KILL rouse');
  await replaced('dpkg -i /root/2.deb >/dev/null 2>&1');
  expect(await says('rouse --version')).toContain('rouse 0.0.2');
  expect(await says('ls /var/log/web')).toContain('current');

  const numbers = running.flatMap((line) => /\d+/.exec(line)?.[0] ?? []);
  const stopped = await says(
    `systemctl stop rouse; systemctl is-active rouse; for pid in ${numbers.join(' ')}; do test -d /proc/$pid && echo lives; done; echo none`,
  );
  expect(stopped).toMatch(/ended web[^]*ended db[^]*inactive\nnone\n/);
  await says('systemctl start rouse');
  const again = await pids();
  expect(again).toHaveLength(2);
  expect(again).not.toEqual(running);

  // Limits where the supervisor is in a leaf of its own. (Under systemd before 254 it is not, and says so.)
  await says('cd /sys/fs/cgroup; mkdir -p lab/supervisor; echo "+cpu +memory +pids" >cgroup.subtree_control');
  await says('(echo 0 >lab/supervisor/cgroup.procs; exec setsid /usr/lib/rouse/applets/svscan /root/s 2>/dev/null &)');
  const limits = await says(
    'until grep -qs 20 lab/rouse-*/pids.current; do sleep 1; done; cd lab/rouse-*; cat pids.max memory.max cpu.max pids.current',
  );
  expect(limits).toContain('20\n67108864\n50000 100000\n20\n');

  guest.type('systemctl poweroff');
  await guest.sees(/ended web[^]*ended db/);
  await guest.ended();
});
