// bench/processes.io.ts - the processes of one supervisor: told by a mark in their environment, weighed, ended.
//
// Owns: the mark. Every process that a supervisor starts inherits it, however often it forks; nothing else has it.
// Sources: proc(5) (environ, smaps_rollup, schedstat, cmdline).

import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const MARK = 'ROUSE_BENCH';
const END_TIMEOUT_MS = 30_000;

export type Weight = { readonly processes: number; readonly pssKiB: number };

/** The processes of one run. */
export class Herd {
  readonly #id = randomBytes(8).toString('hex');
  /** To be given to whatever is started. */
  readonly env = { [MARK]: this.#id };

  /** @returns pids; the services themselves (which end as `sleep`) are left out unless asked for. */
  pids(which: 'supervision' | 'all' = 'supervision'): number[] {
    const mark = `${MARK}=${this.#id}`;
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      if (!read(`/proc/${name}/environ`).split('\0').includes(mark)) return [];
      return which === 'supervision' && read(`/proc/${name}/cmdline`).startsWith('sleep\0') ? [] : [Number(name)];
    });
  }

  /** Proportional set size of all supervision: supervisors, loggers, helpers. */
  weigh(): Weight {
    const pids = this.pids();
    const pssKiB = pids.reduce(
      (sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0),
      0,
    );
    return { processes: pids.length, pssKiB };
  }

  /** Processor time that supervision has used so far, in ms; of processes that live. */
  cpuMs(): number {
    let nanoseconds = 0;
    for (const pid of this.pids()) {
      for (const task of list(`/proc/${pid}/task`)) {
        nanoseconds += Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0] ?? 0);
      }
    }
    return nanoseconds / 1e6;
  }

  /** Ends every process, supervisors first stopped so that they start nothing more. */
  async end(): Promise<void> {
    const endMs = performance.now() + END_TIMEOUT_MS;
    for (const pid of this.pids()) signal(pid, 'SIGSTOP');
    for (;;) {
      const left = this.pids('all');
      if (left.length === 0) return;
      if (performance.now() > endMs) throw new Error(`${left.length} processes do not end, ${left[0]} among them`);
      for (const pid of left) signal(pid, 'SIGKILL');
      await sleep(50);
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended since it was listed.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // A process that has ended, or a thread of it.
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
