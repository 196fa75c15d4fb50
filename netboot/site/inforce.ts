// netboot/site/inforce.ts - what is in force after the files were read: what they say, or the last of it that validated.
//
// Owns: that decision, and the line that tells it. Does not own reading the files (load.io.ts), whether they validate
// (site.ts), the copy that is kept over a restart (lastgood.io.ts). Pure.

import { type Problem, renderProblem } from '../../formats/yaml/document.ts';
import type { Site, SiteResult } from './site.ts';

/** What is in force, and whether that is what the files say. */
export type SiteState = {
  /** Undefined only where nothing ever validated. */
  readonly site: Site | undefined;
  /** Whether the files as they are now validate. */
  readonly isGood: boolean;
  /** What is wrong with the files as they are now. */
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** When the site in force was read, milliseconds since 1970. */
  readonly sinceMs: number;
};

export type Remembered = { readonly result: SiteResult; readonly sinceMs: number };

/**
 * The state after a reading.
 *
 * @param remembered what was in force before this start, as it validates now; asked only where nothing else is in force.
 * @returns the state and its line for the log.
 */
export function inForce(
  before: SiteState,
  read: SiteResult,
  remembered: () => Remembered | undefined,
  nowMs: number,
): { readonly state: SiteState; readonly line: string } {
  if (read.ok) {
    const { site, warnings } = read;
    return {
      state: { site, isGood: true, problems: [], warnings, sinceMs: nowMs },
      line: `configuration in force: ${site.nodes.size} nodes, ${site.profiles.size} profiles`,
    };
  }
  const state = { ...(before.site === undefined ? recalled(before, remembered()) : before), isGood: false };
  const { problems } = read;
  const [first] = problems;
  const what = first === undefined ? '' : renderProblem(first);
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more: rouse check)` : '';
  const consequence =
    state.site === undefined
      ? 'nothing is in force'
      : `the last good one, of ${new Date(state.sinceMs).toISOString()}, stays in force`;
  return { state: { ...state, problems }, line: `configuration refused: ${what}${more}; ${consequence}` };
}

/** The state with what was in force before this start, if that validates still. */
function recalled(before: SiteState, remembered: Remembered | undefined): SiteState {
  if (remembered?.result.ok !== true) return before;
  const { result, sinceMs } = remembered;
  return { ...before, site: result.site, warnings: result.warnings, sinceMs };
}
