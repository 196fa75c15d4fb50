// formats/yaml/edit.ts - changing one value of a YAML text and leaving every other byte alone.
//
// Owns: where in the text a value is put: an existing one is cut out by its range and replaced; a new key gets a line of
// its own behind its siblings. Comments, order, indentation and spacing stay as an operator wrote them.
// Does not own: what may be set (netboot/site/edit.ts), files.
//
// The library's own toString() would lay out the whole file anew. Every result is parsed again and compared with what was
// meant before it is handed out. Source: yaml 2.9 documentation (node ranges). Pure.

import { Document, isMap, isScalar, isSeq, parseDocument, type YAMLMap } from 'yaml';

export type EditResult = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly why: string };

/** Steps from the top of the document to the value; keys of maps only. */
type MapPath = readonly [string, ...string[]];

/**
 * Sets one value.
 *
 * @param text a valid YAML document whose top is a map, or nothing.
 * @param value plain data: a text, number, boolean, or list of them.
 * @returns the new text; or why it could not be done without touching other lines.
 */
export function setYamlValue(text: string, path: MapPath, value: unknown): EditResult {
  const document = parseDocument(text);
  if (document.errors.length > 0) return { ok: false, why: 'the file is no valid YAML now' };
  const before: unknown = document.toJS() ?? {};
  if (document.contents !== null && !isMap(document.contents)) return { ok: false, why: 'the file is no map of keys' };
  const edited = isMap(document.contents)
    ? splice(text, document.contents, path, value)
    : `${withNewline(text)}${blockLines(path, value, '')}`;
  const after: unknown = parsedOrUndefined(edited);
  if (edited === undefined || after === undefined || !same(after, withValue(before, path, value))) {
    return { ok: false, why: `${path.join('.')} cannot be set without laying out the file anew: edit it by hand` };
  }
  return { ok: true, text: edited };
}

function splice(text: string, map: YAMLMap, path: MapPath, value: unknown): string | undefined {
  const [key, ...rest] = path;
  const pair = map.items.find((item) => isScalar(item.key) && String(item.key.source ?? item.key.value) === key);
  const range = (pair?.value as { range?: [number, number, number] } | null | undefined)?.range;
  if (pair === undefined) return insert(text, map, path, value);
  const [next, ...further] = rest;
  if (next !== undefined) {
    return isMap(pair.value) ? splice(text, pair.value, [next, ...further], value) : undefined;
  }
  // `note:` without a value has no text of its own to replace.
  if (range === undefined || range[0] === range[1]) return undefined;
  const old = text.slice(range[0], range[1]);
  const isBlockList = isSeq(pair.value) && pair.value.flow !== true;
  const rendered = isBlockList ? blockList(text, range[0], old, value) : inline(value);
  return rendered === undefined ? undefined : `${text.slice(0, range[0])}${rendered}${text.slice(range[1])}`;
}

/** A list with a line for each item stays one; a comment between its lines would be lost. */
function blockList(text: string, start: number, old: string, value: unknown): string | undefined {
  if (!Array.isArray(value) || value.length === 0 || old.includes('#')) return undefined;
  const indent = text.slice(text.lastIndexOf('\n', start - 1) + 1, start);
  if (/[^ ]/.test(indent)) return undefined;
  return `${value.map((item: unknown) => `- ${inline(item)}`).join(`\n${indent}`)}${old.slice(old.trimEnd().length)}`;
}

function insert(text: string, map: YAMLMap, path: MapPath, value: unknown): string | undefined {
  const last = map.items.at(-1);
  const first = map.items[0];
  const firstRange = (first?.key as { range?: [number, number, number] } | undefined)?.range;
  const lastRange = ((last?.value ?? last?.key) as { range?: [number, number, number] } | null | undefined)?.range;
  if (map.flow === true) {
    const close = map.range?.[1];
    if (close === undefined || path.length > 1) return undefined;
    const comma = map.items.length === 0 ? '' : ', ';
    const end = text.slice(0, close - 1).trimEnd().length;
    return `${text.slice(0, end)}${comma}${path[0]}: ${inline(value)}${text.slice(end)}`;
  }
  if (firstRange === undefined || lastRange === undefined) return undefined;
  const lineStart = text.lastIndexOf('\n', firstRange[0] - 1) + 1;
  const indent = text.slice(lineStart, firstRange[0]);
  if (indent.trim() !== '') return undefined;
  // Behind the line in which the last value ends, its comment included.
  const newline = text.indexOf('\n', Math.max(0, lastRange[1] - (text[lastRange[1] - 1] === '\n' ? 1 : 0)));
  const at = newline === -1 ? text.length : newline + 1;
  const head = at === text.length ? withNewline(text) : text.slice(0, at);
  return `${head}${blockLines(path, value, indent)}${text.slice(at)}`;
}

function withNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

/** "vars:\n  greeting: hi\n". */
function blockLines(path: MapPath, value: unknown, indent: string): string {
  return path
    .map(
      (key, depth) => `${indent}${'  '.repeat(depth)}${key}:${depth === path.length - 1 ? ` ${inline(value)}` : ''}\n`,
    )
    .join('');
}

/** The value on one line, quoted where plain text would read as something else. */
function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  if (typeof value !== 'string') return String(value);
  const rendered = new Document(value).toString({ lineWidth: 0, blockQuote: false }).trimEnd();
  // Safe inside [ ] and { } as well.
  return rendered === value && /[,[\]{}#]|: /.test(value) ? JSON.stringify(value) : rendered;
}

function parsedOrUndefined(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  const document = parseDocument(text);
  return document.errors.length > 0 ? undefined : (document.toJS() as unknown);
}

function withValue(before: unknown, [key, ...rest]: MapPath, value: unknown): unknown {
  const map = typeof before === 'object' && before !== null ? (before as Record<string, unknown>) : {};
  const [next, ...further] = rest;
  return { ...map, [key]: next === undefined ? value : withValue(map[key], [next, ...further], value) };
}

/** Equality of plain data, whatever the order of keys. */
function same(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every(
      (key) => Object.hasOwn(b, key) && same((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
    )
  );
}
