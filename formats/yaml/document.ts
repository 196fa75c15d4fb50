// formats/yaml/document.ts - YAML files whose every value knows its line and column.
//
// Owns: reading a YAML text against a zod schema, and turning whatever is wrong into problems with file:line:column,
// what was found, what was expected and the nearest right word.
// Does not own: the schemas (netboot/site, images/recipe), or the files themselves.
//
// Plain scalars reach a schema that wants a string as they were written: `serial: 00042` stays "00042", because the
// text of the scalar is used and not what YAML makes of it. Sources: yaml 2.9 documentation, zod 4 issue formats. Pure.

import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { z } from 'zod';
import { expectedOf, nearest } from '../nearest.ts';
import { yamlWords } from './words.ts';

/** A place in a file; line and column start at 1. */
export type Position = { readonly file: string; readonly line: number; readonly column: number };

/** One thing wrong with a file. */
export type Problem = Position & { readonly message: string };

/** The steps from the top of a document to a value. */
export type KeyPath = readonly (string | number)[];

/** Where each value of a document stands. */
export type Positions = {
  /** The position of the value at the path, or of its nearest existing parent. */
  of(path: KeyPath): Position;
  /** The position of the key itself, where the path ends in one. */
  ofKey(path: KeyPath): Position;
};

export type Parsed<T> =
  | { readonly ok: true; readonly value: T; readonly positions: Positions }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Files larger than this are refused unread: no config of a rack is, and parsing cost grows with it. */
export const YAML_LIMIT_BYTES = 1_048_576;
const DEPTH_LIMIT = 64;

/** "nodes/web1.yaml:3:1 unknown key 'profil', did you mean 'profile'?" */
export function renderProblem({ file, line, column, message }: Problem): string {
  // Names of files, keys and values are foreign text: a terminal must not do what they say, nor a log show a second line.
  return `${file}:${line}:${column} ${message}`.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (one) => `\\u${one.codePointAt(0)?.toString(16).padStart(4, '0')}`,
  );
}

/**
 * Reads one YAML document and checks it.
 *
 * @param file name to put into positions; not opened.
 * @param text content of the file, at most YAML_LIMIT_BYTES of it.
 * @param schema strict objects only, so that unknown keys are found.
 * @returns the checked value with the position of each of its parts, or every problem found, in file order.
 */
export function parseYaml<T>(file: string, text: string, schema: z.ZodType<T>): Parsed<T> {
  const at = (line: number, column: number, message: string): Problem => ({ file, line, column, message });
  if (text.length > YAML_LIMIT_BYTES) {
    return { ok: false, problems: [at(1, 1, `is ${text.length} bytes long, expected at most ${YAML_LIMIT_BYTES}`)] };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  // A warning is an unknown tag: its value would not be what the author thinks it is.
  const faulty = [...document.errors, ...document.warnings];
  if (faulty.length > 0) {
    return {
      ok: false,
      // What follows the first error of a text is mostly what the first one caused.
      problems: faulty.slice(0, 1).map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return at(line, col, yamlWords(error.code, error.message.trim()));
      }),
    };
  }
  const positions = positionsOf(file, document, lines);
  let plain: unknown;
  try {
    plain = document.contents === null ? {} : asWritten(document.contents, document, schema);
  } catch (error) {
    // yaml refuses documents whose aliases expand without bound ("billion laughs").
    return { ok: false, problems: [at(1, 1, error instanceof Error ? error.message : String(error))] };
  }
  const result = schema.safeParse(plain);
  if (result.success) return { ok: true, value: result.data, positions };
  const problems = result.error.issues
    .flatMap((issue) => describeIssue(issue, schema, plain, positions))
    .sort((a, b) => a.line - b.line || a.column - b.column);
  return { ok: false, problems };
}

/**
 * The plain value of a node. Where the schema wants a text, a scalar is the text as written; where it takes several
 * kinds, a number that would not read back the same (00042, 1e5, 1.50) stays a text.
 */
