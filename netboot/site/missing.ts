// netboot/site/missing.ts - the sentence for a node, a profile or a pool that there is not: what there is, and what to do.
//
// Does not own which there are. Pure.

import { Fault } from '../../formats/errors.ts';
import { nearest } from '../../formats/nearest.ts';

/** What is to be done where there is none of a kind at all. */
const NONE = {
  node: 'there is none yet: write nodes/NAME.yaml, or take a machine that was heard: rouse node ls --new',
  profile: 'there is none yet: write profiles/NAME.yaml',
  pool: 'there is none yet: write pools: in rouse.yaml',
} as const satisfies Record<string, string>;

/** More names than that are a list of their own. */
const MOST_NAMES = 8;

/** @param known the names that there are. @returns a Fault E_NOT_FOUND to be thrown. */
export function missing(kind: keyof typeof NONE, name: string, known: Iterable<string>): Fault {
  const names = [...known].sort();
  const near = nearest(name, names);
  const list = names.length <= MOST_NAMES ? `there are ${names.join(', ')}` : `see all with: rouse ${kind} ls`;
  const todo = names.length === 0 ? NONE[kind] : near === undefined ? list : `did you mean '${near}'?`;
  return new Fault('E_NOT_FOUND', { what: `there is no ${kind} '${name}'`, todo });
}
