// supervise/scan.ts - which service directories are supervised: svscan's rules.
//
// Owns: comparing a listing of the scanned folder with what is supervised, and what to do about the difference.
// Does not own: reading the folder (supervisor.io.ts), opening a directory (open.io.ts).
//
// The rules, of svscan 0.76: names with a leading dot are skipped; what is not a directory is ignored; a service is its
// directory's device and inode, so a rename keeps it and two names for one directory are one service; removing a name
// stops nothing, it only ends the restarting of the supervise. svscan decides once, when it first sees a directory, whether
// it is logged; here log/ may come, change and go while the service runs (logActions). A directory that was deleted under
// its service is let go once the service has ended (runsv locks up there: void-linux/runit issue 25). Here a name that
// cannot be followed (a dangling link) is also shown, with the reason. Templates (template.ts) are skipped.
// Source: daemontools 0.76 svscan.c. Pure.

import { isTemplate } from './template.ts';

/** One name of the scanned folder, links followed. */
export type Entry =
  | ({ readonly kind: 'directory'; readonly name: string; readonly id: string } & FoundLog)
  | { readonly kind: 'unreadable'; readonly name: string; readonly why: string }
  | { readonly kind: 'other'; readonly name: string };

/** What takes the service's output: nobody, the program log/run, or rouse's own log writer (log/multilog). */
export type LogKind = 'none' | 'program' | 'writer';

/** log/ as it is on disk. */
export type FoundLog = {
  /** `unmade`: it holds neither run nor multilog, so somebody is at work on it. */
  readonly log: LogKind | 'unmade';
  /** "device:inode" of log/; empty where there is none. */
  readonly logId: string;
};

/** Main part or its log. A log of the log writer is no part: it has no process and no state of its own. */
export type Part = 'main' | 'log';

/** One supervised directory with its log, as the shell keeps it. */
export type Slot = {
  /** "device:inode" of the directory. */
  readonly id: string;
  readonly name: string;
  readonly log: LogKind;
  /** Of the log/ that `log` is about. */
  readonly logId: string;
  /** log/ is gone: the next start has none. */
  readonly isLogGone: boolean;
  /** The living process writes into the log's FIFO: it keeps the output that it was started with. */
  readonly isLogFed: boolean;
  /** The folder still has a name for it. */
  readonly isPresent: boolean;
  /** The directory itself was deleted; nothing can be started in it any more. */
  readonly isDeleted: boolean;
  /** Parts that are not open: never opened, failed to open, or closed after `exit`. */
  readonly closed: readonly Part[];
};

export type ScanAction =
  | { readonly kind: 'add'; readonly id: string; readonly name: string; readonly log: LogKind; readonly logId: string }
  | { readonly kind: 'open'; readonly id: string; readonly part: Part }
  | { readonly kind: 'rename'; readonly id: string; readonly name: string }
  | { readonly kind: 'absent'; readonly id: string }
  /** From now on this takes its output. */
  | { readonly kind: 'log'; readonly id: string; readonly log: LogKind; readonly logId: string }
  /** log/ is gone: nothing that starts from now on writes to it. */
  | { readonly kind: 'unlog'; readonly id: string }
  /** The logger ends, another will read on from the same FIFO. */
  | { readonly kind: 'end-logger'; readonly id: string }
  /** Close the part as soon as its process has ended. */
  | { readonly kind: 'release'; readonly id: string; readonly part: Part }
  | { readonly kind: 'drop'; readonly id: string };

export type ScanResult = {
  readonly actions: readonly ScanAction[];
  /** Names that cannot be supervised, and why: shown in `rouse status`. */
  readonly problems: readonly { readonly name: string; readonly why: string }[];
};

type Directory = Extract<Entry, { kind: 'directory' }>;

/** Kernel limit for one path component; longer names cannot exist, but a log path below them might not fit. */
const NAME_BYTES_MAX = 255;

