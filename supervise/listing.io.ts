// supervise/listing.io.ts - all that is supervised, as people and programs are shown it.
//
// Owns: which rows there are: a service, its logger or its written log, what cannot be opened, the log writer, a spawner
// that had to be replaced or is not to be had.
// Does not own: a row (view.ts).

import { LOG_WRITER_NAME } from './logs.io.ts';
import type { LogWriterHost } from './logs.io.ts';
import { nameOf, partsOf } from './slot.io.ts';
import type { SlotState } from './slot.io.ts';
import type { Unscannable } from './slots.io.ts';
import type { Spawner } from './spawner.io.ts';
import type { Unit } from './unit.io.ts';
import { blockedView, viewOf } from './view.ts';
import type { ServiceView } from './view.ts';

/** @param shown by the names that people see. @param directory the scanned folder. */
export function listAll(
  shown: ReadonlyMap<string, SlotState>,
  unscannable: readonly Unscannable[],
  logWriter: LogWriterHost,
  directory: string,
  spawner: Spawner['row'],
): ServiceView[] {
  const pathOf = (name: string): string => `${directory}/${name}`;
  const views = [...shown].flatMap(([name, slot]) => [
    ...writtenLog(slot, `${name}/log`, logWriter, pathOf(slot.name)),
    ...partsOf(slot).map((part): ServiceView => {
      const shownName = nameOf({ name }, part);
      const unit = slot.units.get(part);
      return unit === undefined
        ? blockedView(shownName, slot.problems.get(part) ?? 'it is being opened', Date.now(), pathOf(slot.name))
        : {
            ...viewOf(shownName, unit.service, slot.isPresent, pathOf(slot.name)),
            why: unit.why,
            pending: part === 'main' ? pendingOf(slot, unit) : undefined,
          };
    }),
  ]);
  const blocked = unscannable.map(({ name, why }) => blockedView(name, why, Date.now(), pathOf(name)));
  const { unit } = logWriter;
  const writer = unit === undefined ? [] : [viewOf(LOG_WRITER_NAME, unit.service, true, logWriter.folder)];
  return [...views, ...blocked, ...writer, ...spawnerRow(spawner, directory)].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
}

/** No service has the name: svscan skips names with a leading dot. */
const SPAWNER_NAME = '.spawner';

function spawnerRow(row: Spawner['row'], directory: string): ServiceView[] {
  if (row === undefined) return [];
  const { why, changedAtMs, ...shown } = row;
  return [{ ...blockedView(SPAWNER_NAME, why, changedAtMs, directory), ...shown }];
}

function pendingOf({ log, problems }: SlotState, unit: Unit): string | undefined {
  const why = log === 'none' ? problems.get('log') : undefined;
  return why === undefined ? unit.pending : `log/ cannot be taken: ${why}`;
}

function writtenLog(slot: SlotState, name: string, { unit, why }: LogWriterHost, path: string): ServiceView[] {
  if (slot.log !== 'writer') return [];
  return unit === undefined
    ? [blockedView(name, why ?? 'the log writer is being started', Date.now(), path)]
    : [{ ...viewOf(name, unit.service, slot.isPresent, path), why: `written by ${LOG_WRITER_NAME}` }];
}
