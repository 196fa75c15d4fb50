// images/layout.ts - from packages to the files of a layer: what stays, what goes, and the proof that nothing is missed.
//
// Owns: applying the rules (rules.ts) and a recipe's keep and leaveOut, the merged /usr, the closure over what programs
// need, and conflicts between packages. Does not own: reading packages (deb.io.ts), files of a role (role.ts).
//
// A library stays only if something that stays needs it, so a package's libraries cost nothing unless used. A script
// whose interpreter is not in the image goes, with that reason. Sources: ld.so(8), Debian UsrMerge. Pure.

import type { Content, Peek } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import { isElf, readElfNeeds } from './elf.ts';
import { matcherOf, type PathMatcher } from './glob.ts';
import { entriesProblem } from './layers.ts';
import { LEFT_OUT_PATHS } from './rules.ts';

/** The content of one .deb, as it lies in the archive. */
export type PackageContent<Data extends Content = Content> = {
  readonly name: string;
  readonly entries: readonly CpioEntry<Data>[];
};

/** A file of an image and the package or recipe that it is from. */
export type OwnedEntry = { readonly entry: CpioEntry<Content>; readonly owner: string };

export type LayoutInput = {
  /** Packages that are new in this layer. */
  readonly packages: readonly PackageContent[];
  /** Packages of layers below, whose libraries may still be needed. */
  readonly below: readonly PackageContent[];
  /** Paths (without leading slash) that the image has already, or will have from the recipe's own files. */
  readonly provided: ReadonlySet<string>;
  readonly keep: readonly string[];
  readonly leaveOut: readonly string[];
  /** A look into a file: only programs and scripts are looked into. */
  readonly peek: (content: Content) => Peek;
};

type LeftOut = {
  readonly path: string;
  readonly owner: string;
  readonly reason: string;
  readonly bytes: number;
};

export type Layout = {
  readonly files: readonly OwnedEntry[];
  readonly leftOut: readonly LeftOut[];
  /** Sentences about what makes the image impossible. */
  readonly problems: readonly string[];
};

/** /bin, /sbin and /lib* are links into /usr on every node, as on Debian; packages still use both names. */
const MERGED_FOLDERS = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'];

/** The path with merged folders resolved: "lib/x86_64-linux-gnu/libc.so.6" becomes "usr/lib/…". */
export function mergedPath(path: string): string {
  const first = path.split('/', 1)[0] ?? '';
  return MERGED_FOLDERS.includes(first) && path !== first ? `usr/${path}` : path;
}

const LIBRARY =
  /^usr\/lib\/(?:[^/]+-linux-gnu\/)?(?:lib[^/]*|ld-linux[^/]*)\.so(?:\.[^/]*)?$|^usr\/lib64\/ld-linux[^/]*$/;

/** Decides about every file of the packages. */
export function layoutPackages(input: LayoutInput): Layout {
  const keep = matcherOf(input.keep);
  const drop = matcherOf(input.leaveOut);
  const kept = new Map<string, OwnedEntry>();
  const waiting = new Map<string, OwnedEntry>();
  const left = new Map<string, LeftOut>();
  const problems: string[] = [];

  for (const { name, entries } of input.packages) {
    for (const raw of entries) {
      const entry = merged(raw);
      const owned = { entry, owner: name };
      const reason = keep(`/${entry.path}`) ? undefined : reasonToLeave(name, `/${entry.path}`, drop);
      if (entry.kind === 'directory') {
        if (reason === undefined && !MERGED_FOLDERS.includes(entry.path) && !kept.has(entry.path))
          kept.set(entry.path, owned);
      } else if (reason !== undefined) {
        left.set(entry.path, { path: entry.path, owner: name, reason, bytes: bytesOf(entry) });
      } else if (LIBRARY.test(entry.path) && !keep(`/${entry.path}`)) {
        waiting.set(entry.path, owned);
      } else {
        const before = kept.get(entry.path);
        if (before !== undefined && before.entry.kind !== 'directory') {
          problems.push(`/${entry.path} is in two packages, ${before.owner} and ${name}`);
        }
        kept.set(entry.path, owned);
      }
    }
  }
  for (const { name, entries } of input.below) {
    for (const raw of entries) {
      const entry = merged(raw);
      if (LIBRARY.test(entry.path) && !input.provided.has(entry.path)) waiting.set(entry.path, { entry, owner: name });
    }
  }

  const closure = { kept, waiting, left, provided: input.provided, peek: input.peek, problems };
  leaveScripts(closure);
  followNeeds(closure);
  materialiseLinks(kept, input.packages);
  for (const { entry, owner } of waiting.values()) {
    if (kept.has(entry.path) || input.below.some(({ name }) => name === owner)) continue;
    left.set(entry.path, {
      path: entry.path,
      owner,
      reason: 'a library that nothing in the image needs',
      bytes: bytesOf(entry),
    });
  }
  dropEmptyFolders(kept);
  const wrong = entriesProblem([...kept.values()].map(({ entry }) => entry));
  if (wrong !== undefined) problems.push(`/${wrong.path} of ${kept.get(wrong.path)?.owner ?? ''} ${wrong.why}`);
  return { files: [...kept.values()], leftOut: [...left.values()], problems };
}

