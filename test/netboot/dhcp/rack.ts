// test/netboot/dhcp/rack.ts - network namespaces for tests: one for the server, one for each client, a veth pair between.
//
// Owns: making them, running programs in them, and taking everything away again. Needs root and iproute2.

import { execFile, type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type Finished = { readonly code: number; readonly stdout: string; readonly stderr: string };

let made = 0;

/** A wire between the server's namespace and one client's: interface v1, v2, … with that address there, c0 here. */
export type Wire = { readonly client: string; readonly serverInterface: string; readonly serverAddress: string };

export class Rack {
  readonly server: string;
  readonly wires: Wire[] = [];
  readonly #spaces: string[] = [];
  readonly #children: ChildProcess[] = [];

  constructor() {
    made += 1;
    this.server = `rouse-t${process.pid}-${made}s`;
  }

  /** @param addresses one "10.77.1.1/24" for each wire. @param macs of the clients' interfaces, by wire. */
  async make(addresses: readonly string[], macs: readonly string[]): Promise<void> {
    await this.#space(this.server);
    await this.in(this.server, 'ip', ['link', 'set', 'lo', 'up']);
    for (const [index, address] of addresses.entries()) {
      const client = `${this.server.slice(0, -1)}c${index + 1}`;
      const serverInterface = `v${index + 1}`;
      await this.#space(client);
      await ip(
        '-n',
        this.server,
        'link',
        'add',
        serverInterface,
        'type',
        'veth',
        'peer',
        'name',
        'c0',
        'netns',
        client,
      );
      await ip('-n', this.server, 'address', 'add', address, 'dev', serverInterface);
      await ip('-n', this.server, 'link', 'set', serverInterface, 'up');
      await ip('-n', client, 'link', 'set', 'c0', 'address', macs[index] ?? '', 'up');
      await ip('-n', client, 'link', 'set', 'lo', 'up');
      this.wires.push({ client, serverInterface, serverAddress: address.split('/')[0] ?? '' });
    }
  }

  async #space(name: string): Promise<void> {
    await ip('netns', 'add', name);
    this.#spaces.push(name);
  }

  /** Another namespace that take() removes: a relay's. */
  async space(suffix: string): Promise<string> {
    const name = `${this.server.slice(0, -1)}${suffix}`;
    await this.#space(name);
    return name;
  }

  /** Runs a program to its end; its exit status is an answer, not an error. */
  async in(space: string, command: string, args: readonly string[], timeoutMs = 30_000): Promise<Finished> {
    try {
      const done = await run('ip', ['netns', 'exec', space, command, ...args], { timeout: timeoutMs });
      return { code: 0, ...done };
    } catch (thrown) {
      const { code, stdout, stderr } = thrown as { code?: number | string; stdout?: string; stderr?: string };
      if (typeof code !== 'number') throw thrown;
      return { code, stdout: stdout ?? '', stderr: stderr ?? '' };
    }
  }

  /** Starts a program that runs until take(). */
  start(space: string, command: string, args: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', space, command, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#children.push(child);
    return child;
  }

  /** Kills what it started and removes the namespaces, with their wires. */
  async take(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    for (const name of this.#spaces.splice(0)) await ip('netns', 'del', name);
  }
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args);
}

/** The lines of a child's output as JSON values; next() waits for one that fits. */
export class JsonLines<T> {
  readonly seen: T[] = [];
  readonly #waiting: { fits: (value: T) => boolean; resolve: (value: T) => void }[] = [];
  #errors = '';

  constructor(child: ChildProcess) {
    if (child.stdout === null) throw new Error('the child has no pipe');
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const value = JSON.parse(line) as T;
      this.seen.push(value);
      const index = this.#waiting.findIndex(({ fits }) => fits(value));
      if (index >= 0) this.#waiting.splice(index, 1)[0]?.resolve(value);
    });
  }

  /** The first line, past or future, that fits. */
  async next(fits: (value: T) => boolean, timeoutMs = 20_000): Promise<T> {
    const past = this.seen.find(fits);
    if (past !== undefined) return past;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`not seen; seen: ${JSON.stringify(this.seen)}; standard error: ${this.#errors}`)),
        timeoutMs,
      );
      this.#waiting.push({
        fits,
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
      });
    });
  }
}
