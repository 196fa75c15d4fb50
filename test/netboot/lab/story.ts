// test/netboot/lab/story.ts - a lab as a user starts it, for tests that are steps of one story.
//
// Owns: an empty home, `rouse lab up` as a child, the commands that a user types, and what to look at when the story
// breaks off. Emulated machines stall for seconds: stories assert what converges, never how long it took.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ROUSE = join(ROOT, 'bin', 'rouse');

/** A machine boots in under a minute when nothing else runs, and in several when much does. */
export const BOOT_MS = 480_000;

export type Ran = { readonly status: number; readonly stdout: string; readonly stderr: string };

export class Story {
  readonly home: string;
  url = '';
  #lab: ChildProcess | undefined;
  #said = '';

  constructor(name: string) {
    this.home = mkdtempSync(join(tmpdir(), `rouse-${name}-`));
  }

  /** Starts the lab and waits until it prints its URL. @param words further arguments of `rouse lab up`. */
  async begin(...words: string[]): Promise<void> {
    const lab = spawn(ROUSE, ['lab', 'up', '--port', '0', ...words], {
      env: this.#environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#lab = lab;
    const answers = new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer): void => {
        this.#said += chunk.toString();
        const found = /answers at (http:\/\/localhost:\d+\/)/.exec(this.#said);
        if (found === null) return;
        this.url = found[1] ?? '';
        resolve();
      };
      lab.stdout.on('data', hear);
      lab.stderr.on('data', hear);
      lab.on('exit', (code) => reject(new Error(`rouse lab up ended with ${code}`)));
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('the lab did not come up')), BOOT_MS);
    });
    try {
      await Promise.race([answers, late]);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.evidence()}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** ctrl-C, and what is left of the lab's processes then. */
  async interrupt(): Promise<string[]> {
    const lab = this.#lab;
    if (lab?.exitCode === null) {
      lab.kill('SIGINT');
      await new Promise((resolve) => lab.once('exit', resolve));
    }
    return this.#processes();
  }

  /** Removes everything, however the story ended. */
  async end(): Promise<void> {
    await this.interrupt();
    this.rouse('lab', 'down');
    rmSync(this.home, { recursive: true, force: true });
  }

  /** A command as a user types it. */
  rouse(...args: string[]): Ran {
    try {
      const stdout = execFileSync(ROUSE, args, {
        env: this.#environment(),
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: BOOT_MS,
      });
      return { status: 0, stdout, stderr: '' };
    } catch (error) {
      const { status, stdout, stderr } = error as { status: number | null; stdout: string; stderr: string };
      return { status: status ?? -1, stdout, stderr };
    }
  }

  /** A command that the story does not wait for. */
  rouseInBackground(...args: string[]): ChildProcess {
    return spawn(ROUSE, args, { env: this.#environment(), stdio: 'ignore' });
  }

  /** The output of a command in the shell on a machine's console. */
  on(node: string, command: string): string {
    return this.rouse('lab', 'exec', node, '--', command).stdout.trim();
  }

  /** The page behind the lab's URL, or why there is none. */
  async page(timeoutMs = 10_000): Promise<string> {
    try {
      return await (await fetch(this.url, { signal: AbortSignal.timeout(timeoutMs) })).text();
    } catch (error) {
      return `no answer: ${String(error)}`;
    }
  }

  /** JSON of a route of the boot server. */
  ask(path: string): unknown {
    return JSON.parse(
      execFileSync('curl', ['-sS', '--unix-socket', this.file('run/netboot.sock'), `http://rouse${path}`], {
        encoding: 'utf8',
      }),
    );
  }

  file(name: string): string {
    return join(this.home, name);
  }

  /** The lab's words, the boot server's, the machines' consoles. */
  evidence(): string {
    const tail = (file: string): string => (existsSync(file) ? readFileSync(file, 'latin1').slice(-3000) : 'absent');
    const machines = existsSync(this.file('run/lab'))
      ? readdirSync(this.file('run/lab')).filter((name) => name.endsWith('.log'))
      : [];
    return [
      `== lab up\n${this.#said.slice(-3000)}`,
      `== supervise\n${tail(this.file('run/supervise.log'))}`,
      `== netboot\n${tail(this.file('etc/services/netboot/log/main/current'))}`,
      ...machines.map((name) => `== ${name}\n${tail(this.file(`run/lab/${name}`))}`),
    ].join('\n');
  }

  #environment(): NodeJS.ProcessEnv {
    // Packages are downloaded once for all runs of this clone.
    return {
      ...process.env,
      ROUSE_HOME: this.home,
      ROUSE_CACHE: process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache'),
    };
  }

  #processes(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .flatMap((pid) => {
        try {
          const isOurs = readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`ROUSE_HOME=${this.home}`);
          const isZombie = readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
          return isOurs && !isZombie ? [readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')] : [];
        } catch {
          return [];
        }
      });
  }
}
