// supervise/trace.io.ts - fghack: the processes of a service that has put itself into the background.
//
// Owns: what a run is started with so that its descendants can be told, and finding them; the cgroup of setting `cgroup`.
// Does not own: which of them is the service (trace.ts), what the limits are (cgroup.ts).
//
// Two marks. A cgroup v2 folder of its own, where one can be made: nothing leaves it. And a FIFO on descriptor
// LIFELINE_FD, which descendants inherit unless they close everything: found by looking at that one descriptor of every
// process (10 ms for a thousand processes), only after a death or to end what is left, never periodically.

import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { reasonOf } from '../formats/errors.ts';
import { limitFiles, servicesCgroup } from './cgroup.ts';
import type { CgroupLimits } from './cgroup.ts';
import { makeFifos } from './commands.io.ts';
import { isShortage, withReserve } from './descriptors.io.ts';
import { errorCode, exists } from './directory.io.ts';
import { listPids, processOf } from './procfs.io.ts';
import { openFifo, readStateFile, replaceFile } from './statefile.io.ts';
import { ownCgroup } from './trace.ts';
import type { Member } from './trace.ts';

/** Above 255, where daemons that close "all" descriptors commonly stop. */
export const LIFELINE_FD = 300;

/** Each costs a walk through all processes; whoever is not found by then holds the FIFO where nobody looks for it. */
const LOOKS_MAX = 4;
const CGROUP_PATH_BYTES_MAX = 4096;

export type Marks = {
  /** For the run, as LIFELINE_FD; ours is closed after the start. */
  readonly lifelineFd: number;
  /** Folder to enter; undefined where there is no cgroup v2 or it may not be written. */
  readonly cgroup: string | undefined;
};

/** @param statePath the service's supervise/. */
export async function makeMarks(statePath: string): Promise<Marks> {
  const path = `${statePath}/lifeline.fifo`;
  if (!exists(path)) {
    const why = await makeFifos([path]);
    if (why !== undefined) throw new Error(why);
  }
  const cgroup = makeCgroup(statePath);
  return { lifelineFd: openFifo(path, constants.O_RDWR), cgroup };
}

function makeCgroup(statePath: string): string | undefined {
  try {
    return openCgroup(statePath);
  } catch {
    return undefined;
  }
}

/** Throws where there is no cgroup v2, or it may not be written. */
function openCgroup(statePath: string): string {
  const own = ownCgroup(readFileSync('/proc/self/mountinfo', 'utf8'), readFileSync('/proc/self/cgroup', 'utf8'));
  if (own === undefined) throw new Error('this machine has no cgroup v2 mounted');
  const path = `${servicesCgroup(own)}/${cgroupName(statePath)}`;
  if (!exists(path)) mkdirSync(path);
  closeSync(openSync(`${path}/cgroup.procs`, constants.O_WRONLY));
  // The next supervisor may live in another cgroup.
  replaceFile(`${statePath}/cgroup.path`, Buffer.from(`${path}\n`), 0o600);
  return path;
}

/**
 * The cgroup of a service with `cgroup`, its limits set.
 *
 * @returns its folder, to be entered before run. Throws with the reason where it, or one of the limits, cannot be had.
 */
export function makeLimitedCgroup(statePath: string, limits: CgroupLimits): string {
  let path: string;
  try {
    path = openCgroup(statePath);
  } catch (thrown) {
    throw new Error(`file cgroup: a cgroup cannot be made: ${reasonOf(thrown)}`, { cause: thrown });
  }
  try {
    setLimits(path, limits);
  } catch (thrown) {
    // Nothing is started in it.
    dropMarks(statePath);
    throw thrown;
  }
  return path;
}

function setLimits(path: string, limits: CgroupLimits): void {
  for (const { controller, file, content, isAsked } of limitFiles(limits)) {
    if (!exists(`${path}/${file}`)) {
      if (!isAsked) continue;
      enableController(dirname(path), controller);
    }
    try {
      writeFileSync(`${path}/${file}`, content);
    } catch (thrown) {
      throw new Error(`file cgroup: ${file} cannot be set: ${reasonOf(thrown)}`, { cause: thrown });
    }
  }
}

