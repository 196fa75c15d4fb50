// images/build.io.ts - from a role's recipe to a published generation of its image.
//
// Owns: the order of the work, and the cache of layers. Does not own: any of the steps (recipe.ts, apt.io.ts, layout.ts,
// kernel.io.ts, role.ts, layers.io.ts, store.io.ts), nor what is refused (chain.ts).
//
// Layers, in the order in which nodes load them: for every recipe of the chain its packages and then its own files, and
// behind the lowest recipe the kernel's modules, and Node with rouse where the recipe wants them. A layer is built only if what goes into it changed: its cache key is the hash
// of all inputs. A build whose result is the newest generation already publishes nothing.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { type Apt, aptFolder, openApt, readDeb } from './apt.io.ts';
import { type ArchivePackage, reachable } from './apt.ts';
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
  microcodeFiles,
  microcodeOf,
  placedFault,
  placeOfModule,
  refuseConflicts,
  refuseLacking,
  refuseMicrocode,
  refuseUnanswered,
} from './chain.ts';
import type { OnBuildEvent } from './event.ts';
import { publishFile, sha256Of } from './files.io.ts';
import { chooseFirmware, describeMissing, isKernelFacts, type KernelFacts } from './firmware.ts';
import { closeKey } from './keys.io.ts';
import { keepLayer, readKept } from './keptlayers.io.ts';
import {
  builtinModules,
  chooseModules,
  type KernelTree,
  moduleEntries,
  openKernel,
  readKernelFacts,
} from './kernel.io.ts';
import { readLicences } from './licences.io.ts';
import { withBuildLock } from './buildlock.io.ts';
import { layoutPackages, type OwnedEntry, type PackageContent } from './layout.ts';
import { packLayer } from './layers.io.ts';
import type { Layer, Manifest } from './manifest.ts';

import {
  bytesByOwner,
  contentOf,
  isKernelNote,
  isLayerRecord,
  type LayerRecord,
  packagesOf,
  runtimeOf,
} from './plan.ts';
import { parseRecipe, placeOf, type Supervisor, supervisorOf } from './recipe.ts';
import { layoutRole, type RoleFiles } from './role.ts';
import { type FoundRecipe, loadChain, readRoleFiles } from './roles.io.ts';
import { LEFT_OUT_PATHS } from './rules.ts';
import { type Runtime, type RuntimeSource, readRuntime } from './runtime.io.ts';
import { NODE_OWNER, ROUSE_OWNER, rouseEntries, RUNTIME_PACKAGES } from './runtime.ts';
import { openStore, readCached, type Store } from './store.io.ts';
import type { ModuleSelection } from './modules.ts';
import { answers, type VersionLock } from './versions.ts';

/** Raised whenever the same inputs give other layers than before: everything cached is built anew then. */
const BUILDER_VERSION = 2;

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

type Outcome = { downloadFailed: boolean };

type Work = {
  readonly store: Store;
  readonly apt: Apt;
  readonly cacheDir: string;
  readonly onEvent: OnBuildEvent;
  readonly contents: Map<string, Promise<PackageContent>>;
};

