// images/store.io.ts - the images of this machine: layers, kernels, generations, and which of them nodes boot.
//
// Owns: lib/images as ARCHITECTURE.md "Places" draws it: atomic publication, promotion, reading manifests.
// Does not own: what a manifest says (manifest.ts), who may have signed it (signature.ts), building one (build.io.ts).
//
//   layers/SHA256.zst|.gz|.cpio   kernels/SHA256   packages/SHA256.deb   locks/SHA256.json
//   IMAGE/N.json   IMAGE/current -> N.json   IMAGE/previous -> M.json
//
// What is named by its content is never written twice. `previous` is what was current before the last
// promotion: rollback swaps the two.

import { createReadStream } from 'node:fs';
import { mkdir, readdir, readlink, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { Content } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import {
  Gauge,
  keepFile,
  type Octets,
  orAbsent,
  publishLink,
  publishNew,
  publishStaged,
  readIfThere,
  readRegular,
  sha256Of,
  stageFile,
} from './files.io.ts';
import { readTrusted, signManifest } from './keys.io.ts';
import { describeStored, type PackOptions, writeLayer } from './layers.io.ts';
import { type ImageSummary, type Layer, layerFile, type Manifest } from './manifest.ts';
import { SealedFiles } from './sealed.io.ts';
import { type Opened, openSigned } from './signature.ts';
import { parseLock, type VersionLock } from './versions.ts';

/** Folders of lib/images that are no image. */
const SHARED_FOLDERS: readonly string[] = ['layers', 'kernels', 'packages', 'locks'];

/** A file with a larger number is no generation: beyond it numbers are not told apart. */
const MOST_GENERATIONS = Number.MAX_SAFE_INTEGER;

export type Store = {
  readonly layerPath: (layer: Pick<Layer, 'sha256' | 'compression'>) => string;
  readonly kernelPath: (sha256: string) => string;
  /** Whether its file is there and whole. */
  readonly hasLayer: (layer: Layer) => Promise<boolean>;
  /**
   * Makes a layer of files; see writeLayer.
   * @returns what describes the stored file: one that holds the layer already is never written again.
   */
  readonly makeLayer: (name: string, files: readonly CpioEntry<Content>[], options?: PackOptions) => Promise<Layer>;
  /** Takes a layer as it is served. @returns as makeLayer; undefined, and nothing is taken, where it is not that layer's file. */
  readonly takeLayer: (layer: Layer, served: Octets) => Promise<Layer | undefined>;
  /** Whether it is there and whole. */
  readonly hasKernel: (kernel: Pick<Manifest['kernel'], 'sha256'>) => Promise<boolean>;
  /** Takes a kernel; one that is there and whole is not written again. @returns its name and size. */
  readonly putKernel: (octets: Octets) => Promise<Pick<Manifest['kernel'], 'sha256' | 'bytes'>>;
  readonly packagePath: (sha256: string) => string;
  /** Whether that .deb is kept. */
  readonly hasPackage: (one: { readonly sha256: string; readonly bytes: number }) => Promise<boolean>;
  /** Keeps a .deb with the generations that are built from it. */
  readonly keepPackage: (sha256: string, from: string) => Promise<void>;
  /** @returns the lock's name. */
  readonly putLock: (lock: VersionLock) => Promise<string>;
  /** The versions that a generation was built from; undefined where they were not written down or are damaged. */
  readonly lockOf: (manifest: Pick<Manifest, 'lock'>) => Promise<VersionLock | undefined>;
  /** All images, by name. */
  readonly list: () => Promise<ImageSummary[]>;
  /** Where the links of an image lead, whether that is there or not. */
  readonly pointers: (image: string) => Promise<Pick<ImageSummary, 'current' | 'previous'>>;
  /** @throws Fault E_NOT_FOUND where there is no such image. */
  readonly summary: (image: string) => Promise<ImageSummary>;
  /** Without a generation the current one, whoever signed it. @throws Fault E_NOT_FOUND, E_STORE. */
  readonly manifest: (image: string, generation?: number) => Promise<Manifest>;
  /** The newest generation of an image; undefined where there is none, or it cannot be read. */
  readonly newest: (image: string) => Promise<Manifest | undefined>;
  /** What keeps a generation from being booted: one sentence for each thing that is wrong with its signature and files. */
  readonly problems: (image: string, generation: number) => Promise<string[]>;
  /**
   * Signs and writes the next generation. It becomes current where nodes could boot none otherwise: it is the first, or
   * the current one is not signed by a trusted key or not whole. @returns it with its number.
   * @throws Fault E_STORE, and nothing is published, where a file that it names is not whole.
   */
  readonly publish: (draft: Omit<Manifest, 'generation'>) => Promise<Manifest>;
  /** Makes a generation what nodes boot. @returns the one that was current. @throws Fault E_UNTRUSTED where no node should. */
  readonly promote: (image: string, generation: number) => Promise<number | undefined>;
  /** Makes current what was current before. @returns the generation that is current now. */
  readonly rollback: (image: string) => Promise<number>;
};

/** @param libDir lib/ of ARCHITECTURE.md; lib/images is made where it is missing. */
export function openStore(libDir: string): Store {
  const root = join(libDir, 'images');
  const sealed = new SealedFiles();
  const layerPath: Store['layerPath'] = (layer) => join(root, 'layers', layerFile(layer));
  const kernelPath: Store['kernelPath'] = (sha256) => join(root, 'kernels', sha256);
  const packagePath: Store['packagePath'] = (sha256) => join(root, 'packages', `${sha256}.deb`);
  const lockPath = (sha256: string): string => join(root, 'locks', `${sha256}.json`);
  const generationPath = (image: string, generation: number): string => join(root, image, `${generation}.json`);

  // By its hash: a build that took a damaged file for the layer would name it in one generation after the other.
  const hasLayer: Store['hasLayer'] = async (layer) =>
    (await sealed.problem(layerPath(layer), layer.servedSha256)) === undefined;
  const hasKernel: Store['hasKernel'] = async ({ sha256 }) =>
    (await sealed.problem(kernelPath(sha256), sha256)) === undefined;
  /** A layer that was written becomes the store's, unless its file is there: a node may be reading it. */
  const settle = async (layer: Layer, staged: string): Promise<Layer> => {
    const path = layerPath(layer);
    const isThere = (await orAbsent(stat(path), undefined))?.isFile();
    const described = isThere === true ? await describeStored(layer, createReadStream(path)) : undefined;
    if (described === undefined) await publishStaged(staged, path);
    else await rm(staged);
    return described ?? layer;
  };
  const pointer = async (image: string, link: 'current' | 'previous'): Promise<number | undefined> => {
    const target = await orAbsent(readlink(join(root, image, link)), undefined);
    const match = /^(\d+)\.json$/.exec(target ?? '');
    const generation = Number(match?.[1]);
    return generation <= MOST_GENERATIONS ? generation : undefined;
  };
  const generationsOf = async (image: string): Promise<number[]> => {
    const names = await orAbsent(readdir(join(root, image)), []);
    return names
      .flatMap((name) => /^([1-9]\d*)\.json$/.exec(name)?.[1] ?? [])
      .map(Number)
      .filter((number) => number <= MOST_GENERATIONS)
      .sort((a, b) => a - b);
  };
  const pointers: Store['pointers'] = async (image) => ({
    current: await pointer(image, 'current'),
    previous: await pointer(image, 'previous'),
  });
  const summarise = async (image: string): Promise<ImageSummary> => ({
    image,
    generations: await generationsOf(image),
    ...(await pointers(image)),
  });
  const list: Store['list'] = async () => {
    const names = (await orAbsent(readdir(root, { withFileTypes: true }), []))
      .filter((entry) => entry.isDirectory() && !SHARED_FOLDERS.includes(entry.name))
      .map(({ name }) => name)
      .sort();
    const all = await Promise.all(names.map(summarise));
    return all.filter(({ generations }) => generations.length > 0);
  };
  const summary: Store['summary'] = async (image) => {
    const all = await list();
    const found = all.find((one) => one.image === image);
    if (found !== undefined) return found;
    const known = all.map((one) => one.image).join(', ');
    throw new Fault('E_NOT_FOUND', {
      what: `there is no image ${image}`,
      why: known === '' ? 'none is built' : `built are: ${known}`,
      todo: `build it with: rouse image build ${image}`,
    });
  };
  const manifest: Store['manifest'] = async (image, generation) => {
    const found = await summary(image);
    const number = generation ?? found.current;
    if (number === undefined) {
      throw new Fault('E_NOT_FOUND', {
        what: `no generation of ${image} is promoted`,
        todo: `promote one with: rouse image promote ${image}`,
      });
    }
    if (!found.generations.includes(number)) {
      throw new Fault('E_NOT_FOUND', {
        what: `there is no generation ${number} of ${image}`,
        why: `there are: ${found.generations.join(', ')}`,
      });
    }
    const opened = await open(image, number);
    if (opened.kind !== 'unreadable') return opened.manifest;
    throw new Fault('E_STORE', {
      what: `cannot read ${generationPath(image, number)}`,
      why: opened.why,
      todo: `build ${image} again`,
    });
  };
  const open = async (image: string, generation: number): Promise<Opened> => {
    try {
      const octets = await readRegular(generationPath(image, generation));
      return openSigned(octets.toString(), { image, generation }, await readTrusted(libDir));
    } catch (error) {
      return { kind: 'unreadable', why: reasonOf(error) };
    }
  };
  const problems: Store['problems'] = async (image, generation) => {
    const opened = await open(image, generation);
    const found = opened.kind === 'trusted' ? [] : [`the manifest cannot be trusted: ${opened.why}`];
    return opened.kind === 'unreadable' ? found : [...found, ...(await fileProblems(opened.manifest))];
  };
  const fileProblems = async ({ kernel, layers }: Pick<Manifest, 'kernel' | 'layers'>): Promise<string[]> => {
    const found: string[] = [];
    const kernelProblem = await sealed.problem(kernelPath(kernel.sha256), kernel.sha256);
    if (kernelProblem !== undefined) found.push(`the kernel ${kernel.release} ${kernelProblem}`);
    for (const layer of layers) {
      const problem = await sealed.problem(layerPath(layer), layer.servedSha256);
      if (problem !== undefined) found.push(`the layer ${layer.name} ${layer.sha256.slice(0, 12)} ${problem}`);
    }
    return found;
  };
  const promote: Store['promote'] = async (image, generation) => {
    const { generations, current } = await summary(image);
    if (!generations.includes(generation)) {
      throw new Fault('E_NOT_FOUND', {
        what: `there is no generation ${generation} of ${image}`,
        why: `there are: ${generations.join(', ')}`,
      });
    }
    if (current === generation) return current;
    const [problem] = await problems(image, generation);
    if (problem !== undefined) {
      throw new Fault('E_UNTRUSTED', {
        what: `nodes do not boot generation ${generation} of ${image}`,
        why: problem,
        todo: `what they boot is unchanged; build it again with: rouse image build ${image}`,
      });
    }
    if (current !== undefined) await publishLink(join(root, image, 'previous'), `${current}.json`);
    await publishLink(join(root, image, 'current'), `${generation}.json`);
    if ((await generationsOf(image)).includes(generation)) return current;
    // A prune at the same moment, which looks at the pointers again before it takes anything away for good.
    if (current !== undefined) await publishLink(join(root, image, 'current'), `${current}.json`);
    throw new Fault('E_NO', { what: `generation ${generation} of ${image} was pruned meanwhile` });
  };
  return {
    layerPath,
    kernelPath,
    hasLayer,
    hasKernel,
    async makeLayer(name, files, options) {
      const { layer, staged } = await writeLayer(join(root, 'layers'), name, files, options);
      return settle(layer, staged);
    },
    async takeLayer(layer, served) {
      const gauge = new Gauge();
      const staged = await stageFile(join(root, 'layers'), gauge.of(served));
      if (gauge.sha256() === layer.servedSha256) return settle(layer, staged);
      await rm(staged);
      return undefined;
    },
    async putKernel(octets) {
      const gauge = new Gauge();
      const staged = await stageFile(join(root, 'kernels'), gauge.of(octets));
      const kernel = { sha256: gauge.sha256(), bytes: gauge.bytes };
      if (await hasKernel(kernel)) await rm(staged);
      else await publishStaged(staged, kernelPath(kernel.sha256));
      return kernel;
    },
    packagePath,
    async hasPackage({ sha256, bytes }) {
      return (await orAbsent(stat(packagePath(sha256)), undefined))?.size === bytes;
    },
    keepPackage: (sha256, from) => keepFile(from, packagePath(sha256)),
    async putLock(lock) {
      const text = `${JSON.stringify(lock, undefined, 1)}\n`;
      const name = sha256Of(text);
      await publishNew(lockPath(name), text, 0o444);
      return name;
    },
    async lockOf({ lock: name }) {
      const octets = name === undefined ? undefined : await readIfThere(lockPath(name));
      return octets === undefined || sha256Of(octets) !== name ? undefined : parseLock(octets.toString());
    },
    list,
    pointers,
    summary,
    manifest,
    async newest(image) {
      const generation = (await generationsOf(image)).at(-1);
      const opened = generation === undefined ? undefined : await open(image, generation);
      return opened === undefined || opened.kind === 'unreadable' ? undefined : opened.manifest;
    },
    problems,
    async publish(draft) {
      const [problem] = await fileProblems(draft);
      if (problem !== undefined) {
        throw new Fault('E_STORE', {
          what: `cannot publish ${draft.image}`,
          why: problem,
          todo: `what nodes boot is unchanged; build it again with: rouse image build ${draft.image}`,
        });
      }
      await mkdir(join(root, draft.image), { recursive: true });
      for (;;) {
        const generation = ((await generationsOf(draft.image)).at(-1) ?? 0) + 1;
        if (generation > MOST_GENERATIONS) {
          throw new Fault('E_STORE', {
            what: `cannot publish ${draft.image}`,
            why: `no number is left behind generation ${generation - 1}`,
            todo: `remove ${generationPath(draft.image, generation - 1)}, which no build has written`,
          });
        }
        const whole: Manifest = { ...draft, generation };
        const text = await signManifest(libDir, whole);
        if (!(await publishNew(generationPath(draft.image, generation), text))) continue;
        const current = await pointer(draft.image, 'current');
        const isBootable = current !== undefined && (await problems(draft.image, current)).length === 0;
        if (!isBootable) await promote(draft.image, generation);
        return whole;
      }
    },
    promote,
    async rollback(image) {
      const { previous, generations } = await summary(image);
      if (previous === undefined || !generations.includes(previous)) {
        throw new Fault('E_NO', {
          what: `cannot roll ${image} back`,
          why: 'no other generation has been promoted before',
        });
      }
      await promote(image, previous);
      return previous;
    },
  };
}
