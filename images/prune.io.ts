// images/prune.io.ts - taking away what no node boots, runs or would go back to.
//
// Owns: the order of removal, so that a prune that is killed at any moment leaves every generation that is left whole:
// first a manifest, then what only it named. Does not own: which (prune.ts).
//
// No build runs meanwhile. A promotion may, and a node may boot: what is in use is asked when the lock is held, and manifests are
// first moved aside, then moved back where a pointer leads to them or a node has begun to use them.

import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { OnBuildEvent } from './event.ts';
import { withBuildLock } from './buildlock.io.ts';
import { orAbsent } from './files.io.ts';
import { filesOf, type InUse, judgeGenerations, unneeded, type Verdict } from './prune.ts';
import { openStore, type Store } from './store.io.ts';

export type PruneResult = {
  readonly verdicts: readonly Verdict[];
  readonly files: number;
  /** What was freed; a package that the cache holds too is not. */
  readonly bytes: number;
};

/**
 * @param askInUse asked before anything is judged, and again when manifests are moved aside.
 * @throws Fault E_STORE where a generation that stays cannot be read: what it needs would be removed.
 */
export async function pruneStore({
  libDir,
  askInUse,
  newest,
  isDryRun,
  onEvent,
}: {
  readonly libDir: string;
  readonly askInUse: () => Promise<readonly InUse[]>;
  readonly newest: number;
  readonly isDryRun: boolean;
  readonly onEvent: OnBuildEvent;
}): Promise<PruneResult> {
  return withBuildLock(libDir, onEvent, async () => {
    const root = join(libDir, 'images');
    const store = openStore(libDir);
    await putBack(root);
    const inUse = await askInUse();
    const verdicts = judgeGenerations(await store.list(), inUse, newest);
    const needed = new Set(inUse.flatMap(({ files }) => files));
    for (const verdict of verdicts.filter(({ reasons }) => reasons.length > 0)) {
      for (const file of await neededBy(store, verdict)) needed.add(file);
    }
    const doomed = isDryRun ? [] : verdicts.filter(({ reasons }) => reasons.length === 0);
    for (const verdict of doomed) await rename(pathOf(root, verdict), asideOf(root, verdict));
    const inUseNow = doomed.length === 0 ? [] : await askInUse();
    for (const file of inUseNow.flatMap(({ files: named }) => named)) needed.add(file);
    const judged: Verdict[] = [];
    for (const verdict of verdicts) {
      const reasons = doomed.includes(verdict) ? await dropManifest(store, root, verdict, inUseNow) : [];
      judged.push(reasons.length === 0 ? verdict : { ...verdict, reasons });
      if (reasons.length > 0) for (const file of await neededBy(store, verdict)) needed.add(file);
    }
    let bytes = 0;
    let files = 0;
    for (const path of unneeded(await filesBelow(root), needed)) {
      const { size, nlink } = await stat(join(root, path));
      if (!isDryRun) await rm(join(root, path));
      files += 1;
      bytes += nlink > 1 ? 0 : size;
    }
    return { verdicts: judged, files, bytes };
  });
}

async function neededBy(store: Store, { image, generation }: Verdict): Promise<string[]> {
  const manifest = await store.manifest(image, generation);
  const lock = await store.lockOf(manifest);
  if (manifest.lock !== undefined && lock === undefined) {
    throw new Fault('E_STORE', {
      what: `cannot tell which packages generation ${generation} of ${image} was built from`,
      why: `its lock ${manifest.lock.slice(0, 12)} is gone or damaged`,
      todo: `build ${image} again and promote that, then prune`,
    });
  }
  return filesOf(manifest, lock?.packages.map(({ sha256 }) => sha256) ?? []);
}

function filesBelow(root: string): Promise<string[]> {
  return orAbsent(readdir(root, { recursive: true, encoding: 'utf8' }), []);
}

const ASIDE = /^\.([1-9]\d*)\.json\.pruned$/;

const pathOf = (root: string, { image, generation }: Verdict): string => join(root, image, `${generation}.json`);
const asideOf = (root: string, { image, generation }: Verdict): string =>
  join(root, image, `.${generation}.json.pruned`);

/** @returns why it stays, where it does by now. */
async function dropManifest(
  store: Store,
  root: string,
  verdict: Verdict,
  inUse: readonly InUse[],
): Promise<readonly string[]> {
  const { image, generation } = verdict;
  const { current, previous } = await store.pointers(image);
  const reasons = inUse.filter((one) => one.image === image && one.generation === generation).map(({ why }) => why);
  if (current === generation || previous === generation) reasons.push('it was promoted meanwhile');
  if (reasons.length > 0) await rename(asideOf(root, verdict), pathOf(root, verdict));
  else await rm(asideOf(root, verdict));
  return reasons;
}

/** Manifests that a killed prune had moved aside: the next one decides again. */
async function putBack(root: string): Promise<void> {
  for (const path of await filesBelow(root)) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const generation = ASIDE.exec(name)?.[1];
    if (generation === undefined) continue;
    await rename(join(root, path), join(root, path.slice(0, -name.length), `${generation}.json`));
  }
}