async function build(options: BuildOptions, outcome: Outcome): Promise<BuildResult> {
  const { roleDirs, role, libDir, cacheDir, refresh = false, onProgress: onEvent = () => undefined } = options;
  const chain = await loadChain(roleDirs, role);
  const architecture = architectureOf(chain);
  const store = openStore(libDir);
  const archive = archiveOf(chain);
  const opened = await openApt(aptFolder(cacheDir, architecture), architecture, onEvent, store.packagePath, archive);
  const apt: Apt = {
    ...opened,
    async fetch(packages) {
      outcome.downloadFailed = true;
      await opened.fetch(packages);
      outcome.downloadFailed = false;
    },
  };
  const work: Work = { store, apt, cacheDir, onEvent, contents: new Map() };

  const { found: kernelOwner, wish: kernelWish } = kernelOf(chain);
  const { supervisor, place } = supervisorOf(chain);
  const isRouse = supervisor === 'rouse';
  const runtime = isRouse ? await requireRuntime(options.runtime, architecture, place ?? role) : undefined;
  const named = askedPackages(chain, [kernelWish.package, ...(isRouse ? RUNTIME_PACKAGES.packages : [])]);
  const lock = await chooseVersions(work, chain, named, { ...options, architecture, refresh });
  const solution = lock.packages;
  const kernelPackage = kernelPackageOf(solution, kernelOwner, kernelWish.package);

  const stages = await planStages(chain, solution, supervisor);
  if (runtime !== undefined) insertRuntime(stages, chain, solution, runtime);
  const records: LayerRecord[] = [];
  const below = new Map<string, string>();
  const accept = (record: LayerRecord | undefined): void => {
    if (record === undefined) return;
    records.push(record);
    for (const path of record.paths) below.set(path, record.layer.name);
  };
  const templates: Manifest['templates'] = [];
  let kernel: Manifest['kernel'] | undefined;
  let facts: KernelFacts | undefined;
  const firmwarePackages = reachable(solution, firmwareOf(chain).packages, isLeftOut);
  const microcodePackages = solution.filter(({ name }) => microcodeOf(chain).some((one) => one.package === name));
  for (const [index, stage] of stages.entries()) {
    accept(await packagesLayer(work, stage, stages.slice(0, index), below));
    accept(await nodeLayer(work, stage));
    accept(await roleLayer(work, stage, below));
    templates.push(...stage.own.templates);
    if (index > 0) continue;
    const made = await modulesLayer(work, kernelOwner, kernelPackage);
    // Compiled-in modules are looked up in the unpacked kernel, which a build from the cache does not need otherwise.
    const lacks = (compiledIn: ReadonlySet<string>) => lackingModules(chain, made.record.paths, compiledIn);
    if (lacks(new Set()).length > 0) refuseLacking(lacks(await made.builtins()), kernelOwner);
    kernel = made.kernel;
    facts = await made.facts();
    accept(made.record);
    accept(await firmwareLayer(work, firmwarePackages, facts));
  }
  if (kernel === undefined || facts === undefined) throw new Error('a chain of recipes is never empty');
  refuseMicrocode(chain, { package: kernelPackage.name, loadsMicrocode: facts.loadsMicrocode });
  const microcode = await microcodeLayer(work, microcodeOf(chain), microcodePackages);
  if (microcode !== undefined) records.unshift(microcode);
  const missing = lackingFirmware(chain, facts, new Set(below.keys()));
  for (const text of describeMissing(missing)) onEvent({ kind: 'note', text });
  const used = [
    ...stages.flatMap(({ packages }) => packages),
    kernelPackage,
    ...firmwarePackages,
    ...microcodePackages,
  ];
  return publish(work, used, {
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
}

async function requireRuntime(
  source: RuntimeSource | undefined,
  architecture: 'amd64' | 'arm64',
  place: string,
): Promise<Runtime> {
  if (source !== undefined) return readRuntime(source, architecture, place);
  throw new Fault('E_BUILD', {
    what: `${place} cannot put rouse into the image`,
    why: 'no Node was given to the builder',
  });
}

/** The versions to build from: a named generation's, else the newest one's, else what the archive has. */
async function chooseVersions(
  { store, apt }: Work,
  chain: readonly FoundRecipe[],
  named: readonly string[],
  {
    role,
    refresh,
    locked,
    architecture,
  }: Pick<BuildOptions, 'role' | 'locked'> & {
    readonly refresh: boolean;
    readonly architecture: VersionLock['architecture'];
  },
): Promise<VersionLock> {
  const asked = named.toSorted();
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
  const question = { architecture, sources: await apt.sources(), asked, ...(archive === undefined ? {} : { archive }) };
  const newest = (await store.list()).find(({ image }) => image === role)?.generations.at(-1);
  const before = newest === undefined ? undefined : await store.manifest(role, newest).catch(() => undefined);
  const lock = before === undefined || refresh ? undefined : await store.lockOf(before);
  if (lock !== undefined && answers(lock, question)) return lock;
  return { version: 1, ...question, packages: await solve(apt, chain, asked, refresh) };
}

async function solve(
  apt: Apt,
  chain: readonly FoundRecipe[],
  names: readonly string[],
  refresh: boolean,
): Promise<ArchivePackage[]> {
  try {
    return await apt.solve(names, refresh);
  } catch (error) {
    throw error instanceof Fault ? placedFault(chain, error) : error;
  }
}

/** One recipe of the chain with what is new in it; `runtime` is set for the one that no role has: Node and rouse. */
type Stage = {
  readonly found: FoundRecipe;
  readonly packages: readonly ArchivePackage[];
  readonly own: RoleFiles;
  readonly runtime?: Runtime;
};

async function planStages(
  chain: readonly FoundRecipe[],
  solution: readonly ArchivePackage[],
  supervisor: Supervisor,
): Promise<Stage[]> {
  const stages: Stage[] = [];
  const before = new Set<string>();
  for (const [index, found] of chain.entries()) {
    const packages = reachable(solution, found.recipe.packages, isLeftOut).filter(({ name }) => !before.has(name));
    for (const { name } of packages) before.add(name);
    const own = layoutRole(chain.slice(0, index + 1), await readRoleFiles(found.folder), supervisor);
    if (own.problems.length > 0) throw new Fault('E_BUILD', { what: own.problems.join('\n') });
    stages.push({ found, packages, own });
  }
  return stages;
}

/** Node and rouse, behind the lowest recipe: as if a recipe asked for them, at the place of the one that did. */
function insertRuntime(
  stages: Stage[],
  chain: readonly FoundRecipe[],
  solution: readonly ArchivePackage[],
  runtime: Runtime,
): void {
  const [lowest, ...higher] = stages;
  const owner = chain.findLast(({ recipe }) => recipe.supervisor === 'rouse');
  const parsed = parseRecipe('images/runtime.ts', JSON.stringify({ version: 1, ...RUNTIME_PACKAGES }));
  if (lowest === undefined || owner === undefined || !parsed.ok) throw new Error('a recipe wants the runtime');
  const below = new Set(lowest.packages.map(({ name }) => name));
  const packages = reachable(solution, RUNTIME_PACKAGES.packages, isLeftOut).filter(({ name }) => !below.has(name));
  const names = new Set(packages.map(({ name }) => name));
  const wish = owner.positions.of(['supervisor']);
  const found: FoundRecipe = {
    ...owner,
    role: ROUSE_OWNER,
    recipe: parsed.value,
    positions: { of: () => wish, ofKey: () => wish },
  };
  const entries = rouseEntries(runtime.programs, runtime.rouseVersion);
  stages.splice(
    0,
    stages.length,
    lowest,
    { found, packages, own: { entries, templates: [], problems: [] }, runtime },
    ...higher.map((stage) => ({ ...stage, packages: stage.packages.filter(({ name }) => !names.has(name)) })),
  );
}

/** Takes a layer from the cache, or makes it. */
async function cached(
  work: Work,
  inputs: unknown,
  make: () => Promise<{ name: string; files: readonly OwnedEntry[]; compression?: Layer['compression'] }>,
): Promise<LayerRecord> {
  const key = sha256Of(JSON.stringify([BUILDER_VERSION, inputs]));
  const folder = join(work.cacheDir, 'layers');
  const path = join(folder, `${key}.json`);
  const before = await readCached(path, isLayerRecord);
  if (before !== undefined && (await work.store.hasLayer(before.layer))) return before;
  const kept = before === undefined ? undefined : await readKept(folder, before.layer);
  if (before !== undefined && kept !== undefined)
    return { ...before, layer: await work.store.putLayer({ layer: before.layer, octets: kept }) };
  const { name, files, compression } = await make();
  work.onEvent({ kind: 'step', step: 'compress', detail: name });
  const packed = await packLayer(
    name,
    files.map(({ entry }) => entry),
    compression,
  );
  const layer = await work.store.putLayer(packed);
  await keepLayer(folder, packed);
  const paths = files.flatMap(({ entry }) => (entry.kind === 'directory' ? [] : [entry.path])).sort();
  const record: LayerRecord = { layer, paths, bytesByOwner: bytesByOwner(files) };
  await publishFile(path, JSON.stringify(record));
  return record;
}

async function packagesLayer(
  work: Work,
  stage: Stage,
  lower: readonly Stage[],
  below: ReadonlyMap<string, string>,
): Promise<LayerRecord | undefined> {
  const { found, packages, own, runtime } = stage;
  if (packages.length === 0) return undefined;
  const { keep, leaveOut } = found.recipe;
  const lowerPackages = lower.flatMap((one) => one.packages);
  // Only what programs and scripts can need: another page or configuration file must not build this layer anew.
  const provided = [...below.keys(), ...own.entries.map(({ path }) => path)]
    .filter((path) => /^usr\/(?:bin|sbin|lib|lib64)\//.test(path))
    .sort();
  const hashes = (list: readonly ArchivePackage[]): string[] => list.map(({ sha256 }) => sha256);
  const name = `${found.role}-packages`;
  const needy = runtime === undefined ? [] : [runtime.nodeSha256];
  const inputs = [name, hashes(packages), hashes(lowerPackages), provided, keep, leaveOut, LEFT_OUT_PATHS, ...needy];
  const record = await cached(work, inputs, async () => {
    await work.apt.fetch([...packages, ...lowerPackages]);
    work.onEvent({ kind: 'step', step: 'unpack', detail: found.role });
    const layout = layoutPackages({
      packages: [...nodeContent(stage), ...(await contentsOf(work, packages))],
      below: await contentsOf(work, lowerPackages),
      provided: new Set(provided),
      keep,
      leaveOut,
    });
    const [problem] = layout.problems;
    if (problem !== undefined) throw new Fault('E_BUILD', { what: `${placeOf(found, ['packages'])} ${problem}` });
    return { name, files: layout.files.filter(({ owner }) => owner !== NODE_OWNER) };
  });
  refuseConflicts(found, record.paths, below);
  return record;
}

/** Node as a package, so that its libraries are found as any program's are. */
function nodeContent({ runtime }: Stage): PackageContent[] {
  return runtime === undefined ? [] : [{ name: NODE_OWNER, entries: [runtime.node()] }];
}

async function nodeLayer(work: Work, stage: Stage): Promise<LayerRecord | undefined> {
  const { runtime } = stage;
  if (runtime === undefined) return undefined;
  return cached(work, [NODE_OWNER, runtime.nodeSha256], async () => ({
    name: NODE_OWNER,
    files: [{ entry: runtime.node(), owner: NODE_OWNER }],
  }));
}

async function contentsOf(work: Work, packages: readonly ArchivePackage[]): Promise<PackageContent[]> {
  const read = async (one: ArchivePackage): Promise<PackageContent> => ({
    name: one.name,
    entries: await readDeb(await work.apt.file(one), one.name),
  });
  const result: PackageContent[] = [];
  for (const one of packages) {
    const reading = work.contents.get(one.sha256) ?? read(one);
    work.contents.set(one.sha256, reading);
    result.push(await reading);
  }
  return result;
}

async function roleLayer(
  work: Work,
  { found, own }: Stage,
  below: ReadonlyMap<string, string>,
): Promise<LayerRecord | undefined> {
  if (own.entries.length === 0) return undefined;
  refuseConflicts(
    found,
    own.entries.filter(({ kind }) => kind !== 'directory').map(({ path }) => path),
    below,
  );
  const hashed = own.entries.map((entry) => (entry.kind === 'file' ? { ...entry, data: sha256Of(entry.data) } : entry));
  return cached(work, [found.role, hashed], async () => ({
    name: found.role,
    files: own.entries.map((entry) => ({ entry, owner: found.role })),
  }));
}

async function modulesLayer(
  work: Work,
  found: FoundRecipe,
  kernelPackage: ArchivePackage,
): Promise<{
  record: LayerRecord;
  kernel: Manifest['kernel'];
  facts: () => Promise<KernelFacts>;
  builtins: () => Promise<ReadonlySet<string>>;
}> {
  const wish = found.recipe.kernel;
  if (wish === undefined) throw new Error('called for a recipe without a kernel');
  let tree: Promise<KernelTree> | undefined;
  const open = (): Promise<KernelTree> => {
    tree ??= work.apt
      .fetch([kernelPackage])
      .then(() => openKernel(work.apt, kernelPackage, join(work.cacheDir, 'kernels'), work.onEvent));
    return tree;
  };
  const place = (module: string): string => placeOfModule(found, module);
  let chosen: Promise<ModuleSelection> | undefined;
  const choose = (): Promise<ModuleSelection> => {
    chosen ??= open().then((kernel) => chooseModules(kernel, wish.modules, wish.extraModules, place, work.onEvent));
    return chosen;
  };
  const inputs = ['modules', kernelPackage.sha256, wish];
  const record = await cached(work, inputs, async () => {
    const entries = moduleEntries(await open(), await choose());
    return { name: 'modules', files: entries.map((entry) => ({ entry, owner: kernelPackage.name })) };
  });
  const facts = async (): Promise<KernelFacts> => {
    const path = join(work.cacheDir, 'kernels', `${sha256Of(JSON.stringify(inputs)).slice(0, 32)}.facts.json`);
    const before = await readCached(path, isKernelFacts);
    const known = before ?? (await readKernelFacts(await open(), await choose()));
    if (before === undefined) await publishFile(path, JSON.stringify(known));
    return known;
  };
  const builtins = async (): Promise<ReadonlySet<string>> => builtinModules(await open());
  const notePath = join(work.cacheDir, 'kernels', `${kernelPackage.sha256.slice(0, 32)}.json`);
  const noted = await readCached(notePath, isKernelNote);
  if (noted !== undefined && (await work.store.hasKernel(noted))) return { record, kernel: noted, facts, builtins };
  const { release, vmlinuz } = await open();
  const octets = await readFile(vmlinuz);
  const kernel = { release, package: kernelPackage.name, sha256: sha256Of(octets), bytes: octets.length };
  await work.store.putKernel(kernel.sha256, octets);
  await publishFile(notePath, JSON.stringify(kernel));
  return { record, kernel, facts, builtins };
}

/** What devices load through the modules that are carried. */
async function firmwareLayer(
  work: Work,
  packages: readonly ArchivePackage[],
  { firmware, endings }: KernelFacts,
): Promise<LayerRecord | undefined> {
  if (packages.length === 0) return undefined;
  const inputs = ['firmware', packages.map(({ sha256 }) => sha256), firmware, endings];
  const record = await cached(work, inputs, async () => {
    await work.apt.fetch(packages);
    return { name: 'firmware', files: chooseFirmware(firmware, endings, await contentsOf(work, packages)) };
  });
  return record.paths.length === 0 ? undefined : record;
}

/** What a kernel reads before it unpacks anything: uncompressed, and the first of all layers. */
async function microcodeLayer(
  work: Work,
  wishes: ReturnType<typeof microcodeOf>,
  packages: readonly ArchivePackage[],
): Promise<LayerRecord | undefined> {
  if (wishes.length === 0) return undefined;
  return cached(work, ['microcode', packages.map(({ sha256 }) => sha256), wishes.map(({ wish }) => wish)], async () => {
    await work.apt.fetch(packages);
    const files = microcodeFiles(wishes, await contentsOf(work, packages));
    return { name: 'microcode', compression: 'none', files };
  });
}

/** Publishes the draft unless the newest generation says the same already. */
async function publish(
  { store, apt, cacheDir, onEvent }: Work,
  used: readonly ArchivePackage[],
  draft: Omit<Manifest, 'generation'>,
): Promise<BuildResult> {
  const newest = (await store.list()).find(({ image }) => image === draft.image)?.generations.at(-1);
  const before = newest === undefined ? undefined : await store.manifest(draft.image, newest).catch(() => undefined);
  if (before !== undefined && contentOf(before) === contentOf(draft)) {
    // One that no node would boot, of a builder that did not sign or whose key is not trusted any more, counts for nothing.
    if ((await store.problems(draft.image, before.generation)).length === 0) return { manifest: before, built: false };
  }
  onEvent({ kind: 'step', step: 'publish', detail: draft.image });
  let licences: ReadonlyMap<string, readonly string[]> = new Map();
  try {
    await apt.fetch(used);
    for (const one of used) await store.keepPackage(one.sha256, await apt.file(one));
    licences = await readLicences(cacheDir, apt, used);
  } catch (error) {
    // Its layers came from the cache, and its packages are nowhere any more.
    if (!(error instanceof Fault)) throw error;
    onEvent({ kind: 'note', text: `${error.message}; this generation can be booted, but not built again` });
  }
  const packages = draft.packages.map((one) => ({ ...one, licences: [...(licences.get(one.name) ?? [])] }));
  return { manifest: await store.publish({ ...draft, packages }), built: true };
}
