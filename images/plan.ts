// images/plan.ts - an image before any layer of it is made: which recipe brings what, in which order.
//
// Owns: what is new in each recipe of a chain, the place of Node and rouse among them, whose template or file nodes have, and what
// a layer is made from, which is what its cache goes by. Does not own: the recipes (recipe.ts), the files of a layer (layout.ts, role.ts), making it
// (makelayers.io.ts).
//
// Layers, in the order in which nodes load them: microcode, where the chain asks for it; for every recipe its packages and then
// its own files; behind those of the lowest recipe the kernel's modules and their firmware, then, where a recipe wants rouse, the
// packages that Node needs, Node, and rouse. Pure.

import { type ArchivePackage, reachable } from './apt.ts';
import { firmwareOf, isLeftOut, kernelOf, kernelPackageOf, microcodeOf } from './chain.ts';
import type { Template } from './manifest.ts';
import { MODULE_CLASSES } from './modules.ts';
import { type LoadedRecipe, parseRecipe, recipeFault, supervisorOf } from './recipe.ts';
import { layoutRole, type RoleFile, type RoleFiles } from './role.ts';
import { LEFT_OUT_PATHS } from './rules.ts';
import { ROUSE_OWNER, rouseEntries, type Runtime, RUNTIME_PACKAGES } from './runtime.ts';

/** One recipe of the chain with what is new in it; `runtime` is set for the one that no role has: Node and rouse. */
export type Stage = {
  readonly found: LoadedRecipe;
  readonly packages: readonly ArchivePackage[];
  readonly own: RoleFiles;
  readonly runtime?: Runtime;
};

/** What an image is made of. */
export type ImagePlan = {
  readonly chain: readonly LoadedRecipe[];
  readonly stages: readonly Stage[];
  /** The recipe that names the kernel, and the package that holds it. */
  readonly kernel: { readonly owner: LoadedRecipe; readonly package: ArchivePackage };
  readonly firmware: readonly ArchivePackage[];
  readonly microcode: readonly ArchivePackage[];
  readonly runtime: Runtime | undefined;
};

/** What a plan is made from. */
type PlanQuestion = {
  /** The lowest recipe first. */
  readonly chain: readonly LoadedRecipe[];
  /** Those of each recipe's folder. */
  readonly files: readonly (readonly RoleFile[])[];
  /** Every package that apt has chosen. */
  readonly solution: readonly ArchivePackage[];
  readonly runtime: Runtime | undefined;
};

/** @throws Fault E_BUILD with everything that is wrong with the recipes' own files. */
export function planImage(question: PlanQuestion): ImagePlan {
  const { chain, solution, runtime } = question;
  const { found: owner, wish } = kernelOf(chain);
  const microcode = new Set(microcodeOf(chain).map((one) => one.package));
  return {
    chain,
    kernel: { owner, package: kernelPackageOf(solution, owner, wish.package) },
    stages: planStages(question),
    firmware: reachable(solution, firmwareOf(chain).packages, isLeftOut),
    microcode: solution.filter(({ name }) => microcode.has(name)),
    runtime,
  };
}

/** Every package that may have a file in the image, and the kernel's; each once, though amd64-microcode holds firmware too. */
export function packagesUsed({ stages, kernel, firmware, microcode }: ImagePlan): ArchivePackage[] {
  const packages = stages.flatMap((stage) => stage.packages);
  return [...new Set([...packages, kernel.package, ...firmware, ...microcode])];
}

/** The stages of a chain, the lowest first. @throws as planImage. */
export function planStages({ chain, files, solution, runtime }: PlanQuestion): Stage[] {
  const { supervisor } = supervisorOf(chain);
  const stages: Stage[] = [];
  const before = new Set<string>();
  const addStage = (stage: Omit<Stage, 'packages'>): void => {
    const all = reachable(solution, stage.found.recipe.packages, isLeftOut);
    stages.push({ ...stage, packages: all.filter(({ name }) => !before.has(name)) });
    for (const { name } of all) before.add(name);
  };
  for (const [index, found] of chain.entries()) {
    const own = layoutRole(chain.slice(0, index + 1), files[index] ?? [], supervisor);
    if (own.problems.length > 0) throw recipeFault('E_BUILD', own.problems);
    addStage({ found, own });
    if (index === 0 && runtime !== undefined) addStage(runtimeStage(chain, runtime));
  }
  return stages;
}

