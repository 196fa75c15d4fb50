// bench/nettraffic.io.ts - a wire with a hundred clients at its end, the load that they make, and what it costs a server.
//
// Owns: two namespaces with a veth pair (MTU 1500) between; in one the server, in the other the clients, which are Debian's
// atftp and curl, the same for every server. Each client has an address of its own: servers count by address. atftp cannot
// bind one, so each runs as a user of its own, whose routes have a source address of their own (ip-rule(8), uidrange).
// Sources: proc(5) (stat, status).

import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SERVER_ADDRESS, SERVER_INTERFACE, type Started } from './netservers.io.ts';

export const MOST_CLIENTS = 100;
const FIRST_UID = 70_001;
const START_TIMEOUT_MS = 20_000;
/** One row is given up after this long. */
const LOAD_TIMEOUT_MS = 600_000;

const clientAddress = (index: number): string => `10.99.1.${index + 1}`;

export type Cost = {
  readonly wallMs: number;
  /** Processor time of the server and all that it starts. */
  readonly cpuMs: number;
  readonly bytes: number;
  /** The most that the server has ever held, with its children. */
  readonly peakMiB: number;
};

/** The wire; close() removes it with everything on it. */
export class Wire {
  readonly server = `rouse-bs${process.pid}`;
  readonly clients = `rouse-bc${process.pid}`;
  readonly #pids = new Set<number>();
  #served = 0;

  open(): void {
    const server = (...words: string[]): Buffer => execFileSync('ip', ['-n', this.server, ...words]);
    const clients = (...words: string[]): Buffer => execFileSync('ip', ['-n', this.clients, ...words]);
    for (const name of [this.server, this.clients]) execFileSync('ip', ['netns', 'add', name]);
    server('link', 'add', SERVER_INTERFACE, 'type', 'veth', 'peer', 'name', 'c0', 'netns', this.clients);
    server('address', 'add', `${SERVER_ADDRESS}/16`, 'dev', SERVER_INTERFACE);
    server('link', 'set', SERVER_INTERFACE, 'up');
    server('link', 'set', 'lo', 'up');
    // A kernel keeps 1024 neighbours, of all its namespaces together: nodes of a storm are behind one.
    server('route', 'add', '10.99.16.0/20', 'via', '10.99.0.2');
    clients('address', 'add', '10.99.0.2/16', 'dev', 'c0');
    clients('link', 'set', 'c0', 'up');
    clients('link', 'set', 'lo', 'up');
    const batch = Array.from({ length: MOST_CLIENTS }, (_, index) => {
      const table = String(1000 + index);
      const uid = String(FIRST_UID + index);
      return [
        `address add ${clientAddress(index)}/16 dev c0`,
        `route add 10.99.0.0/16 dev c0 src ${clientAddress(index)} table ${table}`,
        `rule add uidrange ${uid}-${uid} lookup ${table}`,
      ].join('\n');
    });
    execFileSync('ip', ['-n', this.clients, '-batch', '-'], { input: `${batch.join('\n')}\n` });
  }

