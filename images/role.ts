// images/role.ts - the files that a recipe itself brings: its folder, users, links, service directories, templates.
//
// Owns: which path of a role's folder becomes which file of the node, with what mode; /etc/passwd and its kin.
// Does not own: reading the folder (roles.io.ts), packages (layout.ts), rendering templates (the boot server).
//
//   ROLE/files/PATH          → /PATH        (a name ending in .liquid is a template: rendered at boot into the overlay)
//   ROLE/SERVICE/…           → /service/SERVICE/…   for every SERVICE that the recipe lists (under svscan: lower.ts)
//   ROLE/hooks/NAME          → /etc/rouse/hooks/NN-NAME
//   live: in the recipes     → /etc/rouse/live, a line PATH<TAB>CHECK<TAB>RELOAD for each
//
// Modes come from the owner's execute bit alone, so that the umask of who cloned the repository changes nothing. Pure.

import type { Content, FilePiece } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import type { Template } from './manifest.ts';
import { mergedPath } from './layout.ts';
import { lowerService } from './lower.ts';
import { type LoadedRecipe, placeOf, type Supervisor, supervisorOf } from './recipe.ts';

/** One file or link of a role's folder; path relative to it, with slashes. */
export type RoleFile =
  | { readonly kind: 'file'; readonly path: string; readonly executable: boolean; readonly data: Uint8Array }
  /** As it is in the image: nobody looks into it. */
  | { readonly kind: 'carried'; readonly path: string; readonly executable: boolean; readonly data: FilePiece }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string };

export type RoleFiles = {
  readonly entries: readonly CpioEntry<Content>[];
  readonly templates: readonly Template[];
  readonly problems: readonly string[];
};

const TEMPLATE_SUFFIX = '.liquid';
const LIVE_LIST = 'etc/rouse/live';
const utf8 = new TextEncoder();

/** Whether a file of a role's folder is only carried into the image: content may be larger than the builder's memory. */
export function isCarried(path: string): boolean {
  return path.startsWith('files/') && !path.endsWith(TEMPLATE_SUFFIX);
}

/**
 * What a recipe adds to the image.
 *
 * @param chain the recipe last, those that it extends before it: users of all of them are in its /etc/passwd.
 * @param files everything in the recipe's folder. @param supervisor of the image, which a recipe above the chain may have chosen.
 */
export function layoutRole(
  chain: readonly LoadedRecipe[],
  files: readonly RoleFile[],
  supervisor: Supervisor = supervisorOf(chain).supervisor,
): RoleFiles {
  const loaded = chain.at(-1);
  if (loaded === undefined) return { entries: [], templates: [], problems: [] };
  const { recipe } = loaded;
  const entries = new Map<string, CpioEntry<Content>>();
  const templates: Template[] = [];
  const problems: string[] = [];
  const hookNumber = chain.slice(0, -1).reduce((sum, { recipe: below }) => sum + below.hooks.length, 0);
  const attributesOf = (path: string, executable: boolean): { mode: number; uid: number; gid: number } => {
    const given = recipe.attributes.find((row) => row.path === `/${path}`);
    const mode = given?.mode === undefined ? (executable ? 0o755 : 0o644) : Number.parseInt(given.mode, 8);
    return { mode, uid: given?.uid ?? 0, gid: given?.gid ?? 0 };
  };

  const folder = loaded.file.slice(0, loaded.file.lastIndexOf('/') + 1);
  const supervised = recipe.services.map((service) => {
    const own = files.filter(({ path }) => path.startsWith(`${service}/`));
    return supervisor === 'rouse'
      ? { files: [...own, ...stateLinks(service, own)], problems: [] }
      : lowerService(service, own, (path) => `${folder}${path}`);
  });
  problems.push(...supervised.flatMap((one) => one.problems));
  const others = files.filter(({ path }) => !recipe.services.includes(path.split('/', 1)[0] ?? ''));
  for (const file of [...others, ...supervised.flatMap((one) => one.files)]) {
    const target = destination(file.path, recipe, hookNumber);
    if (target === undefined) continue;
    if (file.kind === 'symlink') {
      entries.set(target, { kind: 'symlink', path: target, mode: 0o777, uid: 0, gid: 0, target: file.target });
    } else if (file.kind === 'file' && target.endsWith(TEMPLATE_SUFFIX)) {
      const path = target.slice(0, -TEMPLATE_SUFFIX.length);
      const source = new TextDecoder('utf-8').decode(file.data);
      const { mode } = attributesOf(path, file.executable);
      const live = recipe.live.find((row) => row.path === `/${path}`);
      const how = live === undefined ? {} : { live: { check: live.check, reload: live.reload } };
      templates.push({ path: `/${path}`, mode, source, origin: `${loaded.role}/${file.path}`, ...how });
    } else {
      entries.set(target, { kind: 'file', path: target, ...attributesOf(target, file.executable), data: file.data });
    }
  }
  const add = (entry: CpioEntry<Content>, place: readonly (string | number)[]): void => {
    if (entries.has(entry.path))
      problems.push(`${placeOf(loaded, place)} /${entry.path} is also a file of ${loaded.role}`);
    entries.set(entry.path, entry);
  };
  recipe.directories.forEach(({ path, mode, uid, gid }, index) => {
    add({ kind: 'directory', path: mergedPath(path.slice(1)), mode: Number.parseInt(mode, 8), uid, gid }, [
      'directories',
      index,
    ]);
  });
  for (const [path, target] of Object.entries(recipe.links)) {
    // The merged folders themselves are links, and keep their name.
    add({ kind: 'symlink', path: mergedPath(path.slice(1)), mode: 0o777, uid: 0, gid: 0, target }, ['links', path]);
  }
  recipe.devices.forEach(({ path, mode, major, minor }, index) => {
    const numbers = { mode: Number.parseInt(mode, 8), uid: 0, gid: 0, major, minor };
    add({ kind: 'character', path: mergedPath(path.slice(1)), ...numbers }, ['devices', index]);
  });
  for (const { path } of templates) {
    if (entries.has(path.slice(1)))
      problems.push(`${placeOf(loaded, [])} ${path} is both a file and a template of ${loaded.role}`);
  }
  recipe.live.forEach(({ path }, index) => {
    if (templates.some((template) => template.path === path)) return;
    problems.push(
      `${placeOf(loaded, ['live', index, 'path'])} there is no template ${loaded.role}/files${path}.liquid`,
    );
  });
  if (recipe.live.length > 0) add(liveList(chain), ['live']);
  if (recipe.users.length > 0) for (const entry of accounts(chain)) add(entry, ['users']);
  recipe.services.forEach((service, index) => {
    const run = entries.get(`service/${service}/run`);
    if (run === undefined)
      problems.push(`${placeOf(loaded, ['services', index])} there is no ${loaded.role}/${service}/run`);
    else if (run.kind === 'file' && (run.mode & 0o111) === 0) {
      problems.push(`${placeOf(loaded, ['services', index])} ${loaded.role}/${service}/run is not executable`);
    }
    const log = `service/${service}/log/`;
    const writers = [`${log}run`, ...(supervisor === 'rouse' ? [`${log}multilog`] : [])];
    // A log folder that nobody reads for blocks its service for good.
    if ([...entries.keys()].some((path) => path.startsWith(log)) && !writers.some((path) => entries.has(path))) {
      problems.push(
        `${placeOf(loaded, ['services', index])} ${loaded.role}/${service}/log has neither run nor multilog`,
      );
    }
  });
  recipe.hooks.forEach((hook, index) => {
    if (!files.some(({ path }) => path === `hooks/${hook}`)) {
      problems.push(`${placeOf(loaded, ['hooks', index])} there is no ${loaded.role}/hooks/${hook}`);
    }
  });
  recipe.attributes.forEach(({ path }, index) => {
    const found = entries.has(path.slice(1)) || templates.some((template) => template.path === path);
    if (!found)
      problems.push(`${placeOf(loaded, ['attributes', index])} there is no file ${path} in ${loaded.role}/files`);
  });
  return { entries: [...entries.values()], templates, problems };
}

