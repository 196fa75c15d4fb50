// netboot/site/noderange.ts - names of many nodes in one word: web[01-20], r[1-3]n[01,05,10-12], web1,web2.
//
// Owns: the notation and its bound. Does not own which nodes exist. A range keeps the width of its first number:
// [01-20] is 01, 02, …; [1-20] is 1, 2, …. Source: the notation of pdsh and ClusterShell. Pure.

/** A typing slip such as [1-99999999] must not fill memory. */
const MOST_NAMES = 20_000;

export type NamesResult =
  | { readonly ok: true; readonly names: readonly string[] }
  | { readonly ok: false; readonly why: string };

/** @returns the names in order, each once; or what is wrong with the text. Never throws. */
export function expandNoderange(text: string): NamesResult {
  const names = new Set<string>();
  for (const word of splitOutside(text)) {
    if (word === '') return { ok: false, why: `'${text}' has an empty name` };
    const expanded = expandWord(word);
    if (typeof expanded === 'string') return { ok: false, why: expanded };
    for (const name of expanded) names.add(name);
    if (names.size > MOST_NAMES) return tooMany(text);
  }
  return { ok: true, names: [...names] };
}

function tooMany(text: string): NamesResult {
  return { ok: false, why: `'${text}' names more than ${MOST_NAMES} nodes` };
}

/** Splits at the commas that stand outside brackets. */
function splitOutside(text: string): string[] {
  const words: string[] = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '[') depth += 1;
    if (character === ']') depth -= 1;
    if (character === ',' && depth <= 0) words.push('');
    else words[words.length - 1] += character;
  }
  return words;
}

function expandWord(word: string): string[] | string {
  let names = [''];
  for (const part of word.match(/\[[^[\]]*\]|[^[\]]+|[[\]]/g) ?? []) {
    if (part === '[' || part === ']') return `'${word}' has a bracket without its partner`;
    const choices = part.startsWith('[') ? expandBracket(part.slice(1, -1)) : [part];
    if (typeof choices === 'string') return choices;
    if (names.length * choices.length > MOST_NAMES) return `'${word}' names more than ${MOST_NAMES} nodes`;
    names = names.flatMap((name) => choices.map((choice) => name + choice));
  }
  return names;
}

function expandBracket(inside: string): string[] | string {
  const choices: string[] = [];
  for (const item of inside.split(',')) {
    const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(item);
    if (match === null) return `[${inside}]: expected numbers and ranges such as [01-20] or [1,3,5-7]`;
    const [, first = '', last = first] = match;
    const width = first.startsWith('0') ? first.length : 0;
    if (Number(last) < Number(first)) return `[${inside}]: ${first} is above ${last}`;
    if (Number(last) - Number(first) >= MOST_NAMES) return `[${inside}] names more than ${MOST_NAMES} nodes`;
    for (let number = Number(first); number <= Number(last); number += 1)
      choices.push(String(number).padStart(width, '0'));
  }
  return choices;
}
