// supervise/record.ts - supervise/adopt.json: what the next supervisor must know to take a service over.
//
// Owns: the record's form, and what becomes of a service whose supervisor died.
// Does not own: reading it and looking at processes (unit.io.ts).
//
// The record is on disk before the process runs (launch.ts gates it) and before the status file says so. A pid is
// trusted only together with the start time that /proc gives for it and the boot's ID: pids are reused.
// All records have one size, so that on a full disk the next one goes where the last one is (rewriteFile).
// Times of the monotonic clock stay good over a supervisor's death, not over a reboot; hence the boot ID covers all.
// To keep another field over the supervisor's death, add it to KEPT. Pure.

import { newService } from './machine.ts';
import type { Death, Event, Moment, Service, Settings } from './service.ts';

const VERSION = 1;
/** One page: several times what a record says. */
const RECORD_BYTES = 4096;

const KEPT = [
  'phase',
  'want',
  'exiting',
  'pid',
  'groupId',
  'paused',
  'gotTerm',
  'ready',
  'traced',
  'logged',
  'edition',
  'changedAt',
  'startedMs',
  'notBeforeMs',
  'shortRuns',
  'starts',
  'lastDeath',
] as const satisfies readonly (keyof Service)[];

type Kept = Pick<Service, (typeof KEPT)[number]>;

export type Adoptable = {
  readonly kept: Kept;
  /** Field 22 of /proc/PID/stat of the recorded pid, in clock ticks since boot; undefined without a process. */
  readonly startTime: string | undefined;
  readonly bootId: string;
  /** "device:inode" of the service directory; undefined in the records of 0.1's first days. */
  readonly directoryId: string | undefined;
};

/** The file's content: JSON, blanks, a newline. */
export function encodeRecord(
  service: Service,
  startTime: string | undefined,
  bootId: string,
  directoryId?: string,
): string {
  const kept = Object.fromEntries(KEPT.map((key) => [key, service[key]]));
  const json = JSON.stringify({ version: VERSION, bootId, directoryId, startTime, kept });
  return `${json.padEnd(RECORD_BYTES - 1)}\n`;
}

/** @returns undefined for anything that is not a record of this version; never throws. */
export function decodeRecord(text: string): Adoptable | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value['version'] !== VERSION || typeof value['bootId'] !== 'string') return undefined;
  const { kept, startTime, directoryId } = value;
  if (directoryId !== undefined && typeof directoryId !== 'string') return undefined;
  if (!isObject(kept) || (startTime !== undefined && typeof startTime !== 'string')) return undefined;
  return isKept(kept) ? { kept, startTime, bootId: value['bootId'], directoryId } : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const isPid = (value: unknown): boolean => isCount(value) && Number.isInteger(value) && value !== 1;
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const oneOf =
  (...words: readonly string[]) =>
  (value: unknown): boolean =>
    typeof value === 'string' && words.includes(value);

const FIELD_CHECKS = {
  phase: oneOf('down', 'waiting', 'starting', 'up', 'tracing', 'clearing', 'finishing', 'closed'),
  want: oneOf('up', 'down', 'once'),
  exiting: isFlag,
  pid: isPid,
  groupId: isPid,
  paused: isFlag,
  gotTerm: isFlag,
  ready: isFlag,
  // Not in the records of 0.1's first days.
  traced: (value) => value === undefined || isFlag(value),
  logged: (value) => value === undefined || isFlag(value),
  edition: (value) => value === undefined || typeof value === 'string',
  changedAt: (value) => isObject(value) && isCount(value['unixS']) && isCount(value['nanoseconds']),
  startedMs: (value) => value === undefined || isCount(value),
  notBeforeMs: isCount,
  shortRuns: isCount,
  starts: isCount,
  lastDeath: (value) =>
    value === undefined ||
    (isObject(value) && isCount(value['atMs']) && ['string', 'undefined'].includes(typeof value['why'])),
} as const satisfies Record<keyof Kept, (value: unknown) => boolean>;

function isKept(value: Record<string, unknown>): value is Record<string, unknown> & Kept {
  return KEPT.every((key) => FIELD_CHECKS[key](value[key]));
}

/**
 * Why a record is not to be believed here: a copied directory brings the record of the original, whose process this
 * service must neither take for its own nor end.
 *
 * @param directoryId of the directory that the record lies in. @param holder name of another service that has its pid.
 */
export function strangerOf(
  record: Adoptable | undefined,
  directoryId: string,
  holder: string | undefined,
): string | undefined {
  if (record === undefined) return undefined;
  if (record.directoryId !== undefined && record.directoryId !== directoryId)
    return 'it was written for another directory';
  return holder === undefined ? undefined : `its pid ${record.kept.pid} is that of ${holder}`;
}

/** What the shell found out about the recorded process. */
export type Finding = {
  readonly bootId: string;
  /** Start time of the process that has the recorded pid now; undefined = there is none, or a zombie. */
  readonly startTimeNow: string | undefined;
  readonly hasDownFile: boolean;
  readonly settings: Settings;
};

/** The service as its supervisor left it, and the events to feed it, in order. */
export function recover(
  record: Adoptable | undefined,
  finding: Finding,
  moment: Moment,
): { readonly service: Service; readonly events: readonly Event[] } {
  if (record === undefined || record.bootId !== finding.bootId || record.kept.phase === 'closed') {
    return { service: newService(finding.hasDownFile ? 'down' : 'up', moment), events: [{ kind: 'begin' }] };
  }
  const { kept } = record;
  const service: Service = { ...newService(kept.want, moment), ...kept, phase: 'down', trouble: undefined };
  if (kept.pid !== 0) {
    const phase = kept.phase === 'finishing' ? 'finishing' : 'up';
    const adopt: Event = { kind: 'adopt', phase, settings: finding.settings };
    if (finding.startTimeNow !== undefined && finding.startTimeNow === record.startTime) {
      return { service, events: [adopt] };
    }
    // It died while nobody looked: the same way as any death, so that what it left is ended and ./finish runs.
    const death: Death = { exitCode: undefined, signal: undefined, atMs: moment.wall.unixS * 1000 };
    return { service, events: [adopt, { kind: 'died', pid: kept.pid, death }] };
  }
  if (kept.phase === 'clearing') {
    const death: Death = kept.lastDeath ?? { exitCode: undefined, signal: undefined, atMs: moment.wall.unixS * 1000 };
    return {
      service,
      events: [
        { kind: 'adopt', phase: 'up', settings: finding.settings },
        { kind: 'died', pid: 0, death },
      ],
    };
  }
  const startWasDue = kept.phase === 'waiting' || kept.phase === 'starting';
  return { service, events: [kept.want === 'once' && startWasDue ? { kind: 'once' } : { kind: 'begin' }] };
}

/**
 * Whether signals may go to a process group: not when its number now belongs to a process that is not the leader we
 * knew. While members of the old group live the kernel gives the number to nobody else.
 */
export function isOurGroup(leaderStartTimeNow: string | undefined, startTime: string | undefined): boolean {
  return leaderStartTimeNow === undefined || leaderStartTimeNow === startTime;
}
