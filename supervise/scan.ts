// supervise/scan.ts - which service directories are supervised: svscan's rules.
//
// Owns: comparing a listing of the scanned folder with what is supervised, and what to do about the difference.
// Does not own: reading the folder (supervisor.io.ts), opening a directory (open.io.ts).
//
// The rules, of svscan 0.76: names with a leading dot are skipped; what is not a directory is ignored; a service is its
// directory's device and inode, so a rename keeps it and two names for one directory are one service; whether it is
// logged is decided once, when it is first seen; removing a name stops nothing, it only ends the restarting of the
// supervise. A directory that was deleted under its service is let go once the service has ended (runsv locks up there:
// void-linux/runit issue 25). Here a name that cannot be followed (a dangling link) is also shown, with the reason.
// Templates (template.ts) are skipped. Source: daemontools 0.76 svscan.c. Pure.

import { isTemplate } from './template.ts';

/** One name of the scanned folder, links followed. */
export type Entry =
  | { readonly kind: 'directory'; readonly name: string; readonly id: string; readonly log: LogKind }
  | { readonly kind: 'unreadable'; readonly name: string; readonly why: string }
  | { readonly kind: 'other'; readonly name: string };

/** What takes the service's output: nobody, the program log/run, or rouse's own log writer (log/multilog). */
export type LogKind = 'none' | 'program' | 'writer';

/** Main part or its log. A log of the log writer is no part: it has no process and no state of its own. */
export type Part = 'main' | 'log';

/** One supervised directory with its log, as the shell keeps it. */
export type Slot = {
  /** "device:inode" of the directory. */
  readonly id: string;
  readonly name: string;
  readonly log: LogKind;
  /** The folder still has a name for it. */
  readonly isPresent: boolean;
  /** The directory itself was deleted; nothing can be started in it any more. */
  readonly isDeleted: boolean;
  /** Parts that are not open: never opened, failed to open, or closed after `exit`. */
  readonly closed: readonly Part[];
};

export type ScanAction =
  | { readonly kind: 'add'; readonly id: string; readonly name: string; readonly log: LogKind }
  | { readonly kind: 'open'; readonly id: string; readonly part: Part }
  | { readonly kind: 'rename'; readonly id: string; readonly name: string }
  | { readonly kind: 'absent'; readonly id: string }
  /** Close the part as soon as its process has ended. */
  | { readonly kind: 'release'; readonly id: string; readonly part: Part }
  | { readonly kind: 'drop'; readonly id: string };

export type ScanResult = {
  readonly actions: readonly ScanAction[];
  /** Names that cannot be supervised, and why: shown in `rouse status`. */
  readonly problems: readonly { readonly name: string; readonly why: string }[];
};

/** Kernel limit for one path component; longer names cannot exist, but a log path below them might not fit. */
const NAME_BYTES_MAX = 255;

/** What to do so that what is supervised agrees with the listing; actions in the order in which to do them. */
export function scan(slots: readonly Slot[], entries: readonly Entry[]): ScanResult {
  const problems: { name: string; why: string }[] = [];
  const found = new Map<string, Extract<Entry, { kind: 'directory' }>>();
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
      for (const part of slot.closed) actions.push({ kind: 'open', id: slot.id, part });
    } else if (slot.closed.length === (slot.log === 'program' ? 2 : 1)) {
      actions.push({ kind: 'drop', id: slot.id });
    } else {
      if (slot.isPresent) actions.push({ kind: 'absent', id: slot.id });
      if (slot.isDeleted)
        actions.push({ kind: 'release', id: slot.id, part: slot.closed.includes('main') ? 'log' : 'main' });
    }
  }
  for (const { id, name, log: present } of found.values()) {
    const log = new TextEncoder().encode(name).length <= NAME_BYTES_MAX ? present : 'none';
    actions.push({ kind: 'add', id, name, log });
    actions.push({ kind: 'open', id, part: 'main' });
    if (log === 'program') actions.push({ kind: 'open', id, part: 'log' });
  }
  return { actions, problems };
}
