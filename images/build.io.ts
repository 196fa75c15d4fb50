// images/build.io.ts - from a role's recipe to a published generation of its image.
//
// Owns: the order of the work. Does not own: any of the steps: what a recipe asks for and is refused (recipe.ts, chain.ts),
// which versions (chooseversions.io.ts), which layers (stages.ts), making them (makelayers.io.ts, layercache.io.ts), publishing
// (publishgeneration.io.ts).

import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { aptFolder, openApt } from './apt.io.ts';
import { reachable } from './apt.ts';
import { withBuildLock } from './buildlock.io.ts';
import {
  architectureOf,
  archiveOf,
  askedPackages,
  chosenMemory,
  firmwareOf,
  isLeftOut,
  kernelOf,
  kernelPackageOf,
  lackingFirmware,
  lackingModules,
  microcodeOf,
  placedPackage,
  refuseLacking,
  refuseMicrocode,
} from './chain.ts';
import { chooseVersions } from './chooseversions.io.ts';
import type { OnBuildEvent } from './event.ts';
import { sha256Of } from './files.io.ts';
import { describeMissing } from './firmware.ts';
import { closeKey } from './keys.io.ts';
import { openLayerCache } from './layercache.io.ts';
import {
  firmwareLayer,
  microcodeLayer,
  nodeLayer,
  openDebs,
  packagesLayer,
  roleLayer,
  takeKernel,
  type Workshop,
} from './makelayers.io.ts';
import type { Manifest } from './manifest.ts';
import { type LayerDraft, packagesOf, runtimeOf } from './plan.ts';
import { publishGeneration } from './publishgeneration.io.ts';
import { supervisorOf } from './recipe.ts';
import { loadChain, readRoleFiles } from './roles.io.ts';
import { type RuntimeSource, requireRuntime } from './runtime.io.ts';
import { RUNTIME_PACKAGES } from './runtime.ts';
import { planStages, type Stage } from './stages.ts';
import { openStore } from './store.io.ts';

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

/** The archive drops old versions: what was chosen some time ago may be gone, and newer versions are chosen then. */
async function buildOrRefresh(options: BuildOptions, onEvent: OnBuildEvent): Promise<BuildResult> {
  const outcome: Outcome = { downloadFailed: false };
  try {
    return await build(options, outcome);
  } catch (error) {
    const isPinned = options.refresh === true || options.locked !== undefined;
    if (!(error instanceof Fault) || !outcome.downloadFailed || isPinned) throw error;
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
  const fetch: typeof opened.fetch = async (packages) => {
    outcome.downloadFailed = true;
    await opened.fetch(packages);
    outcome.downloadFailed = false;
  };

  const { found: kernelOwner, wish: kernelWish } = kernelOf(chain);
  const { supervisor, place } = supervisorOf(chain);
  const isRouse = supervisor === 'rouse';
  const runtime = isRouse ? await requireRuntime(options.runtime, architecture, place ?? role) : undefined;
  const asked = askedPackages(chain, [kernelWish.package, ...(isRouse ? RUNTIME_PACKAGES.packages : [])]);
  const lock = await chooseVersions(store, { ...opened, fetch }, { role, chain, architecture, asked, refresh, locked });
  const solution = lock.packages;
  const kernelPackage = kernelPackageOf(solution, kernelOwner, kernelWish.package);
  const files = await Promise.all(chain.map((found) => readRoleFiles(found.folder)));
  const stages = planStages({ chain, files, solution, supervisor, runtime });
  const firmwarePackages = reachable(solution, firmwareOf(chain).packages, isLeftOut);
  const microcodePackages = solution.filter(({ name }) => microcodeOf(chain).some((one) => one.package === name));

  const placed = (name: string, error: unknown) => placedPackage(chain, solution, name, error);
  const apt: typeof opened = {
    ...opened,
    fetch,
    file: (one) => opened.file(one).catch((error: unknown) => Promise.reject(placed(one.name, error))),
  };
  const layers = openLayerCache(store, cacheDir, onEvent);
  const debs = await openDebs(apt, join(cacheDir, 'unpacked'), placed);
  const workshop: Workshop = { store, apt, layers, debs, cacheDir, onEvent };
  try {
    const { kernel, modules, facts, builtins } = await takeKernel(workshop, kernelOwner, kernelPackage);
    const lacks = (compiledIn: ReadonlySet<string>) => lackingModules(chain, modules.paths, compiledIn);
    if (lacks(new Set()).length > 0) refuseLacking(lacks(await builtins()), kernelOwner);
    refuseMicrocode(chain, { package: kernelPackage.name, loadsMicrocode: facts.loadsMicrocode });
    const firmware = await firmwareLayer(workshop, firmwarePackages, facts);
    const { drafts, paths } = await makeLayers(workshop, stages, [modules, firmware]);
    const missing = lackingFirmware(chain, facts, paths);
    for (const text of describeMissing(missing)) onEvent({ kind: 'note', text });
    const microcode = await microcodeLayer(workshop, microcodeOf(chain), microcodePackages);
    const all = microcode === undefined ? drafts : [microcode, ...drafts];
    const records = await Promise.all(all.map(async (draft) => ({ ...draft, layer: await draft.layer })));
    const packages = stages.flatMap((stage) => stage.packages);
    // A package may be wanted twice: amd64-microcode holds firmware of the module ccp, too.
    const used = [...new Set([...packages, kernelPackage, ...firmwarePackages, ...microcodePackages])];
    const templates = stages.flatMap(({ own }) => own.templates);
    return await publishGeneration(workshop, used, {
      version: 1,
      lock: await store.putLock(lock),
      image: role,
      builtAt: new Date().toISOString(),
      recipe: {
        file: `${role}/recipe.yaml`,
        sha256: sha256Of(chain.map(({ sha256 }) => sha256).join('\n')),
      },
      kernel,
      layers: records.map(({ layer }) => layer),
      memoryMb: chosenMemory(chain, records),
      packages: packagesOf(records, used),
      vars: Object.assign({}, ...chain.map(({ recipe }) => recipe.vars)),
      templates: [...new Map(templates.map((template) => [template.path, template])).values()],
      services: chain.flatMap(({ recipe }) => recipe.services),
      ...(missing.length === 0 ? {} : { missingFirmware: missing }),
      ...(runtime === undefined ? {} : { runtime: runtimeOf(records, runtime) }),
    });
  } finally {
    await layers.abandon();
    await debs.close();
  }
}

/**
 * The layers of all stages in the order in which nodes load them.
 *
 * @param kernels those of the kernel, which come behind the lowest stage. @returns also everything that is in them, by path.
 */
async function makeLayers(
  workshop: Workshop,
  stages: readonly Stage[],
  kernels: readonly (LayerDraft | undefined)[],
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
    if (index === 0) for (const draft of kernels) add(draft);
  }
  return { drafts, paths: new Set(below.keys()) };
}
