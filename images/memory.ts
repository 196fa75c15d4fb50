// images/memory.ts - how much memory a node needs for its root to hold an image.
//
// Owns: the arithmetic of the kernel's root file system, and the sentence of its refusal. Does not own: what services
// need beside it (memoryMb of recipes), what a node has (memoryMb of profiles and nodes).
//
// The root is a tmpfs whose limit the kernel sets, before it unpacks, to half of the memory that is free then; the
// initrd lies in memory beside it until it is unpacked. What comes over the limit is left out with one line on the
// console, and the node boots on without it.
//
// Sources: init/do_mounts.c and mm/shmem.c (shmem_default_max_blocks) of Linux 6.1; figures of `stat -f /` in guests of
// 96, 128, 512 and 1024 MB with Debian 12's cloud kernel: it had kept 44.9, 44.9, 51.6 and 60.5 MB. Pure.

import type { Layer } from './manifest.ts';

/** What the kernel keeps for itself: its text and data, and its table of pages, which grows with the memory. */
const KERNEL_BYTES = 44 * 2 ** 20;
const PAGE_TABLE_SHARE = 0.0175;
const PAGE_BYTES = 4096;
const MIB = 2 ** 20;

/** The layers of an image, or of what is known of it so far. */
type Weighed = readonly Pick<Layer, 'servedBytes' | 'unpackedBytes' | 'files'>[];

/** What the files take in a tmpfs at most: whole pages. */
function rootBytes(layers: Weighed): number {
  return layers.reduce((sum, { unpackedBytes, files }) => sum + unpackedBytes + files * PAGE_BYTES, 0);
}

/** The least memory of a machine, in MiB, whose root can hold the layers; its services need more. */
export function leastMemoryMb(layers: Weighed): number {
  const initrdBytes = layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0);
  return Math.ceil((2 * rootBytes(layers) + initrdBytes + KERNEL_BYTES) / (1 - PAGE_TABLE_SHARE) / MIB);
}

/** Why layers do not fit nodes of that memory; undefined where they do. */
export function memoryProblem(layers: Weighed, memoryMb: number): string | undefined {
  const leastMb = leastMemoryMb(layers);
  if (leastMb <= memoryMb) return undefined;
  const unpackedMb = (rootBytes(layers) / MIB).toFixed(1);
  return `unpacked the image takes ${unpackedMb} MiB, and a root may take half of what the kernel leaves free: it needs nodes of ${leastMb} MiB`;
}
