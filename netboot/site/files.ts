// netboot/site/files.ts - the files that a site is made of, each parsed on its own.
//
// Owns: which path holds what kind of file (rouse.yaml, profiles/NAME.yaml, nodes/NAME.yaml, ROLE/profile.yaml), which names are
// none of the site's, what a folder that cannot be listed or is gone means, which paths are worth a watch, and parsing the files
// one at a time, so that an edit of one of 2,000 node files parses one file.
// Does not own: what holds between them (site.ts), reading them from disk (load.io.ts).
//
// To add a kind of file: a row in FILE_KINDS, its schema in schema.ts, its place in site.ts. Pure.

import type { z } from 'zod';
import { type Parsed, type Problem, parseYaml } from '../../formats/yaml/document.ts';
import {
  type FILE_SCHEMAS,
  NODE_NAME,
  type NodeFile,
  NodeSchema,
  type ProfileFile,
  ProfileSchema,
  type RouseFile,
  RouseSchema,
  SLUG,
} from './schema.ts';

/** The text of one file of the site. `path` is what messages name: "nodes/web1.yaml", "services/web/profile.yaml". */
export type SiteText = {
  readonly path: string;
  readonly text: string;
  /** Why there is no text although there is a file: it is a problem of the site, never a file that is not there. */
  readonly fault?: string | undefined;
};

/** A folder's content: rouse.yaml's text, if there, and those of profiles/, nodes/ and of each role's profile. */
export type SiteTexts = {
  readonly rouse: SiteText | undefined;
  readonly profiles: ReadonlyMap<string, SiteText>;
  readonly nodes: ReadonlyMap<string, SiteText>;
  /** By role; of several role folders the first that has it. */
  readonly roles: ReadonlyMap<string, SiteText>;
  /** Folders that could not be listed: what is in them is unknown, so nothing of the site can be said. */
  readonly faults?: readonly Problem[];
  /** Files in places of the site's that are none of it: somebody may believe that they count. */
  readonly strays?: readonly Problem[];
};

export type ParsedSite = {
  readonly rouse: Parsed<RouseFile> | undefined;
  readonly profiles: ReadonlyMap<string, Parsed<ProfileFile>>;
  readonly nodes: ReadonlyMap<string, Parsed<NodeFile>>;
  readonly roles: ReadonlyMap<string, Parsed<ProfileFile>>;
};

type Kind = keyof typeof FILE_SCHEMAS;

/** What the name of a file must be, by kind. */
const FILE_KINDS = {
  rouse: { name: /^rouse$/, expected: 'rouse.yaml' },
  profile: { name: SLUG, expected: 'a name of lower-case letters, digits, - and _' },
  node: { name: NODE_NAME, expected: 'a host name: lower-case letters, digits and -, at most 63' },
} satisfies Record<Kind, { name: RegExp; expected: string }>;

export type FolderEntry =
  | { readonly kind: 'file'; readonly name: string }
  /** In a place of the site's and none of it: somebody may believe that it counts. */
  | { readonly kind: 'stray'; readonly problem: Problem }
  | { readonly kind: 'ignored'; readonly why: 'hidden' | 'left by an editor' };

/** What a name in profiles/ or nodes/ stands for. */
export function judgeEntry(folder: 'profiles' | 'nodes', entry: string): FolderEntry {
  // .web1.yaml.swp is an editor's as well; a hidden file is never a node.
  if (entry.startsWith('.')) return { kind: 'ignored', why: 'hidden' };
  if (entry.endsWith('~')) return { kind: 'ignored', why: 'left by an editor' };
  return entry.endsWith('.yaml')
    ? { kind: 'file', name: entry.slice(0, -'.yaml'.length) }
    : { kind: 'stray', problem: atStart(`${folder}/${entry}`, 'is not read: expected a name that ends in .yaml') };
}