/** Where rouse keeps a service's state on a node: below /run, so that all else may be mounted read-only. */
const STATE_FOLDER = '/run/rouse/service';

function stateLinks(service: string, files: readonly RoleFile[]): RoleFile[] {
  const has = (name: string): boolean => files.some(({ path }) => path === `${service}/log/${name}`);
  const hasLogger = has('run') && !has('multilog');
  return [
    { kind: 'symlink', path: `${service}/supervise`, target: `${STATE_FOLDER}/${service}` },
    ...(hasLogger
      ? [{ kind: 'symlink', path: `${service}/log/supervise`, target: `${STATE_FOLDER}/${service}.log` } as const]
      : []),
  ];
}

/** Where a file of the role's folder lies on the node; undefined for the recipe, the profile and anything else. */
function destination(path: string, recipe: LoadedRecipe['recipe'], hookNumber: number): string | undefined {
  const [top = '', ...rest] = path.split('/');
  if (rest.length === 0) return undefined;
  if (top === 'files') return mergedPath(rest.join('/'));
  if (recipe.services.includes(top)) return `service/${path}`;
  if (top === 'hooks' && rest.length === 1) {
    const index = recipe.hooks.indexOf(rest[0] ?? '');
    return index === -1 ? undefined : `etc/rouse/hooks/${String(hookNumber + index).padStart(2, '0')}-${rest[0]}`;
  }
  return undefined;
}

/** /etc/rouse/live of the whole chain: what the node does with a live file. */
function liveList(chain: readonly LoadedRecipe[]): CpioEntry {
  const rows = new Map(chain.flatMap(({ recipe }) => recipe.live).map((row) => [row.path, row]));
  const lines = [...rows.values()].map(({ path, check, reload }) => `${path}\t${check}\t${reload}\n`);
  return { kind: 'file', path: LIVE_LIST, mode: 0o644, uid: 0, gid: 0, data: utf8.encode(lines.join('')) };
}

/** /etc/passwd, /etc/group and /etc/shadow of every user of the chain, by uid; nobody can log in with a password. */
function accounts(chain: readonly LoadedRecipe[]): CpioEntry[] {
  const users = new Map(chain.flatMap(({ recipe }) => recipe.users).map((user) => [user.name, user]));
  const sorted = [...users.values()].sort((a, b) => a.uid - b.uid);
  const file = (path: string, mode: number, lines: readonly string[]): CpioEntry => ({
    kind: 'file',
    path,
    mode,
    uid: 0,
    gid: 0,
    data: utf8.encode(lines.map((line) => `${line}\n`).join('')),
  });
  return [
    file(
      'etc/passwd',
      0o644,
      sorted.map(({ name, uid, gid = uid, home, shell }) => `${name}:x:${uid}:${gid}:${name}:${home}:${shell}`),
    ),
    file(
      'etc/group',
      0o644,
      sorted.map(({ name, uid, gid = uid }) => `${name}:x:${gid}:`),
    ),
    file(
      'etc/shadow',
      0o600,
      sorted.map(({ name }) => `${name}:*:1:0:99999:7:::`),
    ),
  ];
}

/** Paths that a later recipe of a chain may always replace: they are made from the whole chain. */
export const GENERATED_PATHS: readonly string[] = ['etc/passwd', 'etc/group', 'etc/shadow', LIVE_LIST];
