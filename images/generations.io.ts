// images/generations.io.ts - the generations of images, read: which there are, which of them nodes boot, what is wrong with one.
//
// Owns: reading lib/images/IMAGE. Does not own: publishing and promoting (store.io.ts), what a manifest says (manifest.ts), who may have
// signed it (signature.ts).

import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { orAbsent, readRegular } from './files.io.ts';
import { readTrusted } from './keys.io.ts';
import type { ImageSummary, Manifest } from './manifest.ts';
import { type Opened, openSigned } from './signature.ts';
import type { StoredFiles } from './storedfiles.io.ts';

/** Folders of lib/images that are no image. */
const SHARED_FOLDERS: readonly string[] = ['layers', 'kernels', 'packages', 'locks'];

/** A file with a larger number is no generation: beyond it numbers are not told apart. */
export const MOST_GENERATIONS = Number.MAX_SAFE_INTEGER;

export type Generations = {
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
};

/** Where a manifest lies. @param root lib/images. */
export function generationPath(root: string, image: string, generation: number): string {
  return join(root, image, `${generation}.json`);
}

/** Numbers of an image's generations, ascending. @param root lib/images. */
export async function generationsOf(root: string, image: string): Promise<number[]> {
  const names = await orAbsent(readdir(join(root, image)), []);
  return names
    .flatMap((name) => /^([1-9]\d*)\.json$/.exec(name)?.[1] ?? [])
    .map(Number)
    .filter((number) => number <= MOST_GENERATIONS)
    .sort((a, b) => a - b);
}

async function pointer(root: string, image: string, link: 'current' | 'previous'): Promise<number | undefined> {
  const target = await orAbsent(readlink(join(root, image, link)), undefined);
  const match = /^(\d+)\.json$/.exec(target ?? '');
  const generation = Number(match?.[1]);
  return generation <= MOST_GENERATIONS ? generation : undefined;
}

async function listImages(root: string): Promise<ImageSummary[]> {
  const names = (await orAbsent(readdir(root, { withFileTypes: true }), []))
    .filter((entry) => entry.isDirectory() && !SHARED_FOLDERS.includes(entry.name))
    .map(({ name }) => name)
    .sort();
  const all = await Promise.all(
    names.map(async (image) => ({
      image,
      generations: await generationsOf(root, image),
      current: await pointer(root, image, 'current'),
      previous: await pointer(root, image, 'previous'),
    })),
  );
  return all.filter(({ generations }) => generations.length > 0);
}

async function readGeneration(libDir: string, image: string, generation: number): Promise<Opened> {
  try {
    const octets = await readRegular(generationPath(join(libDir, 'images'), image, generation));
    return openSigned(octets.toString(), { image, generation }, await readTrusted(libDir));
  } catch (error) {
    return { kind: 'unreadable', why: reasonOf(error) };
  }
}

/** @param fileProblems of the files that a manifest names. */
export function openGenerations(libDir: string, { fileProblems }: Pick<StoredFiles, 'fileProblems'>): Generations {
  const root = join(libDir, 'images');
  const summary: Generations['summary'] = async (image) => {
    const all = await listImages(root);
    const found = all.find((one) => one.image === image);
    if (found !== undefined) return found;
    const known = all.map((one) => one.image).join(', ');
    throw new Fault('E_NOT_FOUND', {
      what: `there is no image ${image}`,
      why: known === '' ? 'none is built' : `built are: ${known}`,
      todo: `build it with: rouse image build ${image}`,
    });
  };
  const manifest: Generations['manifest'] = async (image, generation) => {
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
    const opened = await readGeneration(libDir, image, number);
    if (opened.kind !== 'unreadable') return opened.manifest;
    throw new Fault('E_STORE', {
      what: `cannot read ${generationPath(root, image, number)}`,
      why: opened.why,
      todo: `build ${image} again`,
    });
  };
  const problems: Generations['problems'] = async (image, generation) => {
    const opened = await readGeneration(libDir, image, generation);
    const found = opened.kind === 'trusted' ? [] : [`the manifest cannot be trusted: ${opened.why}`];
    return opened.kind === 'unreadable' ? found : [...found, ...(await fileProblems(opened.manifest))];
  };
  return {
    list: () => listImages(root),
    pointers: async (image) => ({
      current: await pointer(root, image, 'current'),
      previous: await pointer(root, image, 'previous'),
    }),
    summary,
    manifest,
    async newest(image) {
      const generation = (await generationsOf(root, image)).at(-1);
      const opened = generation === undefined ? undefined : await readGeneration(libDir, image, generation);
      return opened === undefined || opened.kind === 'unreadable' ? undefined : opened.manifest;
    },
    problems,
  };
}
