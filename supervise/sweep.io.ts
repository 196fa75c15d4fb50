// supervise/sweep.io.ts - signals to a service's processes, and ending what a run has left.
//
// Owns: sending, and telling whether anything of a process group, of a cgroup or with the lifeline is left.
// Does not own: when and with which signal (machine.ts), finding members (trace.io.ts).

import { groupHasLiving, livingStartTime } from './procfs.io.ts';
import { isOurGroup } from './record.ts';
import { dropMarks, findMembers } from './trace.io.ts';

/** @returns false where nobody was there to get it. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** What a run was started with, and by which it can be told what is its. */
export type Run = {
  readonly groupId: number;
  /** Of its first process, the leader of the group. */
  readonly startTime: string | undefined;
  /** Its supervise/, where it has marks (fghack, a cgroup). */
  readonly markedAt: string | undefined;
};

/** Sends the signal (undefined: none) to what is left. @returns whether anything is. Throws where that cannot be told. */
export function sweep({ groupId, startTime, markedAt }: Run, signal: NodeJS.Signals | undefined): boolean {
  const isGroupLeft = sweepGroup(groupId, startTime, signal);
  return markedAt === undefined ? isGroupLeft : sweepMembers(markedAt, signal) || isGroupLeft;
}

function sweepMembers(statePath: string, signal: NodeJS.Signals | undefined): boolean {
  const members = findMembers(statePath);
  for (const { pid } of members) {
    if (signal !== undefined) sendSignal(pid, signal);
    if (signal === 'SIGTERM') sendSignal(pid, 'SIGCONT');
  }
  if (members.length === 0) dropMarks(statePath);
  return members.length > 0;
}

function sweepGroup(groupId: number, startTime: string | undefined, signal: NodeJS.Signals | undefined): boolean {
  if (groupId === 0 || !isOurGroup(livingStartTime(groupId), startTime)) return false;
  if (!sendSignal(-groupId, signal ?? 0)) return false;
  // A stopped process acts on TERM only once it is continued.
  if (signal === 'SIGTERM') sendSignal(-groupId, 'SIGCONT');
  return groupHasLiving(groupId);
}