  /** Starts a server and waits until it has the port. @returns what ends it. */
  async serve(
    started: Started,
    port: { readonly kind: 'udp' | 'tcp'; readonly number: number },
    log: string,
  ): Promise<RunningServer> {
    const [program = '', ...words] = started.argv;
    const out = openSync(log, 'a');
    this.#served += 1;
    const meter = new Meter(`${this.server}-${this.#served}`);
    const inside = [...meter.prefix, 'ip', 'netns', 'exec', this.server, 'env', '-i', ...environment(started)];
    const [first = '', ...rest] = inside;
    const child = spawn(first, [...rest, program, ...words], {
      stdio: ['ignore', out, out],
    });
    closeSync(out);
    const pid = child.pid ?? 0;
    this.#pids.add(pid);
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const untilMs = performance.now() + START_TIMEOUT_MS;
    const isListening = (): boolean =>
      execFileSync('ip', ['netns', 'exec', this.server, 'ss', '-Hln', port.kind === 'udp' ? '-u' : '-t'])
        .toString()
        .split('\n')
        .some((line) => line.includes(`:${port.number} `));
    while (!isListening()) {
      if (child.exitCode !== null || performance.now() > untilMs) {
        child.kill('SIGKILL');
        throw new Error(
          `it does not listen on ${port.kind} ${port.number}: ${readFileSync(log, 'latin1').slice(-500)}`,
        );
      }
      await sleep(50);
    }
    return {
      pid,
      cpuMs: () => meter.cpuMs(),
      stop: async () => {
        for (const each of tree(pid)) process.kill(each, 'SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), 5000);
        await exited;
        clearTimeout(late);
        this.#pids.delete(pid);
        await sleep(100);
        meter.remove();
      },
    };
  }

  /** `count` transfers of one file at once by TFTP. @throws Error where one did not bring all octets. */
  tftp(
    server: RunningServer,
    file: string,
    bytes: number,
    count: number,
    windowBlocks: number,
    folder: string,
  ): Promise<Cost> {
    const options = [
      '--option',
      'blksize 1428',
      ...(windowBlocks === 1 ? [] : ['--option', `windowsize ${windowBlocks}`]),
    ];
    const local = (index: number): string => join(folder, `got-${index}`);
    chmodSync(folder, 0o777);
    return this.#measure(server, bytes * count, count, async (index) => {
      const uid = String(FIRST_UID + index);
      const words = [
        '--reuid',
        uid,
        '--clear-groups',
        'atftp',
        ...options,
        '-g',
        '-r',
        file,
        '-l',
        local(index),
        SERVER_ADDRESS,
      ];
      await this.#client('setpriv', words);
      const got = statSync(local(index)).size;
      rmSync(local(index));
      if (got !== bytes) throw new Error(`client ${index} got ${got} of ${bytes} octets`);
    });
  }

  /** `count` downloads of one body at once by HTTP. */
  http(server: RunningServer, path: string, bytes: number, count: number): Promise<Cost> {
    return this.#measure(server, bytes * count, count, async (index) => {
      const words = ['-sf', '-o', '/dev/null', '-w', '%{size_download}', '--interface', clientAddress(index)];
      const said = await this.#client('curl', [...words, `http://${SERVER_ADDRESS}${path}`]);
      if (Number(said) !== bytes) throw new Error(`client ${index} got ${said} of ${bytes} octets`);
    });
  }

  /** So many nodes boot at once. @throws Error where one did not get all it asked for. */
  async storm(server: RunningServer, nodes: number): Promise<Cost> {
    const program = fileURLToPath(new URL('./storm.io.ts', import.meta.url));
    let said = '';
    const cost = await this.#measure(server, 0, 1, async () => {
      said = await this.#client(process.execPath, [program, String(nodes)]);
    });
    const { wallMs, booted, bytes, why } = JSON.parse(said) as {
      wallMs: number;
      booted: number;
      bytes: number;
      why?: string;
    };
    execFileSync('ip', ['-n', this.clients, 'address', 'flush', 'dev', 'lo', 'to', '10.99.16.0/20']);
    if (booted < nodes) throw new Error(`${nodes - booted} of ${nodes} nodes did not boot: ${why}`);
    return { ...cost, wallMs, bytes };
  }

  async #measure(
    server: RunningServer,
    bytes: number,
    count: number,
    client: (index: number) => Promise<void>,
  ): Promise<Cost> {
    const cpuBeforeMs = server.cpuMs();
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: count }, (_, index) => client(index)));
    const wallMs = performance.now() - startedMs;
    return { wallMs, cpuMs: server.cpuMs() - cpuBeforeMs, bytes, peakMiB: peakMiB(server.pid) };
  }

  #client(program: string, words: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn('ip', ['netns', 'exec', this.clients, program, ...words], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const said = { out: '', err: '' };
      child.stdout.on('data', (chunk: Buffer) => (said.out += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (said.err += chunk.toString()));
      const timer = setTimeout(() => child.kill('SIGKILL'), LOAD_TIMEOUT_MS);
      child.once('close', (code) => {
        clearTimeout(timer);
        if (code === 0) resolve(said.out);
        else reject(new Error(`${program} ended with ${code}: ${said.err.trim().slice(-400)}`));
      });
    });
  }

  close(): void {
    for (const pid of this.#pids) for (const each of tree(pid)) process.kill(each, 'SIGKILL');
    for (const name of [this.server, this.clients]) {
      try {
        execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
      } catch {
        // It was not made.
      }
    }
  }
}

export type RunningServer = {
  readonly pid: number;
  readonly cpuMs: () => number;
  readonly stop: () => Promise<void>;
};

function environment({ env = {} }: Started): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

/** A process and its living descendants, children before their parents. */
function tree(pid: number): number[] {
  const parents = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(stat(name)[1]);
    parents.set(parent, [...(parents.get(parent) ?? []), Number(name)]);
  }
  const below = (one: number): number[] => [...(parents.get(one) ?? []).flatMap(below), one];
  return read(`/proc/${pid}/stat`) === '' ? [] : below(pid);
}

/** Fields of proc(5) stat from the state on; the name before it may hold anything. */
function stat(pid: string | number): string[] {
  const text = read(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/**
 * Counts the processor time of whatever is started in it: servers fork for a transfer, or start a thread, whose time no
 * parent is told of. Source: cgroups(7); cpu.stat of version 2, cpuacct.usage of version 1.
 */
class Meter {
  readonly #folder: string;
  readonly #file: string;

  constructor(name: string) {
    const mounts = read('/proc/mounts')
      .split('\n')
      .map((line) => line.split(' '));
    const v2 = mounts.find(([, , type]) => type === 'cgroup2')?.[1];
    const v1 = mounts.find(([, , type, options]) => type === 'cgroup' && options?.split(',').includes('cpuacct'))?.[1];
    const at = (mount: string | undefined, file: string): { folder: string; file: string } | undefined => {
      if (mount === undefined) return undefined;
      const folder = join(mount, name);
      mkdirSync(folder);
      if (existsSync(join(folder, file))) return { folder, file: join(folder, file) };
      rmdirSync(folder);
      return undefined;
    };
    const found = at(v2, 'cpu.stat') ?? at(v1, 'cpuacct.usage');
    if (found === undefined) throw new Error('processor time is counted by a cgroup, and none can be made here');
    this.#folder = found.folder;
    this.#file = found.file;
  }

  /** What puts a program into it. */
  get prefix(): string[] {
    return ['sh', '-c', `echo $$ > ${join(this.#folder, 'cgroup.procs')}; exec "$@"`, 'sh'];
  }

  cpuMs(): number {
    const text = read(this.#file);
    const usageUs = /^usage_usec (\d+)/m.exec(text)?.[1];
    return usageUs === undefined ? Number(text) / 1e6 : Number(usageUs) / 1e3;
  }

  remove(): void {
    if (existsSync(this.#folder)) rmdirSync(this.#folder);
  }
}

function peakMiB(pid: number): number {
  const peaks = tree(pid).map((each) => Number(/^VmHWM:\s+(\d+)/m.exec(read(`/proc/${each}/status`))?.[1] ?? 0));
  return peaks.reduce((sum, each) => sum + each, 0) / 1024;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // A process that has ended, or a thread of it.
    return '';
  }
}
