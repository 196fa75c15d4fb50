// images/elf.ts - what an ELF file needs to run, one section of it by name, and the file without what only debuggers read.
//
// Owns: DT_NEEDED, DT_SONAME, DT_RUNPATH and DT_RPATH, the interpreter, the machine, finding a section (kernel modules
// carry .modinfo), cutting symbols off. A program is not read whole: its tables say where to look. Does not own: where libraries are searched (layout.ts) or what a module's words
// mean (modinfo.ts).
//
// Little-endian files of 32 and 64 bits are read, which is what Debian's amd64 and arm64 are. Foreign bytes never throw:
// every offset is checked against the file's length. Sources: System V ABI, elf(5). Pure.

import { type Peek, peekOctets, type ReadAt } from './content.ts';

/** e_machine by Debian's name of the architecture. */
export const ELF_MACHINES = { amd64: 62, arm64: 183 } as const;

export type ElfNeeds = {
  /** e_machine; see ELF_MACHINES. */
  readonly machine: number;
  /** Path of the dynamic loader; undefined for libraries and static programs. */
  readonly interpreter: string | undefined;
  /** Names of libraries that must be found for it to start, in order. */
  readonly needed: readonly string[];
  readonly soname: string | undefined;
  /** DT_RUNPATH, or DT_RPATH where there is none; folders as written, with $ORIGIN. */
  readonly runpath: readonly string[];
};

type Segment = { readonly type: number; readonly offset: number; readonly address: number; readonly size: number };
type Header = { readonly view: DataView; readonly is64: boolean; readonly machine: number };

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT = { needed: 1, strtab: 5, strsz: 10, soname: 14, rpath: 15, runpath: 29 } as const;
const HEADER_BYTES = 64;
/** Above what any file has: a foreign header cannot make this code loop longer, or read more. */
const TABLE_LIMIT = 65_536;
const SEGMENTS_LIMIT = 1024;
/** PATH_MAX, and so more than a library's name or its folders take. */
const TEXT_LIMIT_BYTES = 4096;

/** Whether the octets start as an ELF file does. */
export function isElf(octets: Uint8Array): boolean {
  return octets.length >= 52 && octets[0] === 0x7f && octets[1] === 0x45 && octets[2] === 0x4c && octets[3] === 0x46;
}

/**
 * Reads what a program or library needs.
 *
 * @returns undefined where it is no little-endian ELF file, or is damaged.
 * @throws never, unless reading does.
 */
export function readElfNeeds({ length, read }: Peek): ElfNeeds | undefined {
  const header = open(read(0, HEADER_BYTES));
  const segments = header === undefined ? undefined : readSegments(header, length, read);
  if (header === undefined || segments === undefined) return undefined;
  const interp = segments.find(({ type }) => type === PT_INTERP);
  const interpreter = interp === undefined ? undefined : text(read, interp.offset, interp.size);
  const none = { machine: header.machine, interpreter, needed: [], soname: undefined, runpath: [] };
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) return none;
  const tags = readDynamic(header, dynamic, read);
  const first = (tag: number): number | undefined => tags.find((entry) => entry.tag === tag)?.value;
  const strings = fileOffset(segments, first(DT.strtab));
  const stringsBytes = first(DT.strsz) ?? 0;
  if (strings === undefined) return undefined;
  const name = (value: number | undefined): string | undefined =>
    value === undefined || value >= stringsBytes ? undefined : text(read, strings + value, stringsBytes - value);
  const needed = tags.filter(({ tag }) => tag === DT.needed).map(({ value }) => name(value));
  if (needed.some((library) => library === undefined)) return undefined;
  const path = name(first(DT.runpath)) ?? name(first(DT.rpath)) ?? '';
  return {
    ...none,
    needed: needed.filter((library) => library !== undefined),
    soname: name(first(DT.soname)),
    runpath: path.split(':').filter((folder) => folder !== ''),
  };
}

/**
 * The octets of one section, such as ".modinfo".
 *
 * @returns undefined where there is no such section or the file is damaged; a view of the file otherwise.
 * @throws never.
 */
export function readElfSection(octets: Uint8Array, wanted: string): Uint8Array | undefined {
  const header = open(octets);
  if (header === undefined) return undefined;
  const { view, is64 } = header;
  const { read } = peekOctets(octets);
  const tableOffset = is64 ? offset64(view, 40) : view.getUint32(32, true);
  const entryBytes = view.getUint16(is64 ? 58 : 46, true);
  const count = view.getUint16(is64 ? 60 : 48, true);
  const namesIndex = view.getUint16(is64 ? 62 : 50, true);
  if (entryBytes < (is64 ? 64 : 40) || tableOffset + entryBytes * count > octets.length) return undefined;
  const section = (index: number): { name: number; offset: number; size: number } => {
    const at = tableOffset + entryBytes * index;
    return {
      name: view.getUint32(at, true),
      offset: is64 ? offset64(view, at + 24) : view.getUint32(at + 16, true),
      size: is64 ? offset64(view, at + 32) : view.getUint32(at + 20, true),
    };
  };
  if (namesIndex >= count) return undefined;
  const names = section(namesIndex);
  for (let index = 0; index < count; index += 1) {
    const { name, offset, size } = section(index);
    if (name >= names.size || offset + size > octets.length) continue;
    if (text(read, names.offset + name, names.size - name) === wanted) return octets.subarray(offset, offset + size);
  }
  return undefined;
}