function merged(entry: CpioEntry<Content>): CpioEntry<Content> {
  const path = mergedPath(entry.path);
  if (entry.kind === 'link') return { ...entry, path, target: mergedPath(entry.target) };
  return path === entry.path ? entry : { ...entry, path };
}

const COMPILED = Object.values(LEFT_OUT_PATHS).map(
  (rule: { packages?: readonly string[]; paths: readonly string[]; reason: string }) => ({
    // Package names are matched as if they were one step of a path.
    concerns: rule.packages === undefined ? () => true : matcherOf(rule.packages.map((name) => `/${name}`)),
    matches: matcherOf(rule.paths),
    reason: rule.reason,
  }),
);

function reasonToLeave(owner: string, path: string, drop: PathMatcher): string | undefined {
  if (drop(path)) return 'left out by the recipe';
  return COMPILED.find(({ concerns, matches }) => concerns(`/${owner}`) && matches(path))?.reason;
}

function bytesOf(entry: CpioEntry<Content>): number {
  return entry.kind === 'file' ? entry.data.length : 0;
}

function leaveScripts({ kept, left, provided, peek }: Closure): void {
  for (const { entry, owner } of kept.values()) {
    if (entry.kind !== 'file' || (entry.mode & 0o111) === 0) continue;
    const interpreter = interpreterOf(peek(entry.data));
    if (interpreter === undefined) continue;
    const path = mergedPath(interpreter.slice(1));
    // Names below a merged folder may be provided under either of its names.
    if (kept.has(path) || provided.has(path)) continue;
    kept.delete(entry.path);
    const reason = `a script for ${interpreter}, which is not in the image`;
    left.set(entry.path, { path: entry.path, owner, reason, bytes: entry.data.length });
  }
}

/** The program that the first line of a script names. */
function interpreterOf({ read }: Peek): string | undefined {
  // BINPRM_BUF_SIZE: a kernel reads no further.
  const head = read(0, 256);
  if (head[0] !== 0x23 || head[1] !== 0x21) return undefined;
  const line = new TextDecoder('latin1').decode(head.subarray(2)).split('\n', 1)[0] ?? '';
  const program = line.trim().split(/\s+/, 1)[0] ?? '';
  return program.startsWith('/') ? program : undefined;
}

type Closure = {
  readonly kept: Map<string, OwnedEntry>;
  readonly waiting: ReadonlyMap<string, OwnedEntry>;
  readonly left: Map<string, LeftOut>;
  readonly provided: ReadonlySet<string>;
  readonly peek: LayoutInput['peek'];
  readonly problems: string[];
};

const LIBRARY_FOLDERS = ['usr/lib/x86_64-linux-gnu', 'usr/lib/aarch64-linux-gnu', 'usr/lib', 'usr/lib64'];

