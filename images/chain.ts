// images/chain.ts - what a chain of recipes asks for, and the sentences that refuse it at its file and line.
//
// Owns: which kernel, archive, firmware and microcode, and what a build refuses because of them. Does not own: which packages
// (asked.ts), the recipes' own checks (recipe.ts, role.ts), the order of the work (build.io.ts). Pure.

import { Fault } from '../formats/errors.ts';
import { type ArchivePackage, reachable } from './apt.ts';
import { joinArchives, type PlacedArchive } from './archive.ts';
import { type KernelFacts, missingByModule, missingFirmware, type MissingFirmware, orOf, someOf } from './firmware.ts';
import { conflicts, type LayerRecord } from './layerrecord.ts';
import type { OwnedEntry, PackageContent } from './layout.ts';
import { leastMemoryMb, memoryProblem } from './memory.ts';
import { layoutMicrocode, microcodePackage } from './microcode.ts';
import { canonicalModuleName } from './modinfo.ts';
import { missingModules } from './modules.ts';
import { type LoadedRecipe, placeOf, type Recipe } from './recipe.ts';
import { LEFT_OUT_PACKAGES } from './rules.ts';
import type { VersionLock } from './versions.ts';

/** A chain of recipes, the lowest first. */
type Chain = readonly LoadedRecipe[];

/** What the nodes of the image are: the highest recipe that says it. */
export function architectureOf(chain: Chain): VersionLock['architecture'] {
  return chain.findLast(({ recipe }) => recipe.architecture !== undefined)?.recipe.architecture ?? 'amd64';
}

/** Whether no image holds a package of that name, unless a recipe names it. */
export function isLeftOut(name: string): boolean {
  return Object.hasOwn(LEFT_OUT_PACKAGES, name);
}

/** The kernel that the chain asks for, by the highest recipe that names one. @throws Fault E_CONFIG where none does. */
export function kernelOf<Found extends LoadedRecipe>(
  chain: readonly Found[],
): { found: Found; wish: NonNullable<Recipe['kernel']> } {
  const found = chain.findLast(({ recipe }) => recipe.kernel !== undefined);
  if (found?.recipe.kernel !== undefined) return { found, wish: found.recipe.kernel };
  throw new Fault('E_CONFIG', {
    what: `${chain.at(-1)?.file ?? ''}:1:1 no kernel`,
    why: 'neither this recipe nor one that it extends names one',
  });
}

/** The package with the kernel itself: what a recipe names may only depend on it. @throws Fault E_BUILD. */
export function kernelPackageOf(
  solution: readonly ArchivePackage[],
  found: LoadedRecipe,
  name: string,
): ArchivePackage {
  const kernel = reachable(solution, [name], isLeftOut).find((one) => /^linux-image-\d/.test(one.name));
  if (kernel !== undefined) return kernel;
  throw new Fault('E_BUILD', {
    what: `${placeOf(found, ['kernel', 'package'])} ${name} brings no linux-image-VERSION`,
  });
}

/** Where a recipe asks for a kernel module. */
export function placeOfModule(found: LoadedRecipe, module: string): string {
  const extra = found.recipe.kernel?.extraModules ?? [];
  const index = extra.findIndex((name) => name.replaceAll('-', '_') === module);
  return placeOf(found, index === -1 ? ['kernel', 'modules'] : ['kernel', 'extraModules', index]);
}

/** The archive that the chain asks for; undefined: the sources of the host that builds. */
export function archiveOf(chain: Chain): PlacedArchive | undefined {
  return joinArchives(
    chain.map((found) => ({
      archive: found.recipe.archive,
      folder: found.file.slice(0, Math.max(0, found.file.lastIndexOf('/'))),
      place: (...path) => placeOf(found, path),
    })),
  );
}

/** @throws Fault E_BUILD where a recipe replaces files of the layers below without saying so. */
export function refuseConflicts(
  found: LoadedRecipe,
  paths: readonly string[],
  below: ReadonlyMap<string, string>,
): void {
  const [first, ...others] = conflicts(paths, below, found.recipe.override);
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new Fault('E_BUILD', {
    what: `${placeOf(found, ['override'])} ${found.role} replaces /${first.path} of the layer ${first.layer}${more}`,
    why: 'two layers of one image hold it',
    todo: `leave one of them out, or allow it with override: [/${first.path}]`,
  });
}

/** A module that a recipe cannot do without, and that the image lacks. */
export type Lacking = { readonly found: LoadedRecipe; readonly index: number };

/** @param carried paths of the modules' layer. @param compiledIn names of modules that are part of the kernel. */
export function lackingModules(chain: Chain, carried: readonly string[], compiledIn: ReadonlySet<string>): Lacking[] {
  return chain.flatMap((found) =>
    missingModules(found.recipe.requiresModules, carried, compiledIn).map((index) => ({ found, index })),
  );
}

