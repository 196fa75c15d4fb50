// images/cpio.ts - cpio archives in the newc format, which is what a Linux kernel unpacks as its first root.
//
// Owns: the 110-byte header (one table of its fields), and writing entries in one fixed order. Does not own: reading them
// back (cpioread.ts), which files an image has (layout.ts), compression, padding and markers (layers.ts, layers.io.ts).
//
// What is written depends on nothing but the entries: sorted by the octets of their names, inode numbers counted up,
// modification time and device 0. Hard links share one inode number; their data travels with the last of them, as
// GNU cpio writes it. To carry another kind of file, add a row to TYPE_BITS and a member to CpioEntry;
// how packages say it is in member.ts.
//
// Sources: Linux Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c, GNU cpio 2.13. Pure.

/** Something of that many octets. */
export type Sized = { readonly length: number };

type Attributes = {
  /** Name inside the archive: relative, no leading slash, no "." or ".." step: "usr/bin/nginx". */
  readonly path: string;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
};

/**
 * One file of an archive. A `link` is a further name of the `file` whose path is `target`.
 *
 * Data is octets, or whatever stands for them (content.ts): this file only asks how many there are.
 */
export type CpioEntry<Data extends Sized = Uint8Array> =
  | (Attributes & { readonly kind: 'file'; readonly data: Data })
  | (Attributes & { readonly kind: 'directory' })
  | (Attributes & { readonly kind: 'symlink'; readonly target: string })
  | (Attributes & { readonly kind: 'link'; readonly target: string })
  | (Attributes & { readonly kind: 'character' | 'block'; readonly major: number; readonly minor: number })
  | (Attributes & { readonly kind: 'fifo' });

export const TYPE_BITS = {
  file: 0o100000,
  link: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
} as const satisfies Record<CpioEntry['kind'], number>;

/** The header's fields in order; each is eight hexadecimal digits behind the magic number. */
export const FIELDS = [
  'ino',
  'mode',
  'uid',
  'gid',
  'nlink',
  'mtime',
  'filesize',
  'devmajor',
  'devminor',
  'rdevmajor',
  'rdevminor',
  'namesize',
  'check',
] as const;
export type Header = Record<(typeof FIELDS)[number], number>;

export const MAGIC = '070701';
export const HEADER_BYTES = MAGIC.length + 8 * FIELDS.length;
export const TRAILER_NAME = 'TRAILER!!!';
/** The field has eight hexadecimal digits, but init/initramfs.c keeps sizes in 32 bits and drops what is larger. */
const CPIO_FILE_LIMIT_BYTES = 0xffff_fffe;
/** Linux PATH_MAX, which the kernel's unpacker enforces. */
export const CPIO_PATH_LIMIT_BYTES = 4095;

const utf8 = new TextEncoder();

/** Why the path cannot stand in an archive, or undefined where it can. */
export function pathProblem(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.startsWith('/')) return 'starts with a slash';
  if (path.includes('\0')) return 'holds a NUL';
  if (path.split('/').some((step) => step === '' || step === '.' || step === '..'))
    return 'leaves the root or is not canonical';
  if (path === TRAILER_NAME) return 'is the name that ends an archive';
  if (utf8.encode(path).length > CPIO_PATH_LIMIT_BYTES) return `is longer than ${CPIO_PATH_LIMIT_BYTES} bytes`;
  return undefined;
}

/** Why the numbers of an owner cannot stand in an archive; the largest of 32 bits means "as it is" to chown(2). */
export function ownerProblem({ uid, gid }: { readonly uid: number; readonly gid: number }): string | undefined {
  const bad = [uid, gid].find((id) => !isField(id) || id === 0xffff_ffff);
  return bad === undefined ? undefined : `has an owner or a group that no image has: ${bad}`;
}

