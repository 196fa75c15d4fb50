// images/makekernel.io.ts - the kernel of an image and the layers that go with it: modules, firmware, microcode.
//
// Owns: bringing together what each is made of, and what the cache knows of a kernel (cache/kernels/…json): unpacking one takes
// seconds. Does not own: which modules (modules.ts), firmware (firmware.ts) and microcode (microcode.ts), what is refused
// (chain.ts).

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { ArchivePackage } from './apt.ts';
import { lackingModules, microcodeFiles, microcodeOf, placeOfModule, refuseLacking, refuseMicrocode } from './chain.ts';
import { wholeFile } from './content.io.ts';
import { publishFile, readCached, sha256Of } from './files.io.ts';
import { chooseFirmware, isKernelFacts, type KernelFacts } from './firmware.ts';
import {
  builtinModules,
  chooseModules,
  type KernelTree,
  openKernel,
  readKernelFacts,
  sweepKernels,
} from './kernel.io.ts';
import { isKernelNote, kernelCacheName } from './kernelcache.ts';
import type { LayerDraft } from './layerrecord.ts';
import type { Workshop } from './makelayers.io.ts';
import type { Manifest } from './manifest.ts';
import { isMicrocode } from './microcode.ts';
import { moduleEntries, type ModuleSelection } from './modules.ts';
import { type ImagePlan, modulesInputs } from './plan.ts';

export type KernelDraft = {
  readonly kernel: Manifest['kernel'];
  readonly facts: KernelFacts;
  /** What a kernel reads before it unpacks anything. */
  readonly first: readonly LayerDraft[];
  /** What lies behind the layers of the lowest recipe. */
  readonly behindLowest: readonly LayerDraft[];
};

/** The kernel, which goes to the store, and its layers. @throws Fault E_BUILD where it cannot do what a recipe needs. */
export async function takeKernel(workshop: Workshop, plan: ImagePlan): Promise<KernelDraft> {
  const { apt, layers, cacheDir, onEvent } = workshop;
  const { chain } = plan;
  const { owner, package: one } = plan.kernel;
  const { wish, inputs } = modulesInputs(plan.kernel);
  await sweepKernels(join(cacheDir, 'kernels'));
  let tree: Promise<KernelTree> | undefined;
  const open = (): Promise<KernelTree> => {
    tree ??= apt.fetch([one]).then(() => openKernel(apt, one, join(cacheDir, 'kernels'), onEvent));
    return tree;
  };
  let chosen: Promise<ModuleSelection> | undefined;
  const choose = (): Promise<ModuleSelection> => {
    const place = (module: string): string => placeOfModule(owner, module);
    chosen ??= open().then((kernel) => chooseModules(kernel, wish.modules, wish.extraModules, place, onEvent));
    return chosen;
  };
  const modules = await layers.draft(inputs, async () => {
    const { release, modulesFolder } = await open();
    const entries = moduleEntries(release, await choose(), (path) => wholeFile(join(modulesFolder, path)));
    return { name: 'modules', files: entries.map((entry) => ({ entry, owner: one.name })) };
  });
  const lacks = (compiledIn: ReadonlySet<string>) => lackingModules(chain, modules.paths, compiledIn);
  // What is compiled in is asked only if it must be known: a build from the cache does not unpack the kernel otherwise.
  if (lacks(new Set()).length > 0) refuseLacking(lacks(await builtinModules(await open())), owner);
  const factsPath = join(cacheDir, 'kernels', `${kernelCacheName(sha256Of(JSON.stringify(inputs)))}.facts.json`);
  const factsBefore = await readCached(factsPath, isKernelFacts);
  const facts = factsBefore ?? (await readKernelFacts(await open(), await choose()));
  if (factsBefore === undefined) await publishFile(factsPath, JSON.stringify(facts));
  refuseMicrocode(chain, { package: one.name, loadsMicrocode: facts.loadsMicrocode });
  const microcode = await microcodeLayer(workshop, plan);
  const firmware = await firmwareLayer(workshop, plan.firmware, facts);
  return {
    kernel: await noteKernel(workshop, one, open),
    facts,
    first: microcode === undefined ? [] : [microcode],
    behindLowest: firmware === undefined ? [modules] : [modules, firmware],
  };
}

/** What the manifest says of the kernel, which is in the store then. */
async function noteKernel(
  { store, cacheDir }: Workshop,
  one: ArchivePackage,
  open: () => Promise<KernelTree>,
): Promise<Manifest['kernel']> {
  const path = join(cacheDir, 'kernels', `${kernelCacheName(one.sha256)}.json`);
  const noted = await readCached(path, isKernelNote);
  if (noted !== undefined && (await store.hasKernel(noted))) return noted;
  const { release, vmlinuz } = await open();
  const kernel = { release, package: one.name, ...(await store.putKernel(createReadStream(vmlinuz))) };
  await publishFile(path, JSON.stringify(kernel));
  return kernel;
}

/** What devices load through the modules that are carried. @returns undefined where the packages hold nothing of it. */
async function firmwareLayer(
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

/** Uncompressed: a kernel reads it where it lies. */
async function microcodeLayer(
  { apt, layers, debs }: Workshop,
  { chain, microcode: packages }: ImagePlan,
): Promise<LayerDraft | undefined> {
  const wishes = microcodeOf(chain);
  if (wishes.length === 0) return undefined;
  const inputs = ['microcode', packages.map(({ sha256 }) => sha256), wishes.map(({ wish }) => wish)];
  return layers.draft(inputs, async () => {
    await apt.fetch(packages);
    const files = microcodeFiles(wishes, await Promise.all(packages.map((one) => debs.load(one, isMicrocode))));
    return { name: 'microcode', compression: 'none', files };
  });
}
