// images/chooseversions.io.ts - which versions of its packages an image is built from.
//
// Owns: asking in order: a generation that was named, the newest one, the archive. Does not own: what a lock is, and when it may
// be used again (versions.ts), apt (apt.io.ts).

import { Fault } from '../formats/errors.ts';
import type { Apt } from './apt.io.ts';
import { placedFault, refuseUnanswered } from './asked.ts';
import { archiveOf } from './chain.ts';
import type { LoadedRecipe } from './recipe.ts';
import type { Store } from './store.io.ts';
import { answers, type VersionLock } from './versions.ts';

export type VersionQuestion = {
  readonly role: string;
  /** The role's recipes, the lowest first. */
  readonly chain: readonly LoadedRecipe[];
  readonly architecture: VersionLock['architecture'];
  /** Names of packages, each once. */
  readonly asked: readonly string[];
  /** Asks the archive for newer versions. */
  readonly refresh: boolean;
  /** Those of this generation, and no others. */
  readonly locked: number | undefined;
};

/** @throws Fault E_ARCHIVE, E_BUILD with the recipe's line; E_NOT_FOUND where a generation's versions were not kept. */
export async function chooseVersions(store: Store, apt: Apt, question: VersionQuestion): Promise<VersionLock> {
  const { role, chain, architecture, refresh, locked } = question;
  const asked = question.asked.toSorted();
  if (locked !== undefined) {
    const lock = await store.lockOf(await store.manifest(role, locked));
    if (lock?.architecture === architecture) {
      refuseUnanswered(lock, chain, asked, locked);
      return lock;
    }
    const what = `cannot build ${role} as generation ${locked}`;
    throw new Fault('E_NOT_FOUND', { what, why: `its versions for ${architecture} were not kept` });
  }
  const archive = archiveOf(chain)?.archive;
  const wanted = { architecture, sources: await apt.sources(), asked, ...(archive === undefined ? {} : { archive }) };
  const before = await store.newest(role);
  const lock = before === undefined || refresh ? undefined : await store.lockOf(before);
  if (lock !== undefined && answers(lock, wanted)) return lock;
  return { version: 1, ...wanted, packages: await solve(apt, chain, asked, refresh) };
}

async function solve(apt: Apt, chain: readonly LoadedRecipe[], names: readonly string[], refresh: boolean) {
  try {
    return await apt.solve(names, refresh);
  } catch (error) {
    throw error instanceof Fault ? placedFault(chain, error) : error;
  }
}