/** Whether eight hexadecimal digits hold the number. */
function isField(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** Orders names by their octets, which is not the order of UTF-16 strings. */
export function compareOctets(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let index = 0; index < shared; index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/**
 * Writes entries, sorted, without the trailer.
 *
 * @param entries in any order; each path once; every `link` names a `file` among them. What violates this is a bug of
 *   the caller and throws.
 * @param firstInode number of the first entry; the others count up from it.
 * @returns the archive's octets; a multiple of four of them.
 */
export function encodeEntries(entries: readonly CpioEntry[], firstInode = 1): Uint8Array {
  return concat(encodeChunks(entries, firstInode));
}

/** As encodeEntries, in pieces: the data of files is handed on as it is. */
export function encodeChunks<Data extends Sized>(
  entries: readonly CpioEntry<Data>[],
  firstInode = 1,
): (Uint8Array | Data)[] {
  const named = entries.map((entry) => ({ entry, name: utf8.encode(entry.path) }));
  named.sort((a, b) => compareOctets(a.name, b.name));
  const groups = linkGroups(named.map(({ entry }) => entry));
  const chunks: (Uint8Array | Data)[] = [];
  let inode = firstInode;
  let previous: string | undefined;
  const inodes = new Map<LinkGroup<Data>, number>();
  for (const { entry, name } of named) {
    const problem = entry.path === previous ? 'is there twice' : pathProblem(entry.path);
    if (problem !== undefined) throw new RangeError(`cpio entry ${JSON.stringify(entry.path)} ${problem}`);
    previous = entry.path;
    const group = groups.get(entry.path);
    const shared = group === undefined ? undefined : inodes.get(group);
    const ino = shared ?? inode;
    if (shared === undefined) inode += 1;
    if (group !== undefined) inodes.set(group, ino);
    chunks.push(...encodeOne(entry, name, ino, group));
  }
  return chunks;
}

type LinkGroup<Data> = {
  readonly data: Data;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly paths: string[];
};

/** Which paths are names of one file; only files with more than one name are listed. */
function linkGroups<Data extends Sized>(sorted: readonly CpioEntry<Data>[]): Map<string, LinkGroup<Data>> {
  const groups = new Map<string, LinkGroup<Data>>();
  if (!sorted.some(({ kind }) => kind === 'link')) return groups;
  const files = new Map(sorted.filter((entry) => entry.kind === 'file').map((entry) => [entry.path, entry]));
  for (const entry of sorted) {
    if (entry.kind !== 'link') continue;
    const file = files.get(entry.target);
    if (file === undefined)
      throw new RangeError(`cpio entry ${entry.path} links to ${entry.target}, which is no file here`);
    const { data, mode, uid, gid } = file;
    const group = groups.get(file.path) ?? { data, mode, uid, gid, paths: [file.path] };
    group.paths.push(entry.path);
    groups.set(file.path, group).set(entry.path, group);
  }
  for (const group of new Set(groups.values())) {
    group.paths.sort((a, b) => compareOctets(utf8.encode(a), utf8.encode(b)));
  }
  return groups;
}

function encodeOne<Data extends Sized>(
  entry: CpioEntry<Data>,
  name: Uint8Array,
  ino: number,
  group: LinkGroup<Data> | undefined,
): (Uint8Array | Data)[] {
  const { mode, uid, gid } = group ?? entry;
  const data = group !== undefined ? (group.paths.at(-1) === entry.path ? group.data : EMPTY) : dataOf(entry);
  if (data.length > CPIO_FILE_LIMIT_BYTES) throw new RangeError(`cpio entry ${entry.path} is larger than 4 GiB`);
  const device = entry.kind === 'character' || entry.kind === 'block' ? entry : { major: 0, minor: 0 };
  const header = renderHeader({
    ino,
    mode: TYPE_BITS[entry.kind] | (mode & 0o7777),
    uid,
    gid,
    nlink: group?.paths.length ?? (entry.kind === 'directory' ? 2 : 1),
    mtime: 0,
    filesize: data.length,
    devmajor: 0,
    devminor: 0,
    rdevmajor: device.major,
    rdevminor: device.minor,
    namesize: name.length + 1,
    check: 0,
  });
  const head = new Uint8Array(roundUp4(HEADER_BYTES + name.length + 1));
  head.set(header);
  head.set(name, HEADER_BYTES);
  return data.length === 0 ? [head] : [head, data, new Uint8Array(roundUp4(data.length) - data.length)];
}

export const EMPTY = new Uint8Array(0);

function dataOf<Data extends Sized>(entry: CpioEntry<Data>): Uint8Array | Data {
  if (entry.kind === 'file') return entry.data;
  return entry.kind === 'symlink' ? utf8.encode(entry.target) : EMPTY;
}

function renderHeader(header: Header): Uint8Array {
  // A field of another width would shift all that follows, which a kernel then drops in silence.
  const wrong = FIELDS.find((field) => !isField(header[field]));
  if (wrong !== undefined) throw new RangeError(`cpio header: ${wrong} cannot be ${header[wrong]}`);
  return utf8.encode(MAGIC + FIELDS.map((field) => header[field].toString(16).padStart(8, '0')).join(''));
}

/** The entry that ends an archive. */
export function encodeTrailer(): Uint8Array {
  const name = utf8.encode(TRAILER_NAME);
  const zeros = Object.fromEntries(FIELDS.map((field) => [field, 0])) as Header;
  const octets = new Uint8Array(roundUp4(HEADER_BYTES + name.length + 1));
  octets.set(renderHeader({ ...zeros, nlink: 1, namesize: name.length + 1 }));
  octets.set(name, HEADER_BYTES);
  return octets;
}

export function roundUp4(length: number): number {
  return (length + 3) & ~3;
}

/** One array of all the octets of the pieces. */
export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    result.set(chunk, at);
    at += chunk.length;
  }
  return result;
}
