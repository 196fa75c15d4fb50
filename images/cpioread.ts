// images/cpioread.ts - reading cpio archives in the newc format back: what cpio.ts writes, and what others do.
//
// Owns: the reader, which asks for octets and never has more than a header and a name of them. Does not own: where they come from
// (inspect.io.ts, or memory), the header (cpio.ts). Foreign octets never throw: what a kernel would refuse is refused with its
// reason and its offset.
//
// Source: Linux init/initramfs.c, as cpio.ts. Pure.

import {
  CPIO_PATH_LIMIT_BYTES,
  type CpioEntry,
  EMPTY,
  FIELDS,
  type Header,
  HEADER_BYTES,
  MAGIC,
  pathProblem,
  roundUp4,
  type Sized,
  TRAILER_NAME,
  TYPE_BITS,
} from './cpio.ts';

/** More than any image has: what is read may be made to fill the memory. */
const ENTRIES_LIMIT = 1_000_000;

/** What an archive at some offset holds, and where it ends. */
export type CpioReading<Data extends Sized = Uint8Array> =
  | { readonly ok: true; readonly entries: readonly CpioEntry<Data>[]; readonly end: number }
  | { readonly ok: false; readonly reason: string; readonly offset: number };

/**
 * What the reader of an archive asks for next: octets that it looks at (`entry`: those an entry begins with), or `content`, which
 * it does not. The answer has that many octets, or fewer where there are no more.
 */
export type ArchiveStep = { readonly kind: 'entry' | 'octets' | 'content'; readonly bytes: number };

/** Reads an archive in memory; see readArchive. @param octets not retained, except that the data of files are views of them. */
export function decodeArchive(octets: Uint8Array, offset = 0): CpioReading {
  const reader = readArchive<Uint8Array>(offset);
  let at = offset;
  for (let step = reader.next(EMPTY); ; ) {
    if (step.done === true) return step.value;
    const answer = octets.subarray(at, at + step.value.bytes);
    at += answer.length;
    step = reader.next(answer);
  }
}

/**
 * Reads one archive up to its trailer, as it is handed the octets that it asks for.
 *
 * @param offset where the archive starts.
 * @returns its entries in order, and the offset behind the trailer. Names that leave the root are refused. Hard links
 *   come back as one `file` (the one that carries the data) and `link`s.
 * @throws never.
 */
export function* readArchive<Data extends Sized>(
  offset = 0,
): Generator<ArchiveStep, CpioReading<Data>, Uint8Array | Data> {
  const entries: CpioEntry<Data>[] = [];
  const linked = new Map<number, { path: string; index: number; hasData: boolean }[]>();
  for (let at = offset; ; ) {
    const refuse = (reason: string): CpioReading<Data> => ({ ok: false, reason, offset: at });
    const header = readHeader((yield { kind: 'entry', bytes: HEADER_BYTES }) as Uint8Array);
    if (typeof header === 'string') return refuse(header);
    const { namesize, filesize } = header;
    if (namesize > CPIO_PATH_LIMIT_BYTES + 1) return refuse(`has a name longer than ${CPIO_PATH_LIMIT_BYTES} bytes`);
    const nameBytes = roundUp4(HEADER_BYTES + namesize) - HEADER_BYTES;
    const name = (yield { kind: 'octets', bytes: nameBytes }) as Uint8Array;
    const path = new TextDecoder('utf-8').decode(name.subarray(0, Math.max(0, namesize - 1)));
    // The kernel passes over a link that leads further than that.
    const isLink = (header.mode & 0o170000) === TYPE_BITS.symlink && filesize <= CPIO_PATH_LIMIT_BYTES;
    const content = yield { kind: isLink ? 'octets' : 'content', bytes: filesize };
    if (namesize < 1 || name.length < nameBytes || content.length < filesize) {
      return refuse('an entry goes on behind the end of the file');
    }
    const padding = (yield { kind: 'octets', bytes: roundUp4(filesize) - filesize }) as Uint8Array;
    const end = at + HEADER_BYTES + nameBytes + filesize + padding.length;
    if (path === TRAILER_NAME) {
      restoreLinks(entries, linked);
      return { ok: true, entries, end };
    }
    if (entries.length >= ENTRIES_LIMIT) return refuse(`has more than ${ENTRIES_LIMIT} entries`);
    if (path !== '.') {
      const problem = pathProblem(path);
      if (problem !== undefined) return refuse(`the name ${JSON.stringify(path)} ${problem}`);
      const entry = entryOf<Data>(path, header, content);
      if (entry === undefined) return refuse(`${path} is of an unknown type, or a link that leads too far`);
      if (entry.kind === 'file' && header.nlink > 1) {
        const names = linked.get(header.ino) ?? [];
        names.push({ path, index: entries.length, hasData: filesize > 0 });
        linked.set(header.ino, names);
      }
      entries.push(entry);
    }
    at = end;
  }
}

function restoreLinks<Data extends Sized>(
  entries: CpioEntry<Data>[],
  linked: ReadonlyMap<number, readonly { path: string; index: number; hasData: boolean }[]>,
): void {
  for (const names of linked.values()) {
    const holder = names.find(({ hasData }) => hasData) ?? names.at(-1);
    for (const { path, index } of names) {
      const entry = entries[index];
      if (holder === undefined || entry === undefined || path === holder.path) continue;
      const { mode, uid, gid } = entry;
      entries[index] = { kind: 'link', path, mode, uid, gid, target: holder.path };
    }
  }
}

function readHeader(octets: Uint8Array): Header | string {
  if (octets.length < HEADER_BYTES) return 'ends in the middle of a header';
  const text = new TextDecoder('latin1').decode(octets);
  if (!text.startsWith(MAGIC) && !text.startsWith('070702')) return 'is not a newc archive (070701 expected)';
  if (!/^[0-9a-fA-F]{110}$/.test(text)) return 'has a header that is not hexadecimal';
  return Object.fromEntries(
    FIELDS.map((field, index) => [field, Number.parseInt(text.slice(6 + 8 * index, 14 + 8 * index), 16)]),
  ) as Header;
}

function entryOf<Data extends Sized>(
  path: string,
  header: Header,
  content: Data | Uint8Array,
): CpioEntry<Data> | undefined {
  const base = { path, mode: header.mode & 0o7777, uid: header.uid, gid: header.gid };
  switch (header.mode & 0o170000) {
    case TYPE_BITS.file:
      return { ...base, kind: 'file', data: content as Data };
    case TYPE_BITS.directory:
      return { ...base, kind: 'directory' };
    case TYPE_BITS.symlink:
      if (header.filesize > CPIO_PATH_LIMIT_BYTES) return undefined;
      return { ...base, kind: 'symlink', target: new TextDecoder('utf-8').decode(content as Uint8Array) };
    case TYPE_BITS.character:
      return { ...base, kind: 'character', major: header.rdevmajor, minor: header.rdevminor };
    case TYPE_BITS.block:
      return { ...base, kind: 'block', major: header.rdevmajor, minor: header.rdevminor };
    case TYPE_BITS.fifo:
      return { ...base, kind: 'fifo' };
    default:
      return undefined;
  }
}