/**
 * What is wrong with a folder: what is in it must be known before anything of the site can be said.
 *
 * @param reading as read.io.ts has it. @param inForce how many of its files are in force: a folder that held some and is gone is a
 *   fault, not an empty folder.
 */
export function folderFault(
  folder: string,
  reading: { readonly kind: 'absent' | 'names' } | { readonly kind: 'unreadable'; readonly why: string },
  inForce = 0,
): Problem | undefined {
  if (reading.kind === 'unreadable') return atStart(folder, `cannot be read: ${reading.why}`);
  if (reading.kind === 'names' || inForce === 0) return undefined;
  return atStart(folder, `is gone, and ${inForce} ${folder} of it are in force; to have none, make it empty`);
}

function atStart(file: string, message: string): Problem {
  return { file, line: 1, column: 1, message };
}

const WATCHED = /^(rouse\.yaml|(profiles|nodes)(\/[^/]+\.yaml)?|[^/]+(\/profile\.yaml)?)?$/;

/**
 * Whether a change of it is a reason to read the site again.
 *
 * @param path below a watched folder; above it where it begins with "..". @param isConfig of the configuration folder, else of one
 *   of roles. The former holds services/ too, whose FIFOs and logs are none of the site's.
 */
export function isWatched(path: string, isConfig: boolean): boolean {
  if (path.startsWith('..')) return false;
  return WATCHED.test(path) && !(isConfig && /^(services|roles)(\/|$)/.test(path));
}

/** Remembers what a text parsed to, for as long as the text under that path stays the same. */
export type ParseCache = Map<string, { readonly text: string; readonly parsed: Parsed<never> }>;

/**
 * Parses every file of a site.
 *
 * @param cache kept between calls by the caller; entries of files that are gone are dropped.
 */
export function parseSite(texts: SiteTexts, cache: ParseCache): ParsedSite {
  const seen = new Set<string>();
  const parse = <T>(kind: Kind, schema: z.ZodType<T>, name: string, file: SiteText): Parsed<T> => {
    const key = `${kind} ${file.path}`;
    seen.add(key);
    const known = cache.get(key);
    if (file.fault === undefined && known !== undefined && known.text === file.text) return known.parsed;
    const parsed = parseFile(kind, schema, name, file);
    if (file.fault === undefined) cache.set(key, { text: file.text, parsed: parsed as Parsed<never> });
    return parsed;
  };
  const parseAll = <T>(kind: Kind, schema: z.ZodType<T>, files: ReadonlyMap<string, SiteText>) =>
    new Map(Array.from(files, ([name, file]) => [name, parse(kind, schema, name, file)]));
  const site: ParsedSite = {
    rouse: texts.rouse === undefined ? undefined : parse('rouse', RouseSchema, 'rouse', texts.rouse),
    profiles: parseAll('profile', ProfileSchema, texts.profiles),
    nodes: parseAll('node', NodeSchema, texts.nodes),
    roles: parseAll('profile', ProfileSchema, texts.roles),
  };
  for (const key of cache.keys()) if (!seen.has(key)) cache.delete(key);
  return site;
}

function parseFile<T>(kind: Kind, schema: z.ZodType<T>, name: string, { path, text, fault }: SiteText): Parsed<T> {
  if (fault !== undefined) {
    return { ok: false, problems: [atStart(path, `cannot be read: ${fault}`)] };
  }
  if (!FILE_KINDS[kind].name.test(name)) {
    return { ok: false, problems: [atStart(path, `the file's name '${name}': expected ${FILE_KINDS[kind].expected}`)] };
  }
  return parseYaml(path, text, schema);
}

/** The problems of every file that does not parse, in the order of files. */
export function parseProblems({ rouse, profiles, nodes, roles }: ParsedSite): Problem[] {
  const all: (Parsed<unknown> | undefined)[] = [rouse, ...roles.values(), ...profiles.values(), ...nodes.values()];
  return all.flatMap((parsed) => (parsed === undefined || parsed.ok ? [] : parsed.problems));
}
