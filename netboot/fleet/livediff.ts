// netboot/fleet/livediff.ts - `rouse node diff`: the live files that a node should have now against those it says to have.
//
// Owns: the comparison and its words. Does not own rendering (fleet.io.ts) or the line diff (site/edit.ts). Pure.

import type { LiveFiles } from './live.ts';
import { lineDiff } from '../site/edit.ts';

export type LiveDiff = {
  /** What it should have; undefined where its image has no live files, or they do not render. */
  readonly revision: string | undefined;
  readonly appliedRevision: string | undefined;
  readonly isSame: boolean;
  /** Why nothing can be compared, or what stands in the way, in words. */
  readonly notes: readonly string[];
  /** The lines that differ, by file: "-" on the node, "+" as it should be. */
  readonly files: readonly { readonly path: string; readonly diff: readonly string[] }[];
};

export type LiveFacts = {
  /** What it should have now; undefined where the image has no live files, or they do not render. */
  readonly now: LiveFiles | undefined;
  readonly problem: string | undefined;
  readonly appliedRevision: string | undefined;
  /** The files of the applied revision, while they are remembered. */
  readonly applied: LiveFiles | undefined;
};

export function liveDiff(
  { now, problem, appliedRevision, applied }: LiveFacts,
  refused: readonly { readonly path: string; readonly detail: string }[],
): LiveDiff {
  const notes = refused.map(
    ({ path, detail }) => `${path} was refused by its check, the old one is in force: ${detail}`,
  );
  if (problem !== undefined) notes.push(`cannot be rendered: ${problem}`);
  else if (now === undefined) notes.push('its image has no live files');
  else if (appliedRevision === undefined) notes.push('it has not reported any revision yet');
  else if (applied === undefined && appliedRevision !== now.revision) {
    notes.push(`what revision ${appliedRevision} held is not known any more: every file is shown whole`);
  }
  const isSame = now !== undefined && now.revision === appliedRevision && refused.length === 0;
  const files = now === undefined || now.revision === appliedRevision ? [] : diffOf(applied, now);
  return { revision: now?.revision, appliedRevision, isSame, notes, files };
}

function diffOf(applied: LiveFiles | undefined, now: LiveFiles): LiveDiff['files'] {
  const decode = (content: Uint8Array | undefined): string => new TextDecoder().decode(content);
  const old = new Map((applied?.files ?? []).map(({ path, content }) => [path, decode(content)]));
  return now.files.flatMap(({ path, content }) => {
    const diff = lineDiff(old.get(path) ?? '', decode(content));
    return diff.length === 0 ? [] : [{ path, diff }];
  });
}
