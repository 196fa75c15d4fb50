// images/prune.ts - which generations a store may let go, and which files nobody refers to any more.
//
// Owns: the rules. Does not own: what nodes run (netboot/fleet/inuse.ts), reading and removing (prune.io.ts). Pure.

import { type ImageSummary, layerFile, type Manifest } from './manifest.ts';

/** A generation that a node runs, is loading, or would go back to. */
export type InUse = {
  readonly image: string;
  readonly generation: number;
  /** Names of files that must stay, even where the generation's manifest is gone: "kernels/SHA256", "layers/SHA256.zst". */
  readonly files: readonly string[];
  /** "web1 runs it", "web1 would go back to it". */
  readonly why: string;
};

export type Verdict = {
  readonly image: string;
  readonly generation: number;
  /** Why it stays; empty where it may go. */
  readonly reasons: readonly string[];
};

/** @param newest how many of the newest generations of each image stay in any case; at least 1: a build waits for its promotion. */
export function judgeGenerations(images: readonly ImageSummary[], inUse: readonly InUse[], newest: number): Verdict[] {
  return images.flatMap(({ image, generations, current, previous }) => {
    const recent = new Set(generations.slice(-Math.max(1, newest)));
    return generations.map((generation) => ({
      image,
      generation,
      reasons: [
        ...(generation === current ? ['nodes boot it'] : []),
        ...(generation === previous ? ['rollback leads to it'] : []),
        ...(recent.has(generation) ? [newest > 1 ? `one of the newest ${newest}` : 'the newest'] : []),
        ...inUse.filter((one) => one.image === image && one.generation === generation).map(({ why }) => why),
      ],
    }));
  });
}

/** What a generation that stays needs of the store. @param packages SHA-256 of the packages of its lock. */
export function filesOf(
  { kernel, layers, lock }: Pick<Manifest, 'kernel' | 'layers' | 'lock'>,
  packages: readonly string[],
): string[] {
  return [
    `kernels/${kernel.sha256}`,
    ...layers.map((layer) => `layers/${layerFile(layer)}`),
    ...(lock === undefined ? [] : [`locks/${lock}.json`]),
    ...packages.map((sha256) => `packages/${sha256}.deb`),
  ];
}

/**
 * What may be removed: content that nothing refers to, and what killed builds left behind.
 *
 * @param found files of lib/images, relative to it.
 * @param needed of everything that stays.
 */
export function unneeded(found: readonly string[], needed: ReadonlySet<string>): string[] {
  return found.filter((path) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (name.startsWith('.') && name.endsWith('.new')) return true;
    return /^(?:layers|kernels|packages|locks)\//.test(path) && !needed.has(path);
  });
}
