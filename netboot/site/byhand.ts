// netboot/site/byhand.ts - what was edited without a command: the difference between two readings of the files.
//
// Owns: which files differ and how, what of it commands have told already, and how much is told. Does not own reading (load.io.ts)
// or the audit log (write.io.ts). Pure.

import { type FileChange, lineDiff } from './edit.ts';
import type { SiteTexts } from './files.ts';

const MOST_FILES = 200;
const MOST_LINES = 200;

/** Every text of a site by its path. */
export function textsByPath({ rouse, profiles, nodes, roles }: SiteTexts): Map<string, string> {
  const all = [...(rouse === undefined ? [] : [rouse]), ...profiles.values(), ...nodes.values(), ...roles.values()];
  return new Map(all.map(({ path, text }) => [path, text]));
}

/**
 * The files that differ, in order of their paths.
 *
 * @param told what commands wrote, and told of themselves: a file that still says that is nobody's edit.
 */
export function editedByHand(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
  told: ReadonlyMap<string, string>,
): FileChange[] {
  const changes: FileChange[] = [];
  for (const path of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const old = before.get(path);
    const now = after.get(path);
    if (old === now || (now !== undefined && told.get(path) === now)) continue;
    if (changes.length === MOST_FILES) {
      changes.push({ file: '…', diff: ['more files than are told here'] });
      break;
    }
    const diff = [
      ...(old === undefined ? ['new file'] : now === undefined ? ['file removed'] : []),
      ...lineDiff(old ?? '', now ?? '').filter((line) => line !== '+' && line !== '-'),
    ];
    const more = diff.length - MOST_LINES;
    changes.push({ file: path, diff: more > 0 ? [...diff.slice(0, MOST_LINES), `… and ${more} more lines`] : diff });
  }
  return changes;
}
