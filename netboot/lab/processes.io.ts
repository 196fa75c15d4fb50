// netboot/lab/processes.io.ts - processes that a lab started: marked when they start, so that none else is ever ended.
//
// A pid alone is not a process: it is reused. A mark is the pid with its start time and the machine's boot id.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessMark } from './rack.ts';

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Field 22 of /proc/PID/stat; the second field may hold blanks and parentheses, so counting starts behind it. */
function startTicks(pid: number): { state: string; ticks: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', ticks: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

/** @returns undefined if there is no such process (any more). */
export function markProcess(pid: number): ProcessMark | undefined {
  const found = startTicks(pid);
  return found === undefined ? undefined : { pid, startTicks: found.ticks, bootId: bootId() };
}

/** Whether the very process that was marked still runs; a zombie does not. */
export function isAlive(mark: ProcessMark): boolean {
  const found = startTicks(mark.pid);
  return found !== undefined && found.state !== 'Z' && found.ticks === mark.startTicks && mark.bootId === bootId();
}

/** Sends a signal to the marked process, or does nothing if it is gone. @returns whether it was there. */
export function signalProcess(mark: ProcessMark, signal: NodeJS.Signals): boolean {
  if (!isAlive(mark)) return false;
  try {
    process.kill(mark.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Waits until the process is gone. @returns false if it still runs after the time. */
export async function waitGone(mark: ProcessMark, timeoutMs: number): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 50) {
    if (!isAlive(mark)) return true;
    await sleep(50);
  }
  return !isAlive(mark);
}

/** Asks with `signal`, and after `patienceMs` ends it with KILL. */
export async function endProcess(mark: ProcessMark, signal: NodeJS.Signals, patienceMs: number): Promise<void> {
  if (!signalProcess(mark, signal)) return;
  if (await waitGone(mark, patienceMs)) return;
  signalProcess(mark, 'SIGKILL');
  await waitGone(mark, 5000);
}