/** What to do so that what is supervised agrees with the listing; actions in the order in which to do them. */
export function scan(slots: readonly Slot[], entries: readonly Entry[]): ScanResult {
  const problems: { name: string; why: string }[] = [];
  const found = new Map<string, Directory>();
  for (const entry of [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.') || entry.kind === 'other' || isTemplate(entry.name)) continue;
    if (entry.kind === 'unreadable') {
      problems.push({ name: entry.name, why: entry.why });
      continue;
    }
    const other = found.get(entry.id);
    if (other === undefined) found.set(entry.id, entry);
    // The name by which it is already supervised wins over another name for the same directory.
    else if (slots.some((slot) => slot.id === entry.id && slot.name === entry.name)) found.set(entry.id, entry);
  }
  const actions: ScanAction[] = [];
  for (const slot of slots) {
    const entry = found.get(slot.id);
    found.delete(slot.id);
    if (entry !== undefined) {
      if (entry.name !== slot.name || !slot.isPresent) actions.push({ kind: 'rename', id: slot.id, name: entry.name });
      actions.push(...logActions(slot, entry), ...openActions(slot, entry));
    } else if (slot.closed.length === (slot.log === 'program' ? 2 : 1)) {
      actions.push({ kind: 'drop', id: slot.id });
    } else {
      if (slot.isPresent) actions.push({ kind: 'absent', id: slot.id });
      if (slot.isDeleted)
        actions.push({ kind: 'release', id: slot.id, part: slot.closed.includes('main') ? 'log' : 'main' });
    }
  }
  for (const entry of found.values()) {
    const { id, name, logId } = entry;
    const present = logOf(entry);
    // As svscan, which takes every log/ for one: its logger fails until there is a run.
    const log = present === 'unmade' ? 'program' : present;
    actions.push({ kind: 'add', id, name, log, logId });
    actions.push({ kind: 'open', id, part: 'main' });
    if (log === 'program') actions.push({ kind: 'open', id, part: 'log' });
  }
  return { actions, problems };
}

function logOf({ name, log }: Directory): FoundLog['log'] {
  return new TextEncoder().encode(name).length <= NAME_BYTES_MAX ? log : 'none';
}

/** Whether the slot's log is what its log/ says; one that is being made says nothing yet. */
export function isLogAsFound(slot: Pick<Slot, 'log' | 'logId' | 'isLogGone'>, { log, logId }: FoundLog): boolean {
  if (log === 'unmade') return true;
  if (log === 'none') return slot.log === 'none' || slot.isLogGone;
  return log === slot.log && logId === slot.logId && !slot.isLogGone;
}

/**
 * What to do about log/ of a directory that is there.
 *
 * The FIFO between service and logger outlives both, so whoever reads it next goes on where the last one ended. A log that
 * has gone keeps its logger until the service no longer writes to it.
 */
function logActions(slot: Slot, entry: Directory): ScanAction[] {
  const { id } = slot;
  const log = logOf(entry);
  const isLoggerOpen = slot.log === 'program' && !slot.closed.includes('log');
  if (log === 'unmade') return [];
  const take: ScanAction = { kind: 'log', id, log, logId: entry.logId };
  if (log === 'none' && slot.log !== 'none') {
    if (!slot.isLogFed && !isLoggerOpen) return [take];
    const gone: ScanAction = { kind: 'unlog', id };
    return slot.isLogFed ? [gone] : [gone, { kind: 'release', id, part: 'log' }];
  }
  if (isLogAsFound(slot, { log, logId: entry.logId })) return [];
  // Two that read one FIFO at a time would tear lines.
  const isAnother = log !== slot.log || entry.logId !== slot.logId;
  return isAnother && isLoggerOpen ? [{ kind: 'end-logger', id }] : [take];
}

/** The parts to open. The logger that follows the log writer waits for the next scan: by then that one has let go. */
function openActions(slot: Slot, entry: Directory): ScanAction[] {
  const log = logOf(entry);
  const isLogger = log === 'program' || (log === 'unmade' && slot.log === 'program');
  const isClosed = slot.log === 'none' || slot.closed.includes('log');
  return [
    ...(slot.closed.includes('main') ? [{ kind: 'open', id: slot.id, part: 'main' } as const] : []),
    ...(isLogger && isClosed ? [{ kind: 'open', id: slot.id, part: 'log' } as const] : []),
  ];
}