function asWritten(node: unknown, document: Document, schema: unknown, depth = 0): unknown {
  if (depth > DEPTH_LIMIT) throw new Error(`is nested more than ${DEPTH_LIMIT} levels deep`);
  if (isMap(node)) {
    const inside = alternative(schema, 'map');
    const result: Record<string, unknown> = {};
    for (const { key, value } of node.items) {
      const name = keyText(key);
      // defineProperty, because a key named __proto__ must be a key like any other.
      Object.defineProperty(result, name, {
        value: asWritten(value, document, descend(inside, name), depth + 1),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return result;
  }
  if (isSeq(node)) {
    const inside = alternative(schema, 'list');
    return node.items.map((item) => asWritten(item, document, descend(inside, 0), depth + 1));
  }
  if (isScalar(node)) {
    const { value, source } = node;
    if (source === undefined || value === null || typeof value === 'string') return value;
    if (alternative(schema, 'scalar') instanceof z.ZodString) return source;
    return typeof value === 'number' && String(value) !== source ? source : value;
  }
  if (node === null || node === undefined) return null;
  // An alias: resolved by the document, which bounds how far aliases may expand.
  return (node as Node).toJS(document, { maxAliasCount: 100 });
}

/** What the schema asks for at a node of this shape: optional, defaulted and piped schemas peeled off, unions searched. */
function alternative(schema: unknown, shape: 'map' | 'list' | 'scalar'): unknown {
  const peeled = peel(schema);
  if (!(peeled instanceof z.ZodUnion)) return peeled;
  const options = (peeled.options as readonly unknown[]).map(peel);
  switch (shape) {
    case 'map':
      return options.find((option) => option instanceof z.ZodObject || option instanceof z.ZodRecord);
    case 'list':
      return options.find((option) => option instanceof z.ZodArray);
    case 'scalar':
      return options.length === 1 ? options[0] : undefined;
  }
}

/** Where a value stands, and its key, as offsets into the text. */
type Place = { readonly value: number | undefined; readonly key: number | undefined };

const pathKey = (path: KeyPath): string => path.join('\0');

/** Keeps offsets, not nodes: thousands of files stay in memory for as long as the site they make up. */
function positionsOf(file: string, document: Document, lines: LineCounter): Positions {
  const places = new Map<string, Place>();
  const note = (node: unknown, key: unknown, path: KeyPath): void => {
    if (path.length > DEPTH_LIMIT) return;
    places.set(pathKey(path), { value: offsetOf(node), key: offsetOf(key) });
    if (isMap(node)) {
      for (const { key: inner, value } of node.items) note(value, inner, [...path, keyText(inner)]);
    } else if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) note(item, undefined, [...path, index]);
    }
  };
  note(document.contents, undefined, []);
  const position = (offset: number | undefined): Position => {
    const { line, col } = lines.linePos(offset ?? 0);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  /** The place at the path, or of its nearest parent that exists. */
  const nearestPlace = (path: KeyPath): { place: Place | undefined; complete: boolean } => {
    for (let length = path.length; length >= 0; length -= 1) {
      const place = places.get(pathKey(path.slice(0, length)));
      if (place !== undefined) return { place, complete: length === path.length };
    }
    return { place: undefined, complete: false };
  };
  return {
    of(path) {
      const { place, complete } = nearestPlace(path);
      // A missing key is told at its parent's key, where an operator will add it.
      return position(complete ? (place?.value ?? place?.key) : (place?.key ?? place?.value));
    },
    ofKey(path) {
      const { place } = nearestPlace(path);
      return position(place?.key ?? place?.value);
    },
  };
}

function offsetOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

function keyText(key: unknown): string {
  return isScalar(key) ? (key.source ?? String(key.value)) : String(key);
}

type Issue = z.core.$ZodIssue;

function describeIssue(issue: Issue, schema: z.ZodType, plain: unknown, positions: Positions): Problem[] {
  const path = issue.path.filter((step) => typeof step !== 'symbol');
  const found = valueAt(plain, path);
  const name = path.length === 0 ? '' : `${renderPath(path)}: `;
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => {
        const known = keysAt(schema, path, plain);
        const hint = known.length === 0 ? '' : `, ${expectedOf(key, known, '')}`;
        return { ...positions.ofKey([...path, key]), message: `unknown key '${key}'${hint}` };
      });
    case 'invalid_value': {
      const values = issue.values.map(String);
      if (found === undefined)
        return [
          { ...positions.of(path), message: `missing key '${path.at(-1) ?? ''}', expected ${values.join(' | ')}` },
        ];
      const near = typeof found === 'string' ? nearest(found, values) : undefined;
      const hint = near === undefined ? '' : `, did you mean '${near}'?`;
      return [{ ...positions.of(path), message: `${name}expected ${values.join(' | ')}, got ${show(found)}${hint}` }];
    }
    case 'invalid_type':
      if (found === undefined && path.length > 0) {
        return [
          { ...positions.of(path), message: `missing key '${path.at(-1)}', expected ${kindName(issue.expected)}` },
        ];
      }
      return [{ ...positions.of(path), message: `${name}expected ${kindName(issue.expected)}, got ${show(found)}` }];
    case 'invalid_key':
      return [
        {
          ...positions.ofKey(path),
          message: `${renderPath(path)}: the key ${issue.issues[0]?.message ?? issue.message}, got ${show(path.at(-1))}`,
        },
      ];
    case 'invalid_union':
      // A discriminated union whose discriminator is wrong, or alternatives none of which fits.
      return [{ ...positions.of(path), message: `${name}${issue.message}, got ${show(found)}` }];
    default:
      return [{ ...positions.of(path), message: `${name}${issue.message}, got ${show(found)}` }];
  }
}