/** Paths of what a recipe itself brings but folders, its templates among them, without leading slash. */
export function ownPaths({ own }: Pick<Stage, 'own'>): string[] {
  const files = own.entries.filter(({ kind }) => kind !== 'directory');
  return [...files.map(({ path }) => path), ...own.templates.map(({ path }) => path.slice(1))];
}

/**
 * What is rendered at boot: it is laid over all layers, so that one whose path a higher recipe's file has taken must go.
 *
 * @param stages the lowest first. @param layers what is in each, by its name.
 */
export function templatesLeft(
  stages: readonly Pick<Stage, 'found' | 'own'>[],
  layers: ReadonlyMap<string, readonly string[]>,
): Template[] {
  const left = new Map<string, Template>();
  for (const { found, own } of stages) {
    for (const layer of [packagesLayerName(found), found.role])
      for (const path of layers.get(layer) ?? []) left.delete(`/${path}`);
    for (const template of own.templates) left.set(template.path, template);
  }
  return [...left.values()];
}

function packagesLayerName({ role }: LoadedRecipe): string {
  return `${role}-packages`;
}

/** Node and rouse, as if a recipe asked for them, at the place of the one that did. */
function runtimeStage(chain: readonly LoadedRecipe[], runtime: Runtime): Omit<Stage, 'packages'> {
  const owner = chain.findLast(({ recipe }) => recipe.supervisor === 'rouse');
  const parsed = parseRecipe('images/runtime.ts', JSON.stringify({ version: 1, ...RUNTIME_PACKAGES }));
  if (owner === undefined || !parsed.ok) throw new Error('a recipe wants the runtime');
  const wish = owner.positions.of(['supervisor']);
  return {
    found: { ...owner, role: ROUSE_OWNER, recipe: parsed.value, positions: { of: () => wish, ofKey: () => wish } },
    own: { entries: rouseEntries(runtime.programs, runtime.rouseVersion), templates: [], problems: [] },
    runtime,
  };
}

/**
 * Paths of the image that programs and scripts of a stage's packages may need, sorted.
 *
 * Only those: another page or configuration file must not build the packages' layer anew.
 */
export function providedTo({ own }: Stage, below: Iterable<string>): string[] {
  return [...below, ...own.entries.map(({ path }) => path)]
    .filter((path) => /^usr\/(?:bin|sbin|lib|lib64)\//.test(path))
    .sort();
}

/** All that the layer of a kernel's modules is made from. @throws Error where the recipe names no kernel. */
export function modulesInputs({ owner, package: one }: ImagePlan['kernel']): {
  readonly wish: NonNullable<LoadedRecipe['recipe']['kernel']>;
  readonly inputs: unknown;
} {
  const wish = owner.recipe.kernel;
  if (wish === undefined) throw new Error('called for a recipe without a kernel');
  return { wish, inputs: ['modules', one.sha256, wish, MODULE_CLASSES[wish.modules]] };
}

/** All that the layer of a stage's packages is made from. @param provided as of providedTo. */
export function packagesInputs(
  { found, packages, runtime }: Stage,
  lower: readonly Stage[],
  provided: readonly string[],
): {
  readonly name: string;
  readonly inputs: unknown;
} {
  const { keep, leaveOut } = found.recipe;
  const hashes = (list: readonly ArchivePackage[]): string[] => list.map(({ sha256 }) => sha256);
  const name = packagesLayerName(found);
  const lowerHashes = hashes(lower.flatMap((stage) => stage.packages));
  const needy = runtime === undefined ? [] : [runtime.nodeSha256];
  return { name, inputs: [name, hashes(packages), lowerHashes, provided, keep, leaveOut, LEFT_OUT_PATHS, ...needy] };
}
