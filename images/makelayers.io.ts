// images/makelayers.io.ts - the layers of a stage: its packages, the recipe's own files, Node; and the kernel's: modules, firmware,
// microcode.
//
// Owns: bringing together what each is made of. Does not own: which files stay (layout.ts), what a role's files become (role.ts),
// which modules (kernel.io.ts), which firmware (firmware.ts, microcode.ts), whether a layer must be made at all (layercache.io.ts).

import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { Apt } from './apt.io.ts';
import type { ArchivePackage } from './apt.ts';
import { microcodeFiles, type microcodeOf, placeOfModule, refuseConflicts } from './chain.ts';
import { peekAt, sha256OfContent } from './content.io.ts';
import { readDeb, readFromDeb } from './deb.io.ts';
import type { OnBuildEvent } from './event.ts';
import { publishFile, sha256Of } from './files.io.ts';
import { chooseFirmware, isKernelFacts, type KernelFacts } from './firmware.ts';
import {
  builtinModules,
  chooseModules,
  type KernelTree,
  moduleEntries,
  openKernel,
  readKernelFacts,
} from './kernel.io.ts';
import type { LayerCache } from './layercache.io.ts';
import { layoutPackages, type PackageContent } from './layout.ts';
import type { Manifest } from './manifest.ts';
import { isMicrocode } from './microcode.ts';
import type { ModuleSelection } from './modules.ts';
import { isKernelNote, type LayerDraft } from './plan.ts';
import { type LoadedRecipe, placeOf } from './recipe.ts';
import { NODE_OWNER } from './runtime.ts';
import { packagesInputs, providedTo, type Stage } from './stages.ts';
import { readCached, type Store } from './store.io.ts';
import { takeTurns } from './turns.ts';

export type Workshop = {
  readonly store: Store;
  readonly apt: Apt;
  readonly layers: LayerCache;
  readonly debs: DebReader;
  readonly cacheDir: string;
  readonly onEvent: OnBuildEvent;
};

/** What lies below a layer: the layer's name by path. */
type Below = ReadonlyMap<string, string>;

/** Packages that are unpacked: each once, however many layers look into it. */
export type DebReader = {
  readonly read: (packages: readonly ArchivePackage[]) => Promise<PackageContent[]>;
  /** A few small files of them, in memory. */
  readonly load: (
    packages: readonly ArchivePackage[],
    wanted: (path: string) => boolean,
  ) => Promise<PackageContent<Uint8Array>[]>;
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
    load: (packages, wanted) =>
      Promise.all(packages.map((one) => take(one, (path) => readFromDeb(path, one.name, wanted)))),
    async close() {
      await Promise.allSettled(contents.values());
      await rm(folder, { recursive: true, force: true });
    },
  };
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
  }));
}

/** The recipe's own files. @returns undefined where it has none. */
export async function roleLayer(
  { layers }: Workshop,
  { found, own }: Stage,
  below: Below,
): Promise<LayerDraft | undefined> {
  if (own.entries.length === 0) return undefined;
  const files = own.entries.filter(({ kind }) => kind !== 'directory');
  refuseConflicts(
    found,
    files.map(({ path }) => path),
    below,
  );
  const hashed = own.entries.map((entry) =>
    entry.kind === 'file' ? { ...entry, data: sha256OfContent(entry.data) } : entry,
  );
  return layers.draft([found.role, hashed], async () => ({
    name: found.role,
    files: own.entries.map((entry) => ({ entry, owner: found.role })),
  }));
}

export type KernelDraft = {
  readonly kernel: Manifest['kernel'];
  readonly modules: LayerDraft;
  readonly facts: KernelFacts;
  /** Names of what is compiled in: the kernel is unpacked for that, which a build from the cache does not need otherwise. */
  readonly builtins: () => Promise<ReadonlySet<string>>;
};

/** The kernel, which goes to the store, and the layer of its modules. @param found the recipe that names it. */
export async function takeKernel(
  { store, apt, layers, cacheDir, onEvent }: Workshop,
  found: LoadedRecipe,
  kernelPackage: ArchivePackage,
): Promise<KernelDraft> {
  const wish = found.recipe.kernel;
  if (wish === undefined) throw new Error('called for a recipe without a kernel');
  let tree: Promise<KernelTree> | undefined;
  const open = (): Promise<KernelTree> => {
    tree ??= apt.fetch([kernelPackage]).then(() => openKernel(apt, kernelPackage, join(cacheDir, 'kernels'), onEvent));
    return tree;
  };
  const place = (module: string): string => placeOfModule(found, module);
  let chosen: Promise<ModuleSelection> | undefined;
  const choose = (): Promise<ModuleSelection> => {
    chosen ??= open().then((kernel) => chooseModules(kernel, wish.modules, wish.extraModules, place, onEvent));
    return chosen;
  };
  const inputs = ['modules', kernelPackage.sha256, wish];
  const modules = await layers.draft(inputs, async () => {
    const entries = moduleEntries(await open(), await choose());
    return { name: 'modules', files: entries.map((entry) => ({ entry, owner: kernelPackage.name })) };
  });
  const factsPath = join(cacheDir, 'kernels', `${sha256Of(JSON.stringify(inputs)).slice(0, 32)}.facts.json`);
  const factsBefore = await readCached(factsPath, isKernelFacts);
  const facts = factsBefore ?? (await readKernelFacts(await open(), await choose()));
  if (factsBefore === undefined) await publishFile(factsPath, JSON.stringify(facts));
  const builtins = async (): Promise<ReadonlySet<string>> => builtinModules(await open());
  const notePath = join(cacheDir, 'kernels', `${kernelPackage.sha256.slice(0, 32)}.json`);
  const noted = await readCached(notePath, isKernelNote);
  if (noted !== undefined && (await store.hasKernel(noted))) return { kernel: noted, modules, facts, builtins };
  const { release, vmlinuz } = await open();
  const kernel = { release, package: kernelPackage.name, ...(await store.putKernel(createReadStream(vmlinuz))) };
  await publishFile(notePath, JSON.stringify(kernel));
  return { kernel, modules, facts, builtins };
}

/** What devices load through the modules that are carried. @returns undefined where the packages hold nothing of it. */
export async function firmwareLayer(
  { apt, layers, debs }: Workshop,
  packages: readonly ArchivePackage[],
  { firmware, endings }: KernelFacts,
): Promise<LayerDraft | undefined> {
  if (packages.length === 0) return undefined;
  const inputs = ['firmware', packages.map(({ sha256 }) => sha256), firmware, endings];
  const draft = await layers.draft(inputs, async () => {
    await apt.fetch(packages);
    return { name: 'firmware', files: chooseFirmware(firmware, endings, await debs.read(packages)) };
  });
  return draft.paths.length === 0 ? undefined : draft;
}

/** What a kernel reads before it unpacks anything: uncompressed, and the first of all layers. */
export async function microcodeLayer(
  { apt, layers, debs }: Workshop,
  wishes: ReturnType<typeof microcodeOf>,
  packages: readonly ArchivePackage[],
): Promise<LayerDraft | undefined> {
  if (wishes.length === 0) return undefined;
  const inputs = ['microcode', packages.map(({ sha256 }) => sha256), wishes.map(({ wish }) => wish)];
  return layers.draft(inputs, async () => {
    await apt.fetch(packages);
    const files = microcodeFiles(wishes, await debs.load(packages, isMicrocode));
    return { name: 'microcode', compression: 'none', files };
  });
}
