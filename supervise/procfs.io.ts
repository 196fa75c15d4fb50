// supervise/procfs.io.ts - what the kernel says of processes.
//
// Owns: the boot's ID, a process's start time, who is left of a process group. Source: proc(5).
// What cannot be told (no descriptor is free, not even of the reserve) is thrown: it must never read as "it is dead".

import { readdirSync, readFileSync } from 'node:fs';
import { isShortage, withReserve } from './descriptors.io.ts';
import type { Member } from './trace.ts';
import { usageByMain } from './usage.ts';
import type { Usage } from './usage.ts';

type ProcessStat = {
  readonly parentPid: number;
  readonly isZombie: boolean;
  readonly groupId: number;
  /** Field 22, clock ticks since boot: with the pid and the boot ID it names one process for ever. */
  readonly startTime: string;
};

/** ID of this boot of the machine. */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Fields of /proc/PID/stat from the third on; undefined where no process has this pid. Throws where that cannot be told. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = withReserve(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
    // The name in parentheses may itself hold blanks and parentheses; the fields follow the last one.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (thrown) {
    if (isShortage(thrown)) throw thrown;
    return undefined;
  }
}

/** @returns undefined where no process has this pid. Throws where that cannot be told. */
function processStat(pid: number): ProcessStat | undefined {
  const fields = statFields(pid);
  const [state = '', parent = '', group = ''] = fields ?? [];
  const startTime = fields?.[19];
  if (startTime === undefined) return undefined;
  return { parentPid: Number(parent), isZombie: state === 'Z' || state === 'X', groupId: Number(group), startTime };
}

/** Start time of a living process; undefined for none and for a zombie. Throws where that cannot be told. */
export function livingStartTime(pid: number): string | undefined {
  const stat = pid === 0 ? undefined : processStat(pid);
  return stat === undefined || stat.isZombie ? undefined : stat.startTime;
}

/** Whether the process is still the one that began then; one that cannot be looked at counts as living. */
export function isLiving(pid: number, startTime: string): boolean {
  try {
    return livingStartTime(pid) === startTime;
  } catch {
    return true;
  }
}

/** A living process; undefined for none and for a zombie. Throws where that cannot be told. */
export function processOf(pid: number): Member | undefined {
  const stat = processStat(pid);
  return stat === undefined || stat.isZombie
    ? undefined
    : { pid, parentPid: stat.parentPid, startTime: stat.startTime };
}

/** Title of a spawner, and of what stands at its gate (spawner.pl). */
const SPAWNER_TITLE = 'rouse spawner';

/** The spawner that holds the process at its gate; undefined where it has long become what it was started as. */
export function gatekeeperOf(pid: number): number | undefined {
  const isSpawner = (each: number): boolean => {
    try {
      return withReserve(() => readFileSync(`/proc/${each}/cmdline`, 'latin1')).startsWith(SPAWNER_TITLE);
    } catch {
      return false;
    }
  };
  if (!isSpawner(pid)) return undefined;
  const parent = processStat(pid)?.parentPid ?? 0;
  return isSpawner(parent) ? parent : undefined;
}

/**
 * What the services with these main processes use. One scan of /proc, whatever their number. Clock ticks are hundredths of a
 * second and pages 4 KiB on every Linux that Node runs on. Throws where /proc cannot be looked at.
 */
export function usageOf(mains: readonly number[]): Map<number, Usage> {
  return usageByMain(
    mains,
    listPids().flatMap((pid) => {
      const fields = statFields(pid)?.map(Number) ?? [];
      const [, parentPid = 0, , sessionId = 0] = fields;
      const ticks = fields.slice(11, 15).reduce((sum, each) => sum + each, 0);
      const pages = fields[21] ?? Number.NaN;
      if (Number.isNaN(ticks + pages)) return [];
      return [{ pid, parentPid, sessionId, cpuMs: ticks * 10, residentBytes: pages * 4096 }];
    }),
  );
}

/** Pids of all processes. Throws where they cannot be listed. */
export function listPids(): number[] {
  return withReserve(() => readdirSync('/proc')).flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

/**
 * Whether a living process belongs to the group; zombies, which hold nothing, do not count. Costs a scan of /proc.
 * Throws where that cannot be told.
 */
export function groupHasLiving(groupId: number): boolean {
  return listPids().some((pid) => {
    const stat = processStat(pid);
    return stat !== undefined && stat.groupId === groupId && !stat.isZombie;
  });
}