const KIND_NAMES: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'keys with values',
  record: 'keys with values',
  array: 'a list',
};

function kindName(expected: string): string {
  return KIND_NAMES[expected] ?? expected;
}

function renderPath(path: KeyPath): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : `${index === 0 ? '' : '.'}${step}`))
    .join('');
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  // What stands before the @ of an address is a name and its password: messages reach logs and terminals.
  const text = (JSON.stringify(value) ?? typeof value).replaceAll(/:\/\/[^\s/"]*@/g, '://…@');
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function valueAt(value: unknown, path: KeyPath): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}

/** The keys that the schema knows at the path, for "did you mean". */
function keysAt(schema: z.ZodType, path: KeyPath, plain: unknown): string[] {
  let current: unknown = schema;
  let value: unknown = plain;
  for (const step of path) {
    current = descend(unwrap(current, value), step);
    value = valueAt(value, [step]);
    if (current === undefined) return [];
  }
  const found = unwrap(current, value);
  return found instanceof z.ZodObject ? Object.keys(found.shape) : [];
}

/** The schema under optional, default, readonly and pipe. */
function peel(schema: unknown): unknown {
  let current = schema;
  for (let depth = 0; depth < 16; depth += 1) {
    if (
      current instanceof z.ZodOptional ||
      current instanceof z.ZodNullable ||
      current instanceof z.ZodDefault ||
      current instanceof z.ZodPrefault ||
      current instanceof z.ZodReadonly
    ) {
      current = current.unwrap();
    } else if (current instanceof z.ZodPipe) {
      current = current.in;
    } else return current;
  }
  return current;
}

function unwrap(schema: unknown, value: unknown): unknown {
  const peeled = peel(schema);
  if (!(peeled instanceof z.ZodUnion)) return peeled;
  // Of a discriminated union's alternatives, the one whose literal keys agree with the value.
  const options = (peeled.options as readonly unknown[]).map(peel);
  return options.find((option) => option instanceof z.ZodObject && literalsAgree(option, value)) ?? options[0];
}

function literalsAgree(schema: z.ZodObject, value: unknown): boolean {
  return Object.entries(schema.shape).every(
    ([key, part]) => !(part instanceof z.ZodLiteral) || part.safeParse(valueAt(value, [key])).success,
  );
}

function descend(schema: unknown, step: string | number): unknown {
  if (schema instanceof z.ZodObject) return (schema.shape as Record<string, unknown>)[String(step)];
  if (schema instanceof z.ZodArray) return schema.element;
  if (schema instanceof z.ZodRecord) return schema.valueType;
  return undefined;
}
