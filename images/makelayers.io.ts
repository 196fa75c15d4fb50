// images/makelayers.io.ts - the layers of a stage: its packages, Node, the recipe's own files.
//
// Owns: bringing together what each is made of. Does not own: which files stay (layout.ts), what a role's files become (role.ts),
// whether a layer must be made at all (layercache.io.ts), those that go with the kernel (makekernel.io.ts).

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { Apt } from './apt.io.ts';
import type { ArchivePackage } from './apt.ts';
import { refuseConflicts } from './chain.ts';
import { peekAt, sha256OfContent } from './content.io.ts';
import type { Content } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import { readDeb, readFromDeb } from './deb.io.ts';
import type { OnBuildEvent } from './event.ts';
import type { LayerCache } from './layercache.io.ts';
import type { LayerDraft } from './layerrecord.ts';
import { entriesProblem } from './layers.ts';
import { layoutPackages, type PackageContent } from './layout.ts';
import { ownPaths, packagesInputs, providedTo, type Stage } from './plan.ts';
import { placeOf } from './recipe.ts';
import { NODE_OWNER } from './runtime.ts';
import type { Store } from './store.io.ts';
import { takeTurns } from './turns.ts';

export type Workshop = {
  readonly store: Store;
  readonly apt: Apt;
  readonly layers: LayerCache;
  readonly debs: DebReader;
  readonly cacheDir: string;
  readonly onEvent: OnBuildEvent;
};

/** What lies below a layer, recipes' templates among it: the layer's name by path. */
type Below = ReadonlyMap<string, string>;

/** Packages that are unpacked: each once, however many layers look into it. */
export type DebReader = {
  readonly read: (packages: readonly ArchivePackage[]) => Promise<PackageContent[]>;
  /** A few small files of one, in memory. */
  readonly load: (one: ArchivePackage, wanted: (path: string) => boolean) => Promise<PackageContent<Uint8Array>>;
  readonly close: () => Promise<void>;
};

/**
 * @param folder for what is unpacked; nobody else uses it, and it is removed at the end.
 * @param placed what is thrown of a package, by its name, with the place in a recipe.
 */
export async function openDebs(
  apt: Apt,
  folder: string,
  placed: (name: string, error: unknown) => unknown,
): Promise<DebReader> {
  // What a build that was killed has left.
  await rm(folder, { recursive: true, force: true });
  const contents = new Map<string, Promise<PackageContent>>();
  const inTurn = takeTurns(2);
  const take = async <T>(
    one: ArchivePackage,
    read: (path: string) => Promise<T>,
  ): Promise<{ name: string; entries: T }> => {
    const path = await apt.file(one);
    try {
      return { name: one.name, entries: await read(path) };
    } catch (error) {
      throw placed(one.name, error);
    }
  };
  return {
    read: (packages) =>
      Promise.all(
        packages.map((one) => {
          const unpack = () => take(one, (path) => readDeb(path, one.name, join(folder, one.sha256)));
          const reading = contents.get(one.sha256) ?? inTurn(unpack);
          contents.set(one.sha256, reading);
          return reading;
        }),
      ),
    async load(one, wanted) {
      const unpacked = await contents.get(one.sha256);
      if (unpacked === undefined) return inTurn(() => take(one, (path) => readFromDeb(path, one.name, wanted)));
      return { name: one.name, entries: unpacked.entries.filter(({ path }) => wanted(path)).map(loaded) };
    },
    async close() {
      await Promise.allSettled(contents.values());
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function loaded(entry: CpioEntry<Content>): CpioEntry {
  if (entry.kind !== 'file') return entry;
  const { length, read } = peekAt(entry.data);
  return { ...entry, data: read(0, length) };
}

/** The stage's packages, less what no node needs. @param lower stages below. @returns undefined where it has none. */
export async function packagesLayer(
  { apt, layers, debs, onEvent }: Workshop,
  stage: Stage,
  lower: readonly Stage[],
  below: Below,
): Promise<LayerDraft | undefined> {
  const { found, packages, runtime } = stage;
  if (packages.length === 0) return undefined;
  const provided = providedTo(stage, below.keys());
  const { name, inputs } = packagesInputs(stage, lower, provided);
  const draft = await layers.draft(inputs, async () => {
    const lowerPackages = lower.flatMap((one) => one.packages);
    await apt.fetch([...packages, ...lowerPackages]);
    onEvent({ kind: 'step', step: 'unpack', detail: found.role });
    const [own, others] = [await debs.read(packages), await debs.read(lowerPackages)];
    // Node as a package, so that its libraries are found as any program's are.
    const node = runtime === undefined ? [] : [{ name: NODE_OWNER, entries: [runtime.node] }];
    const { keep, leaveOut } = found.recipe;
    const layout = layoutPackages({
      packages: [...node, ...own],
      below: others,
      provided: new Set(provided),
      keep,
      leaveOut,
      peek: peekAt,
    });
    const [problem] = layout.problems;
    if (problem !== undefined) throw new Fault('E_BUILD', { what: `${placeOf(found, ['packages'])} ${problem}` });
    return { name, files: layout.files.filter(({ owner }) => owner !== NODE_OWNER) };
  });
  refuseConflicts(found, draft.paths, below);
  return draft;
}

/** Node, where the stage is the one that brings it. */
export async function nodeLayer({ layers }: Workshop, { runtime }: Stage): Promise<LayerDraft | undefined> {
  if (runtime === undefined) return undefined;
  return layers.draft([NODE_OWNER, runtime.nodeSha256], async () => ({
    name: NODE_OWNER,
    files: [{ entry: runtime.node, owner: NODE_OWNER }],
    effort: 'smallest',
  }));
}

/** The recipe's own files. @returns undefined where it has none but templates, which are in no layer. */
export async function roleLayer({ layers }: Workshop, stage: Stage, below: Below): Promise<LayerDraft | undefined> {
  const { found, own } = stage;
  refuseConflicts(found, ownPaths(stage), below);
  if (own.entries.length === 0) return undefined;
  const wrong = entriesProblem(own.entries);
  if (wrong !== undefined)
    throw new Fault('E_CONFIG', {
      what: `${placeOf(found, [])} no image holds /${wrong.path}`,
      why: `it ${wrong.why}`,
    });
  const hashed = own.entries.map((entry) =>
    entry.kind === 'file' ? { ...entry, data: sha256OfContent(entry.data) } : entry,
  );
  return layers.draft([found.role, hashed], async () => ({
    name: found.role,
    files: own.entries.map((entry) => ({ entry, owner: found.role })),
  }));
}