/** Adds every library that what is kept needs, and what those need in turn. */
function followNeeds(closure: Closure): void {
  const { kept, peek, problems } = closure;
  const queue = [...kept.values()];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { entry } = next;
    if (entry.kind === 'symlink') {
      // A library's short name is a link to its file: the file comes with it.
      const target = resolveLink(entry.path, entry.target);
      const pulled = kept.has(target) ? undefined : closure.waiting.get(target);
      if (pulled !== undefined) {
        kept.set(target, pulled);
        queue.push(pulled);
      }
      continue;
    }
    if (entry.kind !== 'file') continue;
    const file = peek(entry.data);
    if (!isElf(file.read(0, 64))) continue;
    const needs = readElfNeeds(file);
    if (needs === undefined) {
      problems.push(`/${entry.path} of ${next.owner} is a damaged ELF file`);
      continue;
    }
    if (needs.interpreter !== undefined) {
      demand(closure, queue, next, [mergedPath(needs.interpreter.slice(1))], needs.interpreter);
    }
    const origin = entry.path.slice(0, entry.path.lastIndexOf('/'));
    const folders = [
      ...needs.runpath.map((folder) => resolvePath(folder.replaceAll(/\$ORIGIN|\$\{ORIGIN\}/g, `/${origin}`))),
      ...LIBRARY_FOLDERS,
    ];
    for (const library of needs.needed) {
      demand(
        closure,
        queue,
        next,
        folders.map((folder) => `${folder}/${library}`),
        library,
      );
    }
  }
}

function demand(
  { kept, waiting, left, provided, problems }: Closure,
  queue: OwnedEntry[],
  user: OwnedEntry,
  candidates: readonly string[],
  wanted: string,
): void {
  if (candidates.some((path) => kept.has(path) || provided.has(path))) return;
  const found = candidates.map((path) => waiting.get(path)).find((owned) => owned !== undefined);
  if (found !== undefined) {
    kept.set(found.entry.path, found);
    queue.push(found);
    return;
  }
  const dropped = candidates.map((path) => left.get(path)).find((record) => record !== undefined);
  problems.push(
    dropped === undefined
      ? `/${user.entry.path} of ${user.owner} needs ${wanted}, which no package of the image holds`
      : `/${user.entry.path} of ${user.owner} needs /${dropped.path}, which is left out (${dropped.reason}); add it to keep`,
  );
}

function resolveLink(path: string, target: string): string {
  return resolvePath(target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/') + 1)}${target}`);
}

/** A path of the node without "." and "..", without leading slash, below the merged folders. */
function resolvePath(path: string): string {
  const steps: string[] = [];
  for (const step of path.split('/')) {
    if (step === '..') steps.pop();
    else if (step !== '' && step !== '.') steps.push(step);
  }
  return mergedPath(steps.join('/'));
}

/** A kept hard link whose file went away becomes that file; the remaining links then name it. */
function materialiseLinks(kept: Map<string, OwnedEntry>, packages: readonly PackageContent[]): void {
  const heirs = new Map<string, string>();
  for (const { entry, owner } of kept.values()) {
    if (entry.kind !== 'link' || kept.has(entry.target)) continue;
    const heir = heirs.get(entry.target);
    if (heir !== undefined) {
      kept.set(entry.path, { entry: { ...entry, target: heir }, owner });
      continue;
    }
    const file = packages
      .find(({ name }) => name === owner)
      ?.entries.map(merged)
      .find(({ path }) => path === entry.target);
    if (file?.kind !== 'file') continue;
    kept.set(entry.path, { entry: { ...file, path: entry.path }, owner });
    heirs.set(entry.target, entry.path);
  }
}

/** Empty folders matter below /etc, /run, /srv and /var, where programs expect them; elsewhere nobody misses them. */
function dropEmptyFolders(kept: Map<string, OwnedEntry>): void {
  const used = new Set<string>();
  for (const { entry } of kept.values()) {
    if (entry.kind === 'directory' && !/^(?:etc|run|srv|var)\//.test(entry.path)) continue;
    for (let slash = entry.path.lastIndexOf('/'); slash > 0; slash = entry.path.lastIndexOf('/', slash - 1)) {
      used.add(entry.path.slice(0, slash));
    }
    if (entry.kind === 'directory') used.add(entry.path);
  }
  for (const { entry } of kept.values()) {
    if (entry.kind === 'directory' && !used.has(entry.path)) kept.delete(entry.path);
  }
}