/** Throws with what to do about it. */
function enableController(parent: string, controller: string): void {
  const offered = readFileSync(`${parent}/cgroup.controllers`, 'latin1').trim().split(' ');
  if (!offered.includes(controller)) {
    throw new Error(
      `file cgroup: ${parent} has no ${controller} controller; cgroup.controllers there lists what it has`,
    );
  }
  try {
    writeFileSync(`${parent}/cgroup.subtree_control`, `+${controller}`);
  } catch (thrown) {
    if (errorCode(thrown) !== 'EBUSY') {
      throw new Error(`file cgroup: the ${controller} controller cannot be had: ${reasonOf(thrown)}`, {
        cause: thrown,
      });
    }
    throw new Error(
      `file cgroup: ${parent} holds processes itself, so none below it can be limited; ` +
        'start rouse supervise in a cgroup named supervisor (systemd 254: DelegateSubgroup=supervisor)',
      { cause: thrown },
    );
  }
}

function cgroupName(statePath: string): string {
  const { dev, ino } = statSync(statePath);
  return `rouse-${dev}-${ino}`;
}

/** What a copied directory says of the original's cgroup does not count. */
function cgroupOf(statePath: string): string | undefined {
  try {
    const path = readStateFile(`${statePath}/cgroup.path`, CGROUP_PATH_BYTES_MAX)?.trim();
    return path?.endsWith(`/${cgroupName(statePath)}`) === true ? path : undefined;
  } catch (thrown) {
    if (isShortage(thrown)) throw thrown;
    return undefined;
  }
}

/**
 * The living processes of the service. Throws where they cannot be told.
 *
 * A process that hands over and ends while it is looked at would hide the one it hands over to: nobody is found only
 * where nobody is marked.
 */
export function findMembers(statePath: string): Member[] {
  const cgroup = cgroupOf(statePath);
  for (let look = 1; ; look += 1) {
    const marked = new Set([...(cgroup === undefined ? [] : pidsOfCgroup(cgroup)), ...holders(statePath)]);
    const members = [...marked].flatMap((pid) => processOf(pid) ?? []);
    if (members.length > 0 || look === LOOKS_MAX) return members;
    if (marked.size === 0 && !isLifelineHeld(statePath)) return [];
  }
}

/** Whether anybody has it open to read: told at one moment, unlike a walk through all processes. */
function isLifelineHeld(statePath: string): boolean {
  try {
    closeSync(withReserve(() => openFifo(`${statePath}/lifeline.fifo`, constants.O_WRONLY)));
    return true;
  } catch (thrown) {
    if (isShortage(thrown)) throw thrown;
    return false;
  }
}

function pidsOfCgroup(path: string): number[] {
  try {
    return withReserve(() => readFileSync(`${path}/cgroup.procs`, 'latin1'))
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  } catch (thrown) {
    if (isShortage(thrown)) throw thrown;
    return [];
  }
}

function holders(statePath: string): number[] {
  const lifeline = lstatSync(`${statePath}/lifeline.fifo`, { throwIfNoEntry: false });
  if (lifeline?.isFIFO() !== true) return [];
  return listPids().flatMap((pid) => {
    try {
      const held = statSync(`/proc/${pid}/fd/${LIFELINE_FD}`, { throwIfNoEntry: false });
      return held?.ino === lifeline.ino && held.dev === lifeline.dev ? [pid] : [];
    } catch {
      // A process of another user, or one that has ended by now.
      return [];
    }
  });
}

/** Removes the cgroup of a service of which nothing is left. */
export function dropMarks(statePath: string): void {
  try {
    const cgroup = cgroupOf(statePath);
    if (cgroup === undefined) return;
    rmdirSync(cgroup);
  } catch {
    // Still in use, or gone already: the next start uses it again.
  }
}
