// images/build.io.ts - from a role's recipe to a published generation of its image.
//
// Owns: the order of the work. Does not own: any of the steps: what a recipe asks for and is refused (recipe.ts, asked.ts,
// chain.ts), which versions (chooseversions.io.ts), which layers (plan.ts), making them (makelayers.io.ts,
// makekernel.io.ts, layercache.io.ts), what is said of them (describeimage.ts), publishing (publishgeneration.io.ts).

import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { type Apt, aptFolder, openApt } from './apt.io.ts';
import { askedPackages, placedPackage } from './asked.ts';
import { withBuildLock } from './buildlock.io.ts';
import { architectureOf, archiveOf, lackingFirmware } from './chain.ts';
import { chooseVersions } from './chooseversions.io.ts';
import { describeImage } from './describeimage.ts';
import type { OnBuildEvent } from './event.ts';
import { sha256Of } from './files.io.ts';
import { describeMissing } from './firmware.ts';
import { closeKey } from './keys.io.ts';
import { openLayerCache } from './layercache.io.ts';
import type { LayerDraft } from './layerrecord.ts';
import { type KernelDraft, takeKernel } from './makekernel.io.ts';
import { nodeLayer, openDebs, packagesLayer, roleLayer, type Workshop } from './makelayers.io.ts';
import type { Manifest } from './manifest.ts';
import { ownPaths, packagesUsed, planImage, type Stage } from './plan.ts';
import { publishGeneration } from './publishgeneration.io.ts';
import { type LoadedRecipe, supervisorOf } from './recipe.ts';
import { loadChain, readRoleFiles } from './roles.io.ts';
import { type RuntimeSource, requireRuntime } from './runtime.io.ts';
import type { Runtime } from './runtime.ts';
import { openStore } from './store.io.ts';
import { mayChooseAgain } from './versions.ts';

export type BuildOptions = {
  /** Folders searched in order for ROLE/recipe.yaml. */
  readonly roleDirs: readonly string[];
  readonly role: string;
  readonly libDir: string;
  readonly cacheDir: string;
  /** Asks the archive for newer versions; otherwise those of the newest generation stay. */
  readonly refresh?: boolean;
  /** Builds with the versions of that generation, from the packages that are kept with it: no archive is asked. */
  readonly locked?: number | undefined;
  /** What a recipe that says `supervisor: rouse` is given; without it such a recipe is refused. */
  readonly runtime?: RuntimeSource;
  readonly onProgress?: OnBuildEvent;
};

export type BuildResult = {
  readonly manifest: Manifest;
  /** Whether a new generation was published. */
  readonly built: boolean;
};

/**
 * Builds the image of a role and publishes it as its next generation; the first one becomes current.
 *
 * @throws Fault: E_NOT_FOUND unknown role; E_CONFIG wrong recipe; E_ARCHIVE packages; E_BUILD with file and line of the
 *   recipe; E_STORE disk. What is published stays as it was.
 */
export async function buildImage(options: BuildOptions): Promise<BuildResult> {
  try {
    const onEvent = options.onProgress ?? (() => undefined);
    const opened = await closeKey(options.libDir);
    if (opened !== undefined) onEvent({ kind: 'note', text: opened });
    // A prune must not take a layer away between its being made and its being published.
    return await withBuildLock(options.libDir, onEvent, () =>
      withBuildLock(options.cacheDir, onEvent, () => buildOrRefresh(options, onEvent)),
    );
  } catch (error) {
    if (error instanceof Fault) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new Fault('E_STORE', {
      what: `cannot build the image ${options.role}`,
      why: reasonOf(error),
      todo: code === 'ENOSPC' ? 'free space; what is published is unchanged' : 'what is published is unchanged',
    });
  }
}

type Outcome = { downloadFailed: boolean };

async function buildOrRefresh(options: BuildOptions, onEvent: OnBuildEvent): Promise<BuildResult> {
  const outcome: Outcome = { downloadFailed: false };
  try {
    return await build(options, outcome);
  } catch (error) {
    if (!(error instanceof Fault) || !mayChooseAgain(options, outcome.downloadFailed)) throw error;
    onEvent({ kind: 'note', text: `${error.message}; asking the archive for newer versions` });
    try {
      return await build({ ...options, refresh: true }, outcome);
    } catch {
      // Without a network the second failure would say less than the first.
      throw error;
    }
  }
}

