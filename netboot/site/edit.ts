// netboot/site/edit.ts - `rouse node set`: which keys of a node file may be set by a command, and the new text of the file.
//
// Owns: the table of settable keys and the reading of KEY=VALUE. Does not own the splice (formats/yaml/edit.ts), whether
// the result makes a valid site (site.ts), or the file (write.io.ts). To make a key settable, add a row. Pure.

import { parseDocument } from 'yaml';
import { setYamlValue } from '../../formats/yaml/edit.ts';
import { expandNoderange } from './noderange.ts';

/** How the value of a key is read from the command line. */
const SETTABLE = {
  profile: 'text',
  address: 'text',
  note: 'text',
  loader: 'text',
  memoryMb: 'yaml',
  macs: 'yaml',
  labels: 'text',
  vars: 'yaml',
} as const satisfies Record<string, 'text' | 'yaml'>;

/** These hold maps: labels.rack=r1, vars.workers=2. */
const MAPS: readonly string[] = ['labels', 'vars'];

export type Assignment = { readonly path: readonly [string, ...string[]]; readonly value: unknown };
type AssignmentResult =
  | { readonly ok: true; readonly assignment: Assignment }
  | { readonly ok: false; readonly why: string };

/** Reads "profile=lb", "vars.workers=2", "macs=[52:54:00:77:00:09]". */
function parseAssignment(text: string): AssignmentResult {
  const no = (why: string): AssignmentResult => ({ ok: false, why: `'${text}': ${why}` });
  const keys = Object.keys(SETTABLE).map((key) => (MAPS.includes(key) ? `${key}.NAME` : key));
  const match = /^([A-Za-z]+)(?:\.([A-Za-z0-9_-]+))?=(.*)$/s.exec(text);
  if (match === null) return no(`expected KEY=VALUE with a key of ${keys.join(', ')}`);
  const [, key = '', inner, words = ''] = match;
  if (!Object.hasOwn(SETTABLE, key) || MAPS.includes(key) !== (inner !== undefined)) {
    return no(`expected a key of ${keys.join(', ')}`);
  }
  const path: Assignment['path'] = inner === undefined ? [key] : [key, inner];
  if (SETTABLE[key as keyof typeof SETTABLE] === 'text') return { ok: true, assignment: { path, value: words } };
  const document = parseDocument(words);
  const value: unknown = document.errors.length > 0 ? undefined : document.toJS();
  const isPlain = ['string', 'number', 'boolean'].includes(typeof value) || Array.isArray(value);
  return isPlain
    ? { ok: true, assignment: { path, value } }
    : no('expected a text, a number, true or false, or [a, list]');
}

/** Reads a whole request: which nodes, and what to set on each of them. */
export function readNodeEdit(
  range: string,
  words: readonly string[],
):
  | { readonly ok: true; readonly names: readonly string[]; readonly assignments: readonly Assignment[] }
  | { readonly ok: false; readonly why: string } {
  const expanded = expandNoderange(range);
  if (!expanded.ok) return expanded;
  if (words.length === 0) return { ok: false, why: 'expected at least one KEY=VALUE' };
  const assignments: Assignment[] = [];
  for (const word of words) {
    const result = parseAssignment(word);
    if (!result.ok) return result;
    assignments.push(result.assignment);
  }
  return { ok: true, names: expanded.names, assignments };
}

/** The text of a node file with the assignments made, or why not. */
export function editNodeText(
  text: string,
  assignments: readonly Assignment[],
): { readonly ok: true; readonly text: string } | { readonly ok: false; readonly why: string } {
  let current = text;
  for (const { path, value } of assignments) {
    const result = setYamlValue(current, path, value);
    if (!result.ok) return result;
    current = result.text;
  }
  return { ok: true, text: current };
}

/** What changed in one file: "nodes/web1.yaml" and its lines with - and +. */
export type FileChange = { readonly file: string; readonly diff: readonly string[] };

/** The lines that differ, for the audit log and for people: "-profile: web", "+profile: lb". */
export function lineDiff(before: string, after: string): string[] {
  const old = before.split('\n');
  const next = after.split('\n');
  let start = 0;
  while (start < old.length && start < next.length && old[start] === next[start]) start += 1;
  let oldEnd = old.length;
  let nextEnd = next.length;
  while (oldEnd > start && nextEnd > start && old[oldEnd - 1] === next[nextEnd - 1]) {
    oldEnd -= 1;
    nextEnd -= 1;
  }
  return [
    ...old.slice(start, oldEnd).map((line) => `-${line}`),
    ...next.slice(start, nextEnd).map((line) => `+${line}`),
  ];
}
