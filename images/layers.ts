// images/layers.ts - the form of a layer: a cpio whose name is its own hash, and which says so from inside.
//
// Owns: which entries a set of files becomes (its parent directories included), what cannot be among them, the marker
// /.layers/SHA256, the padding. Does not own: hashing and compression (layers.io.ts), the cpio format (cpio.ts), which files
// (layout.ts).
//
// A kernel drops a misplaced or damaged archive in silence and boots on. So each layer carries, as its last entry, an
// empty file named by the hash of the entries before it, and init compares those with the list on the command line.
//
// Sources: ARCHITECTURE.md "Layers"; facts of the kernel's unpacker in init/initramfs.c (an uncompressed archive must start
// at a multiple of 4). Pure.

import {
  type CpioEntry,
  compareOctets,
  encodeChunks,
  encodeTrailer,
  ownerProblem,
  pathProblem,
  type Sized,
} from './cpio.ts';

/** Folder of the markers, inside a layer and on the node. */
export const MARKER_FOLDER = '.layers';
/** Layers are padded with NULs to a multiple of this, so that the next one is aligned wherever they are joined. */
export const LAYER_ALIGNMENT_BYTES = 512;
/** Marker entries count their inode numbers from here: no layer has so many files, and no number is used twice. */
const MARKER_INODE = 0x7fff_fff0;

const utf8 = new TextEncoder();

/**
 * The entries of a layer without its marker: the files, every parent folder that they need, and the markers' folder.
 *
 * @param files each path once; a parent that is missing becomes a directory 0755 of root.
 */
export function withParents<Data extends Sized>(files: readonly CpioEntry<Data>[]): CpioEntry<Data>[] {
  const known = new Map(files.map((entry) => [entry.path, entry]));
  const add = (path: string): void => {
    if (!known.has(path)) known.set(path, { kind: 'directory', path, mode: 0o755, uid: 0, gid: 0 });
  };
  add(MARKER_FOLDER);
  for (const { path } of files) {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      add(path.slice(0, slash));
    }
  }
  return [...known.values()].sort((a, b) => compareOctets(utf8.encode(a.path), utf8.encode(b.path)));
}

/**
 * The first entry that cannot be in a layer, and why: what no archive holds, what would stand in the place of a marker, and what
 * lies below something that is no folder. A symbolic link may have entries below it: a kernel follows it while it unpacks, as dpkg does.
 */
export function entriesProblem(entries: readonly CpioEntry<Sized>[]): { path: string; why: string } | undefined {
  const kinds = new Map(entries.map(({ path, kind }) => [path, kind]));
  for (const entry of entries) {
    const { path } = entry;
    const why = pathProblem(path) ?? ownerProblem(entry);
    if (why !== undefined) return { path, why };
    if (path === MARKER_FOLDER || path.startsWith(`${MARKER_FOLDER}/`))
      return { path, why: `is where layers have their markers (/${MARKER_FOLDER})` };
    for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
      const above = path.slice(0, slash);
      const kind = kinds.get(above) ?? 'directory';
      if (kind !== 'directory' && kind !== 'symlink') return { path, why: `lies below /${above}, which is no folder` };
    }
  }
  return undefined;
}

/** The octets whose SHA-256 is the layer's name, in pieces. */
export function layerChunks<Data extends Sized>(files: readonly CpioEntry<Data>[]): (Uint8Array | Data)[] {
  return encodeChunks(withParents(files));
}

/** What follows those octets: the marker that carries their hash, and the trailer. */
export function markerChunks(sha256: string): Uint8Array[] {
  const path = `${MARKER_FOLDER}/${sha256}`;
  return [
    ...encodeChunks([{ kind: 'file', path, mode: 0o444, uid: 0, gid: 0, data: new Uint8Array(0) }], MARKER_INODE),
    encodeTrailer(),
  ];
}

/** How many NULs fill the length up to the next multiple of LAYER_ALIGNMENT_BYTES. */
export function paddingBytes(length: number): number {
  return (LAYER_ALIGNMENT_BYTES - (length % LAYER_ALIGNMENT_BYTES)) % LAYER_ALIGNMENT_BYTES;
}

/** What the files hold, in bytes. In the node's memory each takes whole pages, which are not counted here. */
export function unpackedBytes(files: readonly CpioEntry<Sized>[]): number {
  return files.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.data.length : 0), 0);
}