async function build(options: BuildOptions, outcome: Outcome): Promise<BuildResult> {
  const { roleDirs, role, libDir, cacheDir, refresh = false, locked, onProgress: onEvent = () => undefined } = options;
  const chain = await loadChain(roleDirs, role);
  const architecture = architectureOf(chain);
  const store = openStore(libDir);
  const folder = aptFolder(cacheDir, architecture);
  const opened = await openApt(folder, architecture, onEvent, store.packagePath, archiveOf(chain));
  const fetch: Apt['fetch'] = (packages) =>
    opened.fetch(packages).catch((error) => {
      outcome.downloadFailed = true;
      throw error;
    });

  const runtime = await runtimeOfChain(options, chain, architecture);
  const question = { role, chain, architecture, asked: askedPackages(chain), refresh, locked };
  const lock = await chooseVersions(store, { ...opened, fetch }, question);
  const files = await Promise.all(chain.map((found) => readRoleFiles(found.folder)));
  const plan = planImage({ chain, files, solution: lock.packages, runtime });

  const placed = (name: string, error: unknown) => placedPackage(chain, lock.packages, name, error);
  const file: Apt['file'] = (one) => opened.file(one).catch((error) => Promise.reject(placed(one.name, error)));
  const apt: Apt = { ...opened, fetch, file };
  const layers = openLayerCache(store, cacheDir, onEvent);
  const debs = await openDebs(apt, join(cacheDir, 'unpacked'), placed);
  const workshop: Workshop = { store, apt, layers, debs, cacheDir, onEvent };
  // Its package is as large as all others: it is unpacked while they are.
  const takingKernel = takeKernel(workshop, plan);
  // Another refusal may come before anybody waits for it.
  takingKernel.catch(() => undefined);
  try {
    const { drafts, paths } = await makeLayers(workshop, plan.stages, takingKernel);
    const { kernel, facts, first } = await takingKernel;
    const missing = lackingFirmware(chain, facts, paths);
    for (const text of describeMissing(missing)) onEvent({ kind: 'note', text });
    const records = await Promise.all(
      [...first, ...drafts].map(async (draft) => ({ ...draft, layer: await draft.layer })),
    );
    const draft = describeImage(plan, records, missing, {
      image: role,
      builtAt: new Date().toISOString(),
      lock: await store.putLock(lock),
      kernel,
      recipe: { file: `${role}/recipe.yaml`, sha256: sha256Of(chain.map(({ sha256 }) => sha256).join('\n')) },
    });
    return await publishGeneration(workshop, packagesUsed(plan), draft);
  } finally {
    await Promise.allSettled([takingKernel]);
    await layers.abandon();
    await debs.close();
  }
}

async function runtimeOfChain(
  { role, runtime }: BuildOptions,
  chain: readonly LoadedRecipe[],
  architecture: ReturnType<typeof architectureOf>,
): Promise<Runtime | undefined> {
  const { supervisor, place = role } = supervisorOf(chain);
  return supervisor === 'rouse' ? requireRuntime(runtime, architecture, place) : undefined;
}

/**
 * The layers of all stages in the order in which nodes load them.
 *
 * @param takingKernel whose layers lie behind the lowest stage. @returns also everything that is in them, by path.
 */
async function makeLayers(
  workshop: Workshop,
  stages: readonly Stage[],
  takingKernel: Promise<KernelDraft>,
): Promise<{ drafts: LayerDraft[]; paths: ReadonlySet<string> }> {
  const drafts: LayerDraft[] = [];
  const below = new Map<string, string>();
  const add = (draft: LayerDraft | undefined): void => {
    if (draft === undefined) return;
    drafts.push(draft);
    for (const path of draft.paths) below.set(path, draft.name);
  };
  for (const [index, stage] of stages.entries()) {
    add(await packagesLayer(workshop, stage, stages.slice(0, index), below));
    add(await nodeLayer(workshop, stage));
    add(await roleLayer(workshop, stage, below));
    // Templates are in no layer, and laid over all of them.
    for (const path of ownPaths(stage)) below.set(path, stage.found.role);
    if (index === 0) for (const draft of (await takingKernel).behindLowest) add(draft);
  }
  return { drafts, paths: new Set(below.keys()) };
}
