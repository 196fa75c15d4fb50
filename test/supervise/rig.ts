// test/supervise/rig.ts - a real supervisor on a folder of service directories, for tests with real processes.
//
// Owns: making directories, starting and killing the supervisor, waiting for a condition, leaving nothing behind.

import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listServices } from '../../supervise/client.io.ts';
import { unpackStatus } from '../../supervise/status.ts';
import type { Status } from '../../supervise/status.ts';
import type { ServiceView } from '../../supervise/view.ts';

const ROOM = fileURLToPath(new URL('../../supervise/main.io.ts', import.meta.url));
const HOST = `
  const { runSupervise } = await import(${JSON.stringify(ROOM)});
  const { writeSync } = await import('node:fs');
  const [directory, socketPath] = process.argv.slice(1);
  try {
    process.exitCode = await runSupervise({ directory, socketPath, log: (line) => writeSync(2, line + '\\n') });
  } catch (thrown) {
    writeSync(2, thrown.message + '\\n');
    process.exitCode = 111;
  }
`;

const INHERITED_FD = 30;

export type Ran = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

export class Rig {
  readonly root = mkdtempSync(join(tmpdir(), 'rouse-supervise-'));
  readonly folder = join(this.root, 'service');
  readonly socketPath = join(this.root, 'run/supervise.sock');
  supervisor: ChildProcess | undefined;
  /** What all supervisors of this rig said on standard error. */
  said = '';

  constructor() {
    mkdirSync(this.folder);
  }

  /** Makes files below the folder; those named run, finish or check are executable. */
  write(files: Readonly<Record<string, string>>): void {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.folder, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
      if (/(^|\/)(run|finish|check)$/.test(name)) chmodSync(path, 0o755);
    }
  }

  /** @param prefix command that becomes the supervisor (unshare and the like). */
  start(...prefix: readonly string[]): void {
    const stdio: ('ignore' | 'pipe' | number)[] = Array.from({ length: INHERITED_FD }, () => 'ignore');
    stdio[2] = 'pipe';
    // Something that the supervisor itself inherits, at a number after a hole: no service may see it.
    stdio[INHERITED_FD] = 1;
    const words = [...prefix, process.execPath, '--input-type=module', '-e', HOST, this.folder, this.socketPath];
    const child = spawn(words[0] ?? '', words.slice(1), { stdio });
    child.stderr?.on('data', (chunk: Buffer) => {
      this.said += chunk.toString();
    });
    this.supervisor = child;
  }

  /** Sends the signal to the supervisor and waits for its end. @returns its exit code, or the signal that ended it. */
  end(signal: NodeJS.Signals): Promise<number | string | null> {
    const child = this.supervisor;
    this.supervisor = undefined;
    if (child === undefined) return Promise.resolve(null);
    if (child.exitCode !== null || child.signalCode !== null)
      return Promise.resolve(child.exitCode ?? child.signalCode);
    return new Promise((resolve) => {
      child.once('exit', (code, by) => resolve(code ?? by));
      child.kill(signal);
    });
  }

  /** Signals the process that starts the supervisor's services. @returns its pid; undefined where there is none. */
  signalSpawner(signal: NodeJS.Signals): number | undefined {
    const { pid } = this.supervisor ?? {};
    const spawner = (pid === undefined ? [] : childrenOf(pid)).find((child) =>
      (readIfThere(`/proc/${child}/cmdline`) ?? '').startsWith('rouse spawner'),
    );
    if (spawner !== undefined) kill(spawner, signal);
    return spawner;
  }

  async services(): Promise<readonly ServiceView[]> {
    return listServices(this.socketPath);
  }

  /** One service, once it is as asked. */
  until(name: string, what: string, is: (view: ServiceView) => boolean): Promise<ServiceView> {
    return eventually(`${name} ${what}`, async () => {
      const view = (await this.services().catch(() => [])).find((each) => each.name === name);
      return view !== undefined && is(view) ? view : undefined;
    });
  }

  /** The status file as the original clients read it. */
  status(name: string): Status | undefined {
    return unpackStatus(readFileSync(join(this.folder, name, 'supervise/status')));
  }

  /** Processes whose working directory is below the folder. */
  processes(): number[] {
    return readdirSync('/proc').flatMap((pid) => {
      if (!/^\d+$/.test(pid)) return [];
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(this.root) ? [Number(pid)] : [];
      } catch {
        return [];
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
    await eventually('all processes of the rig gone', () => {
      const left = this.processes();
      for (const pid of left) kill(pid);
      return left.length === 0 ? true : undefined;
    });
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Runs a command to its end; never rejects. */
export function run(command: string, ...argv: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, argv, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : 111;
      resolve({ exitCode, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
    });
  });
}

/** Looks until there is an answer. A bound far above what it takes: it turns a hang into a failure, and measures nothing. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const endMs = Date.now() + 30_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > endMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function childrenOf(pid: number): number[] {
  return (readIfThere(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** Unless it has ended by itself. */
export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself since it was listed.
  }
}
