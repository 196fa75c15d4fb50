// supervise/launch.io.ts - starting processes of service directories without the spawner (spawner.io.ts).
//
// Owns: what a start is told and answers, and the way by Node's own spawn, for machines and moments without the other.
// Does not own: whether and when to start (machine.ts).
//
// The gate: /bin/sh stands in front of ./run and waits for a line on a socket before it becomes ./run (same pid). The
// supervisor writes it once the record (record.ts) is on disk; if it is killed before, the shell reads the end of the
// socket and goes. So no process ever runs that the next supervisor does not know of.
// The same shell puts back the soft limit of open files, which Node raises to the hard one for itself and its children
// (libuv issue 3181). Not inherited: everything but the descriptors given here (Node opens with O_CLOEXEC; main.io.ts
// closes what it inherited itself). Own session and process group (setsid), unlike supervise 0.76.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { reasonOf } from '../formats/errors.ts';
import { lendReserve, withReserve } from './descriptors.io.ts';
import { livingStartTime } from './procfs.io.ts';
import { OPEN_FILES_SOFT } from './spawner.ts';

/** Exit code or signal where the kernel told; both undefined where it did not. */
export type OnDeath = (exitCode: number | undefined, signal: string | undefined) => void;

export type LaunchPlan = {
  /** Path of the service directory. */
  readonly base: string;
  /** "./run" and its arguments. */
  readonly argv: readonly string[];
  /** Added to our own environment; undefined removes. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Descriptors 0 to 2; a number is one of ours: 0, 1, 2 or a FIFO. */
  readonly stdin: number | 'ignore';
  readonly stdout: number;
  readonly stderr: number;
  /** Further descriptors of ours under numbers of the service's choice (notification-fd, the lifeline). */
  readonly extras?: readonly { readonly asFd: number; readonly fd: number }[];
  /** Folder of the cgroup v2 tree to enter before run. */
  readonly cgroup: string | undefined;
  readonly onExit: OnDeath;
};

export type Launched =
  | {
      readonly ok: true;
      readonly pid: number;
      /** With the pid and the boot's ID it names the process for ever. */
      readonly startTime: string;
      readonly openGate: () => void;
      /** Instead of opening it: the process leaves without having run anything. */
      readonly refuse: () => void;
    }
  | { readonly ok: false; readonly why: string };

/** Starts a process that waits at its gate. */
export function launch(plan: LaunchPlan): Launched {
  const { extras = [], cgroup } = plan;
  const gateFd = extras.some(({ asFd }) => asFd === 3) ? 4 : 3;
  const stdio: (number | 'ignore' | 'pipe' | undefined)[] = [plan.stdin, plan.stdout, plan.stderr];
  for (const { asFd, fd } of extras) stdio[asFd] = fd;
  stdio[gateFd] = 'pipe';
  // Holes up to the highest descriptor: 'ignore' above 2 means closed.
  const filled = Array.from(stdio, (entry) => entry ?? 'ignore');
  const enter = cgroup === undefined ? '' : `{ echo 0 >'${cgroup}/cgroup.procs'; } 2>/dev/null; `;
  const script = `read -r _ <&${gateFd} || exit 111; exec ${gateFd}<&-; ${enter}ulimit -S -n ${OPEN_FILES_SOFT} 2>/dev/null; exec "$@"`;
  const begin = (): ChildProcess =>
    spawn('/bin/sh', ['-c', script, 'rouse supervise', ...plan.argv], {
      cwd: plan.base,
      env: { ...process.env, ...plan.env },
      detached: true,
      stdio: filled,
    });
  let child: ChildProcess;
  let reader: number | undefined;
  try {
    const { stdin } = plan;
    if (typeof stdin === 'number' && stdin > 2) {
      // For reading alone: a logger that could write to its own input would never see its end.
      reader = withReserve(() => openSync(`/proc/self/fd/${stdin}`, constants.O_RDONLY));
      filled[0] = reader;
    }
    child = begin();
    if (child.pid === undefined) {
      child.once('error', () => undefined);
      child = lendReserve(begin);
    }
  } catch (thrown) {
    return { ok: false, why: `cannot start a process: ${reasonOf(thrown)}` };
  } finally {
    if (reader !== undefined) closeSync(reader);
  }
  const { pid } = child;
  if (pid === undefined) {
    // The reason arrives as an event on the next turn, too late to be told; it must be listened for all the same.
    child.once('error', () => undefined);
    return { ok: false, why: 'cannot start a process: the kernel refused (out of processes, memory or descriptors)' };
  }
  const gate = child.stdio[gateFd];
  const refuse = (): void => {
    if (gate instanceof Socket) gate.destroy();
  };
  child.unref();
  let startTime: string;
  try {
    startTime = livingStartTime(pid) ?? '';
  } catch (thrown) {
    // Without its start time no later supervisor could know it again.
    refuse();
    return { ok: false, why: reasonOf(thrown) };
  }
  child.once('exit', (code, signal) => plan.onExit(code ?? undefined, signal ?? undefined));
  return {
    ok: true,
    pid,
    startTime,
    openGate: () => {
      if (!(gate instanceof Socket)) return;
      // A process killed at its gate leaves a broken socket; its death is reported by exit.
      gate.on('error', () => gate.destroy());
      gate.write('\n', () => gate.destroy());
    },
    refuse,
  };
}
