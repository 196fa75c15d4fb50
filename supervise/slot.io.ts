// supervise/slot.io.ts - one slot: a service directory, its log, and the FIFO between them.
//
// Owns: what the supervisor keeps of a directory (its open descriptor, its units, the log's FIFO) and the descriptors
// that each side starts with. Does not own: when slots come and go (scan.ts), opening (open.io.ts), the loop (supervisor.io.ts).

import { constants, fstatSync, openSync } from 'node:fs';
import { pathOfFd } from './directory.io.ts';
import type { StandardStreams } from './host.io.ts';
import type { OpenRequest } from './open.io.ts';
import type { LogKind, Part, Slot } from './scan.ts';
import type { Ordered } from './shutdown.ts';
import { openFifo } from './statefile.io.ts';
import type { Unit } from './unit.io.ts';

export type SlotState = {
  readonly id: string;
  name: string;
  log: LogKind;
  /** "device:inode" of log/. */
  logId: string;
  /** log/ is gone; its logger stays for as long as the service writes to it. */
  isLogGone: boolean;
  /** Text of log/multilog, where the log writer writes it. */
  script: string;
  isPresent: boolean;
  readonly fd: number;
  readonly units: Map<Part, Unit>;
  /** Why a part could not be opened. */
  readonly problems: Map<Part, string>;
  /** Our end of the log's FIFO: keeps it alive while neither side runs. */
  logFd: number | undefined;
  readonly asked: Set<Part>;
};

/** The parts that the slot has. */
export function partsOf({ log }: SlotState): readonly Part[] {
  return log === 'program' ? ['main', 'log'] : ['main'];
}

/** What a part is called: "web", "web/log". */
export function nameOf({ name }: { readonly name: string }, part: Part): string {
  return part === 'main' ? name : `${name}/log`;
}

/**
 * By what each slot is known to people. Where a directory was removed and another has its name, the one that is there
 * has the name, the others run on as "web (removed)", "web (removed 2)".
 */
export function shownNames(slots: readonly SlotState[]): Map<SlotState, string> {
  const taken = new Set<string>();
  const names = new Map<SlotState, string>();
  for (const slot of slots.toSorted((a, b) => Number(b.isPresent) - Number(a.isPresent))) {
    let shown = slot.name;
    for (let copy = 1; taken.has(shown); copy += 1) {
      shown = `${slot.name} (removed${copy === 1 ? '' : ` ${copy}`})`;
    }
    taken.add(shown);
    names.set(slot, shown);
  }
  return names;
}

/** The slot as scan.ts looks at it. */
export function slotFacts(slot: SlotState): Slot {
  const closed = partsOf(slot).filter((part) => slot.units.get(part)?.isOpen !== true);
  const isDeleted = fstatSync(slot.fd).nlink === 0;
  const { id, name, log, logId, isLogGone, isPresent } = slot;
  return { id, name, log, logId, isLogGone, isLogFed: isLogFed(slot), isPresent, isDeleted, closed };
}

function isLogFed({ log, units }: SlotState): boolean {
  const { pid = 0, logged } = units.get('main')?.service ?? {};
  // Where a record of the first days does not say it: then log/ could not come later.
  return pid !== 0 && (logged ?? log !== 'none');
}

/** The slot as shutdown.ts looks at it. @param name of no other slot. */
export function orderedFacts(slot: SlotState, name: string): Ordered {
  const state = (part: Part): Ordered['main'] => {
    if (slot.units.get(part)?.isOpen !== true) return 'closed';
    return slot.asked.has(part) ? 'stopping' : 'open';
  };
  return {
    name,
    depends: slot.units.get('main')?.depends ?? [],
    main: state('main'),
    log: state('log'),
  };
}

const LOG_FIFO = 'log.fifo';

export function logFifoOf(slot: SlotState): string {
  return `${pathOfFd(slot.fd)}/supervise/${LOG_FIFO}`;
}

/** Whether what starts now writes to the log. */
function isLogged({ log, isLogGone }: SlotState): boolean {
  return log !== 'none' && !isLogGone;
}

/** What to open for a part. Throws where the log directory cannot be. @param beforeStart of the service itself. */
export function openRequest(slot: SlotState, part: Part, beforeStart: () => Promise<void>): OpenRequest {
  const base = pathOfFd(slot.fd);
  if (part === 'main') {
    return {
      name: slot.name,
      base,
      fifos: slot.log === 'none' ? [] : [LOG_FIFO],
      ownFds: [],
      streams: () => mainStreams(slot),
      isLogged: () => isLogged(slot),
      beforeStart,
    };
  }
  const fd = openSync(`${base}/log`, constants.O_RDONLY | constants.O_DIRECTORY);
  return { name: nameOf(slot, part), base: pathOfFd(fd), fifos: [], ownFds: [fd], streams: () => logStreams(slot) };
}

/**
 * The log's FIFO, held open by us from the first start of either side. We and the service hold it for reading and
 * writing, so that a writer without a reader blocks instead of dying; the logger only reads, so that it sees the end
 * once service and supervisor are both gone.
 */
export function holdLog(slot: SlotState): number {
  slot.logFd ??= openFifo(logFifoOf(slot), constants.O_RDWR, true);
  return slot.logFd;
}

function mainStreams(slot: SlotState): StandardStreams {
  return { stdin: 'ignore', stdout: isLogged(slot) ? holdLog(slot) : 1 };
}

/** The spawner opens it anew, for reading alone. */
function logStreams(slot: SlotState): StandardStreams {
  return { stdin: holdLog(slot), stdout: 1 };
}
