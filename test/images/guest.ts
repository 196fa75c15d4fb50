// One QEMU guest that boots a kernel and an initrd handed to it, and a person at its serial console.
//
// For tests of images alone: the guest has QEMU's own user network. Whole racks are netboot/lab's.

import { type ChildProcess, spawn } from 'node:child_process';
import { createConnection, type Socket } from 'node:net';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Guest = {
  /** Everything that the console has said so far. */
  readonly said: () => string;
  /** Waits until the console has said it since the last type(). Rejects when the guest ends first. */
  readonly sees: (pattern: RegExp) => Promise<RegExpExecArray>;
  /** Types a line. */
  readonly type: (line: string) => void;
  /** Port on 127.0.0.1 that leads to port 80 of the guest. */
  readonly httpPort: number;
  /** Waits until the guest has ended by itself. */
  readonly ended: () => Promise<void>;
  readonly kill: () => Promise<void>;
};

const WAIT_MS = 400_000;

export async function startGuest({
  kernel,
  initrd,
  cmdline,
  memoryMb = 256,
  card = 'virtio-net-pci',
  cpu,
  devices = [],
}: {
  kernel: string;
  initrd: readonly Uint8Array[];
  cmdline: readonly string[];
  memoryMb?: number;
  /** QEMU's name of the network card. */
  card?: string;
  /** QEMU's words for -cpu. */
  cpu?: string;
  /** Further words of QEMU's. */
  devices?: readonly string[];
}): Promise<Guest> {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-guest-'));
  const initrdPath = join(folder, 'initrd');
  const serialPath = join(folder, 'serial');
  writeFileSync(initrdPath, Buffer.concat(initrd));
  const httpPort = await freePort();
  const child = spawn(
    'setpriv',
    [
      // A test run that is killed takes its machine with it.
      ...['--pdeathsig', 'KILL', 'qemu-system-x86_64'],
      ...(cpu === undefined ? [] : ['-cpu', cpu]),
      ...['-accel', 'tcg', '-nodefaults', '-no-reboot', '-display', 'none', '-m', String(memoryMb)],
      ...[
        '-kernel',
        kernel,
        '-initrd',
        initrdPath,
        '-append',
        ['panic=5', 'quiet', ...cmdline, 'console=ttyS0'].join(' '),
      ],
      ...['-netdev', `user,id=net0,hostfwd=tcp:127.0.0.1:${httpPort}-:80`],
      ...['-device', `${card},netdev=net0,mac=52:54:00:77:00:01,romfile=`],
      ...devices,
      ...['-serial', `unix:${serialPath},server=on,wait=on`],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  let mark = 0;
  let over = false;
  const watchers = new Set<() => void>();
  const wake = (): void => {
    for (const watcher of watchers) watcher();
  };
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
    wake();
  });
  child.on('exit', () => {
    over = true;
    wake();
  });
  const serial = await connect(serialPath, child);
  serial.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
    wake();
  });
  serial.on('error', () => undefined);

  const until = <T>(what: string, test: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        watchers.delete(look);
        act();
      };
      const look = (): void => {
        const found = test();
        if (found !== undefined) finish(() => resolve(found));
        else if (over)
          finish(() => reject(new Error(`the guest ended before ${what}; its last words:\n${output.slice(-3000)}`)));
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`waited in vain for ${what}; last words:\n${output.slice(-3000)}`))),
        WAIT_MS,
      );
      watchers.add(look);
      look();
    });

  return {
    said: () => output,
    sees: (pattern) => until(String(pattern), () => pattern.exec(output.slice(mark)) ?? undefined),
    type(line) {
      mark = output.length;
      serial.write(`${line}\n`);
    },
    httpPort,
    ended: () => until('its end', () => (over ? true : undefined)).then(() => undefined),
    async kill() {
      if (!over) {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await gone;
      }
      serial.destroy();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** QEMU makes the socket some time after it starts. */
async function connect(path: string, child: ChildProcess): Promise<Socket> {
  for (;;) {
    const socket = await new Promise<Socket | undefined>((resolve) => {
      const attempt = createConnection(path);
      attempt.once('connect', () => resolve(attempt));
      attempt.once('error', () => resolve(undefined));
    });
    if (socket !== undefined) return socket;
    if (child.exitCode !== null) throw new Error(`QEMU ended with ${child.exitCode}: ${String(child.stderr?.read())}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