/**
 * A program or library without its section table, and so without symbols: what the kernel and ld.so read is the segments.
 *
 * @returns how many of the first octets remain, and those of the header, which are others; undefined where it is no program or
 *   library, or is damaged.
 * @throws never, unless reading does.
 */
export function withoutSections({ length, read }: Peek): { length: number; head: Uint8Array } | undefined {
  const header = open(read(0, HEADER_BYTES));
  const segments = header === undefined ? undefined : readSegments(header, length, read);
  if (header === undefined || segments === undefined || segments.length === 0) return undefined;
  const { view, is64 } = header;
  const table = (is64 ? offset64(view, 32) : view.getUint32(28, true)) + segments.length * (is64 ? 56 : 32);
  const end = segments.reduce((furthest, { offset, size }) => Math.max(furthest, offset + size), table);
  if (end > length) return undefined;
  const head = read(0, is64 ? 64 : 52).slice();
  // e_shoff, then e_shentsize, e_shnum and e_shstrndx.
  head.fill(0, is64 ? 40 : 32, is64 ? 48 : 36);
  head.fill(0, is64 ? 58 : 46);
  return { length: end, head };
}

/** @param octets the first 64, or more. */
function open(octets: Uint8Array): Header | undefined {
  if (!isElf(octets) || octets[5] !== 1) return undefined;
  const is64 = octets[4] === 2;
  if (!is64 && octets[4] !== 1) return undefined;
  if (octets.length < (is64 ? 64 : 52)) return undefined;
  const view = viewOf(octets);
  return { view, is64, machine: view.getUint16(18, true) };
}

function readSegments({ view: header, is64 }: Header, length: number, read: ReadAt): Segment[] | undefined {
  const tableOffset = is64 ? offset64(header, 32) : header.getUint32(28, true);
  const entryBytes = header.getUint16(is64 ? 54 : 42, true);
  const count = header.getUint16(is64 ? 56 : 44, true);
  if (count === 0) return [];
  const tableBytes = entryBytes * count;
  if (entryBytes < (is64 ? 56 : 32) || count > SEGMENTS_LIMIT || tableOffset + tableBytes > length) return undefined;
  const table = read(tableOffset, tableBytes);
  if (table.length < tableBytes) return undefined;
  const view = viewOf(table);
  return Array.from({ length: count }, (_, index) => {
    const at = entryBytes * index;
    return {
      type: view.getUint32(at, true),
      offset: is64 ? offset64(view, at + 8) : view.getUint32(at + 4, true),
      address: is64 ? offset64(view, at + 16) : view.getUint32(at + 8, true),
      size: is64 ? offset64(view, at + 32) : view.getUint32(at + 16, true),
    };
  });
}

function readDynamic({ is64 }: Header, segment: Segment, read: ReadAt): { tag: number; value: number }[] {
  const entryBytes = is64 ? 16 : 8;
  if (!Number.isFinite(segment.offset)) return [];
  const view = viewOf(read(segment.offset, Math.min(segment.size, TABLE_LIMIT * entryBytes)));
  const tags: { tag: number; value: number }[] = [];
  for (let at = 0; at + entryBytes <= view.byteLength; at += entryBytes) {
    const tag = is64 ? offset64(view, at) : view.getUint32(at, true);
    if (tag === 0) break;
    tags.push({ tag, value: is64 ? offset64(view, at + 8) : view.getUint32(at + 4, true) });
  }
  return tags;
}

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

/** The dynamic section speaks of addresses; the segments say where in the file they lie. */
function fileOffset(segments: readonly Segment[], address: number | undefined): number | undefined {
  if (address === undefined) return undefined;
  const holder = segments.find(
    (segment) => segment.type === PT_LOAD && segment.address <= address && address < segment.address + segment.size,
  );
  return holder === undefined ? undefined : address - holder.address + holder.offset;
}

/** A 64-bit offset as a number; what no file can have becomes infinite, and so lies outside of every file. */
function offset64(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  return value > 0xffff_ffff_ffffn ? Number.POSITIVE_INFINITY : Number(value);
}

/** The text from start up to a NUL, or of that length. */
function text(read: ReadAt, start: number, length: number): string {
  if (!Number.isFinite(start) || start < 0) return '';
  const octets = read(start, Math.min(length, TEXT_LIMIT_BYTES));
  const nul = octets.indexOf(0);
  return new TextDecoder('latin1').decode(nul === -1 ? octets : octets.subarray(0, nul));
}
