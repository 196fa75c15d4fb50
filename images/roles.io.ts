// images/roles.io.ts - roles as they lie on disk: finding ROLE/recipe.yaml, its chain, and the files beside it.
//
// Owns: searching the role folders in order (a site's own first), reading. Does not own: what the files mean (recipe.ts,
// role.ts).

import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { renderProblem } from '../formats/yaml/document.ts';
import { Fault } from '../formats/errors.ts';
import type { FilePiece } from './content.ts';
import { sha256OfContent, wholeFile } from './content.io.ts';
import { readIfThere, sha256Of } from './files.io.ts';
import { type LoadedRecipe, parseRecipe, placeOf, recipeFault } from './recipe.ts';
import { isCarried, type RoleFile } from './role.ts';

/** A recipe with the folder that it was found in and the hash of its text. */
export type FoundRecipe = LoadedRecipe & { readonly folder: string; readonly sha256: string };

/** More files than any role has; a role folder that is a link to / would otherwise be read whole. */
const FILES_LIMIT = 10_000;

/**
 * A role's recipe, and before it those that it extends, the lowest first.
 *
 * @throws Fault E_NOT_FOUND for an unknown role, E_CONFIG with file:line:column for a wrong recipe.
 */
export async function loadChain(roleDirs: readonly string[], role: string): Promise<FoundRecipe[]> {
  const chain: FoundRecipe[] = [];
  for (let next: string | undefined = role; next !== undefined; ) {
    const above: FoundRecipe | undefined = chain[0];
    const place: string | undefined = above === undefined ? undefined : placeOf(above, ['extends']);
    if (chain.some((one) => one.role === next)) {
      throw new Fault('E_CONFIG', {
        what: place ?? role,
        why: `${next} extends itself`,
        todo: 'remove one extends of the circle',
      });
    }
    const found = await find(roleDirs, next);
    if (found === undefined) {
      const known = (await listRoles(roleDirs)).join(', ');
      const what = place === undefined ? `there is no role ${next}` : `${place} there is no role ${next}`;
      throw new Fault(place === undefined ? 'E_NOT_FOUND' : 'E_CONFIG', { what, why: `roles are: ${known}` });
    }
    chain.unshift(found);
    next = found.recipe.extends;
  }
  return chain;
}

/** Names of all folders that hold a recipe.yaml. */
export async function listRoles(roleDirs: readonly string[]): Promise<string[]> {
  const names = new Set<string>();
  for (const folder of roleDirs) {
    for (const name of await readdir(folder).catch(() => [])) {
      if ((await stat(join(folder, name, 'recipe.yaml')).catch(() => undefined)) !== undefined) names.add(name);
    }
  }
  return [...names].sort();
}

async function find(roleDirs: readonly string[], role: string): Promise<FoundRecipe | undefined> {
  if (!/^[a-z0-9][a-z0-9+.-]{0,62}$/.test(role)) return undefined;
  for (const parent of roleDirs) {
    const folder = join(parent, role);
    const file = join(folder, 'recipe.yaml');
    const text = (await readIfThere(file))?.toString();
    if (text === undefined) continue;
    const parsed = parseRecipe(file, text);
    if (!parsed.ok) {
      throw recipeFault('E_CONFIG', parsed.problems.map(renderProblem));
    }
    return { role, file, recipe: parsed.value, positions: parsed.positions, folder, sha256: sha256Of(text) };
  }
  return undefined;
}

/** Everything in a role's folder, sorted by path. @throws Fault E_BUILD for what is neither file, folder nor link. */
export async function readRoleFiles(folder: string): Promise<RoleFile[]> {
  const files: RoleFile[] = [];
  const walk = async (below: string): Promise<void> => {
    for (const name of (await readdir(join(folder, below))).sort()) {
      const path = below === '' ? name : `${below}/${name}`;
      const full = join(folder, path);
      const found = await lstat(full);
      if (files.length >= FILES_LIMIT) {
        throw new Fault('E_BUILD', {
          what: `cannot read the role ${folder}`,
          why: `it has more than ${FILES_LIMIT} files`,
        });
      }
      if (found.isDirectory()) await walk(path);
      else if (found.isSymbolicLink()) files.push({ kind: 'symlink', path, target: await readlink(full) });
      else if (found.isFile()) {
        const executable = (found.mode & 0o100) !== 0;
        files.push(
          isCarried(path)
            ? { kind: 'carried', path, executable, data: sealed(full) }
            : { kind: 'file', path, executable, data: await readFile(full) },
        );
      } else
        throw new Fault('E_BUILD', {
          what: `cannot take ${full} into an image`,
          why: 'it is neither file, folder nor link',
        });
    }
  };
  await walk('');
  return files;
}

/** The file as it is now: what is built of it later is refused if it is edited meanwhile. */
function sealed(path: string): FilePiece {
  const whole = wholeFile(path);
  return { ...whole, sha256: sha256OfContent(whole) };
}