/** A role that cannot work with this kernel's modules would boot, and fail on every node. @throws Fault E_BUILD. */
export function refuseLacking(lacking: readonly Lacking[], kernelOwner: LoadedRecipe): void {
  const [first] = lacking;
  if (first === undefined) return;
  const names = lacking.map(({ found, index }) => found.recipe.requiresModules[index]);
  throw new Fault('E_BUILD', {
    what: `${placeOf(first.found, ['requiresModules', first.index])} the image has no kernel module ${names.join(', ')}`,
    why: `${first.found.role} needs it, and the kernel chosen at ${placeOf(kernelOwner, ['kernel'])} does not bring it`,
    todo: `add it to kernel.extraModules there`,
  });
}

/** What the chain says of firmware, all together. */
export function firmwareOf(chain: Chain): { packages: string[]; without: Record<string, string> } {
  const all = chain.flatMap(({ recipe }) => recipe.firmware ?? []);
  const without = all.flatMap((one) => Object.entries(one.without));
  return {
    packages: [...new Set(all.flatMap(({ packages }) => packages))],
    without: Object.fromEntries(without.map(([module, why]) => [canonicalModuleName(module), why])),
  };
}

/**
 * What modules of the image ask for and it does not hold.
 *
 * @param paths everything in the image. @throws Fault E_BUILD where a recipe requires it.
 */
export function lackingFirmware(
  chain: Chain,
  { firmware, endings }: KernelFacts,
  paths: ReadonlySet<string>,
): MissingFirmware[] {
  const missing = missingByModule(missingFirmware(firmware, endings, paths), firmwareOf(chain));
  const modules = new Set(firmware.map(({ module }) => module));
  for (const found of chain) {
    for (const [index, name] of (found.recipe.firmware?.required ?? []).entries()) {
      const module = canonicalModuleName(name);
      const place = placeOf(found, ['firmware', 'required', index]);
      const what = `${place} the image has no firmware for the kernel module ${name}`;
      if (!modules.has(module)) {
        const why = 'no module of that name in the image asks for any';
        throw new Fault('E_BUILD', { what, why, todo: 'take it off, or take a class of modules that has it' });
      }
      const lack = missing.find((one) => one.module === module);
      if (lack === undefined) continue;
      const todo =
        lack.packages.length === 0
          ? 'no known package holds it: lay it into files/usr/lib/firmware, or take the module off'
          : `add ${orOf(lack.packages)} to firmware.packages`;
      throw new Fault('E_BUILD', { what, why: `not there: ${someOf(lack.files)}`, todo });
    }
  }
  return missing;
}

/** Processors whose microcode is asked for, from which package, and where. */
type MicrocodeWish = { readonly wish: string; readonly package: string; readonly place: string };

export function microcodeOf(chain: Chain): MicrocodeWish[] {
  return chain.flatMap((found) =>
    found.recipe.microcode.map((wish, index) => ({
      wish,
      package: microcodePackage(wish),
      place: placeOf(found, ['microcode', index]),
    })),
  );
}

/** The files of the microcode's layer. @throws Fault E_BUILD where a package does not hold what is asked for. */
export function microcodeFiles(
  wishes: readonly MicrocodeWish[],
  packages: readonly PackageContent<Uint8Array>[],
): readonly OwnedEntry[] {
  const layout = layoutMicrocode(
    wishes.map(({ wish }) => wish),
    packages,
  );
  if (layout.ok) return layout.files;
  const { place = '' } = wishes.find(({ wish }) => wish === layout.wish) ?? wishes[0] ?? {};
  throw new Fault('E_BUILD', { what: `${place} no microcode`, why: layout.why });
}

/** @throws Fault E_BUILD where the image's kernel would pass microcode over. */
export function refuseMicrocode(
  chain: Chain,
  kernel: { readonly package: string; readonly loadsMicrocode: boolean },
): void {
  const [first] = microcodeOf(chain);
  if (first === undefined || kernel.loadsMicrocode) return;
  throw new Fault('E_BUILD', {
    what: `${first.place} ${kernel.package} loads no microcode`,
    why: 'it is built without CONFIG_MICROCODE, as kernels for virtual machines are',
    todo: 'take another kernel (linux-image-amd64), or no microcode',
  });
}

/**
 * What nodes need at least. What a recipe says that this one extends was said of its own image: here it is a floor.
 *
 * @throws Fault E_BUILD where the recipe promises to do with less.
 */
export function chosenMemory(chain: Chain, records: readonly LayerRecord[]): number {
  const layers = records.map(({ layer }) => layer);
  let memoryMb = leastMemoryMb(layers);
  for (const found of chain) {
    const promisedMb = found.recipe.memoryMb ?? 0;
    const isOwn = promisedMb > 0 && found === chain.at(-1);
    const why = isOwn ? memoryProblem(layers, promisedMb) : undefined;
    if (why !== undefined) {
      throw new Fault('E_BUILD', {
        what: `${placeOf(found, ['memoryMb'])} the image does not fit nodes of ${promisedMb} MiB`,
        why,
        todo: 'raise memoryMb, or leave something out: rouse image show tells what weighs what',
      });
    }
    memoryMb = Math.max(memoryMb, promisedMb);
  }
  return memoryMb;
}
