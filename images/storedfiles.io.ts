// images/storedfiles.io.ts - what lies in the store by the name of its own hash: layers, kernels, packages, lists of versions.
//
// Owns: their places below lib/images, and writing each once. Does not own: which of them belong together (generations.io.ts),
// how a layer is made (layers.io.ts), whether a file is still what it was (sealed.io.ts).

import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Content } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import {
  Gauge,
  keepFile,
  type Octets,
  orAbsent,
  publishFile,
  publishStaged,
  readIfSound,
  sha256Of,
  stageFile,
} from './files.io.ts';
import { describeStored, type PackOptions, writeLayer } from './layers.io.ts';
import { type Layer, layerFile, type Manifest } from './manifest.ts';
import { SealedFiles } from './sealed.io.ts';
import { parseLock, type VersionLock } from './versions.ts';

export type StoredFiles = {
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
  /** One sentence for each file that a manifest names and that is not there, or not whole. */
  readonly fileProblems: (manifest: Pick<Manifest, 'kernel' | 'layers'>) => Promise<string[]>;
};

/** @param root lib/images. */
export function openStoredFiles(root: string): StoredFiles {
  const layerPath: StoredFiles['layerPath'] = (layer) => join(root, 'layers', layerFile(layer));
  const kernelPath: StoredFiles['kernelPath'] = (sha256) => join(root, 'kernels', sha256);
  const packagePath: StoredFiles['packagePath'] = (sha256) => join(root, 'packages', `${sha256}.deb`);
  const lockPath = (sha256: string): string => join(root, 'locks', `${sha256}.json`);
  const sealed = new SealedFiles();

  // By its hash: a build that took a damaged file for the layer would name it in one generation after the other.
  const hasLayer: StoredFiles['hasLayer'] = async (layer) =>
    (await sealed.problem(layerPath(layer), layer.servedSha256)) === undefined;
  const hasKernel: StoredFiles['hasKernel'] = async ({ sha256 }) =>
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
  return {
    layerPath,
    kernelPath,
    packagePath,
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
    async hasPackage({ sha256, bytes }) {
      return (await orAbsent(stat(packagePath(sha256)), undefined))?.size === bytes;
    },
    keepPackage: (sha256, from) => keepFile(from, packagePath(sha256)),
    async putLock(lock) {
      const text = `${JSON.stringify(lock, undefined, 1)}\n`;
      const name = sha256Of(text);
      if ((await sealed.problem(lockPath(name), name)) !== undefined) await publishFile(lockPath(name), text, 0o444);
      return name;
    },
    async lockOf({ lock: name }) {
      const octets = name === undefined ? undefined : await readIfSound(lockPath(name));
      return octets === undefined || sha256Of(octets) !== name ? undefined : parseLock(octets.toString());
    },
    async fileProblems({ kernel, layers }) {
      const found: string[] = [];
      const kernelProblem = await sealed.problem(kernelPath(kernel.sha256), kernel.sha256);
      if (kernelProblem !== undefined) found.push(`the kernel ${kernel.release} ${kernelProblem}`);
      for (const layer of layers) {
        const problem = await sealed.problem(layerPath(layer), layer.servedSha256);
        if (problem !== undefined) found.push(`the layer ${layer.name} ${layer.sha256.slice(0, 12)} ${problem}`);
      }
      return found;
    },
  };
}
