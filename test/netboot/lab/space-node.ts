// test/netboot/lab/space-node.ts - a web server of a lab without a guest: a network namespace on the rack's bridge, in which the
// image's own tree runs as it does on a machine: its hooks, its agent, its orders, its services.
//
// Owns: the namespace, lease, script and overlay (as shell-node.ts), starting svscan in the tree. Does not own the lab.
// What a kernel of its own is needed for (modules, kexec, reboot) it cannot do.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Rack } from '../dhcp/rack.ts';
import { ShellNode } from '../fleet/shell-node.ts';

const SERVER = '10.77.0.1';

/** As /init does it once the network is up; $1: the tree. The host's own console stays out of it. */
const START = `
mount --make-rprivate /
cd "$1"
mount --rbind /dev dev
: >console
mount --bind console dev/console
mount -t proc proc proc
mount -t tmpfs run run
mkdir run/rouse
cp boot.env run/rouse/boot.env
exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin /bin/sh -c '
  mkfifo -m 600 /run/rouse/stages
  exec 3<>/run/rouse/stages
  /usr/lib/rouse/reporter &
  exec 3>&-
  for stage in init layers network; do /usr/lib/rouse/report $stage; done
  for hook in /etc/rouse/hooks/*; do $hook; done
  exec /usr/lib/rouse/services'
`;

export class SpaceNode {
  readonly name: string;
  /** Its namespace. */
  readonly space: string;
  readonly #tree: string;
  readonly #rack = new Rack();
  readonly #shell: ShellNode;
  #child: ChildProcess | undefined;

  /**
   * @param bridge the namespace of the lab, where the bridge rack0 is. @param tree an unpacked image; it is copied.
   * @param folder for its files.
   */
  constructor(bridge: string, name: string, mac: string, tree: string, folder: string) {
    this.name = name;
    this.space = `${bridge}-${name}`;
    this.#tree = join(folder, `space-${name}`);
    cpSync(tree, this.#tree, { recursive: true, verbatimSymlinks: true });
    wire(bridge, this.space, name, ['address', mac]);
    this.#rack.wires.push({ client: this.space, serverInterface: '', serverAddress: SERVER });
    mkdirSync(join(folder, `shell-${name}`));
    this.#shell = new ShellNode(this.#rack, 0, mac, join(folder, `shell-${name}`));
  }

  /** Lease, script and overlay as a loader takes them, then the services. */
  async boot(): Promise<void> {
    await this.#shell.lease();
    await this.#shell.script();
    await this.#shell.become(this.#shell.bootId);
    for (const [path, text] of this.#shell.overlay) {
      mkdirSync(dirname(join(this.#tree, path)), { recursive: true });
      writeFileSync(join(this.#tree, path), text);
    }
    chmodSync(join(this.#tree, 'etc/rouse/boot'), 0o600);
    // Without a deadline: the host's uptime, which is all that it sees, is past any.
    writeFileSync(join(this.#tree, 'boot.env'), `server=${SERVER}:8080\nboot=${this.#shell.bootId}\ntimeoutS=\n`);
    this.#child = spawn(
      'ip',
      [
        ...['netns', 'exec', this.space, 'unshare', '--mount', '--pid', '--uts', '--fork', '--kill-child'],
        ...['sh', '-c', START, 'sh', this.#tree],
      ],
      { stdio: 'ignore' },
    );
  }

  /** A command as on its console. */
  run(...words: readonly string[]): string {
    const pid = this.#child?.pid;
    const first = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const inside = ['-t', first, '-m', '-n', '-p', '--root', '--wd=/'];
    return execFileSync('nsenter', [...inside, '/usr/bin/env', 'PATH=/usr/sbin:/usr/bin', ...words], {
      encoding: 'utf8',
    });
  }

  /** A file that clients can ask for. */
  publish(path: string, content: Uint8Array): void {
    mkdirSync(join(this.#tree, 'srv/www'), { recursive: true });
    writeFileSync(join(this.#tree, 'srv/www', path), content, { mode: 0o644 });
  }

  async take(): Promise<void> {
    const child = this.#child;
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    execFileSync('ip', ['netns', 'del', this.space]);
  }
}

/** A new namespace whose interface c0 is on the bridge rack0. @param more of `ip link set c0`. */
export function wire(bridge: string, space: string, name: string, more: readonly string[] = []): void {
  const ip = (...words: readonly string[]): void => void execFileSync('ip', words);
  ip('netns', 'add', space);
  ip('-n', bridge, 'link', 'add', `s-${name}`, 'type', 'veth', 'peer', 'name', 'c0', 'netns', space);
  ip('-n', bridge, 'link', 'set', `s-${name}`, 'master', 'rack0', 'up');
  ip('-n', space, 'link', 'set', 'c0', ...more, 'up');
  ip('-n', space, 'link', 'set', 'lo', 'up');
}
