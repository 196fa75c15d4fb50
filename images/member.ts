// images/member.ts - the members of a package's archive: which of them an image can carry, and as what.
//
// Owns: what a tar header says in terms of an image's entries, the refusal of what would come out as something else, what hard
// links lead to. Does not own: reading the archive (deb.io.ts), which files an image keeps (layout.ts).
//
// A cpio header has room for less than a tar header, and a kernel says nothing of what it passes over: what does not fit is
// refused here, by its path. Sources: POSIX pax, "ustar Interchange Format"; GNU tar, "Basic Tar Format"; Linux
// init/initramfs.c, include/linux/kdev_t.h. Pure.

import { printable } from '../formats/printable.ts';
import { CPIO_PATH_LIMIT_BYTES, type CpioEntry, ownerProblem, pathProblem, type Sized } from './cpio.ts';
import { entriesProblem } from './layers.ts';

/** A header as the reader of archives (tar-stream) tells it. */
export type TarHeader = {
  readonly name: string;
  /** Null where the reader does not know it: GNU's sparse files, volume labels and the like. */
  readonly type?: string | null | undefined;
  readonly mode?: number | undefined;
  readonly uid?: number | null | undefined;
  readonly gid?: number | null | undefined;
  readonly linkname?: string | null | undefined;
  readonly devmajor?: number | undefined;
  readonly devminor?: number | undefined;
  /** What the extended header says, by keyword. */
  readonly pax?: unknown;
};

export type Member =
  | { readonly kind: 'entry'; readonly entry: CpioEntry<Sized> }
  /** The root itself. */
  | { readonly kind: 'root' }
  | { readonly kind: 'refused'; readonly why: string };

/** No device of Linux has larger ones: 12 and 20 bits. */
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xf_ffff;
const SHOWN_CHARACTERS = 80;

const NOTHING: Sized = { length: 0 };
const utf8 = new TextEncoder();

/**
 * What a member of an archive is in an image; of a file all but its data, of a hard link the target as it is written.
 *
 * @throws never.
 */
export function memberOf(header: TarHeader): Member {
  const path = plainPath(header.name);
  const refuse = (why: string): Member => ({ kind: 'refused', why: `its file ${shown(path)} ${why}` });
  if (path.split('/').includes('..')) return refuse('leaves the root');
  if (path === '') return { kind: 'root' };
  const pax = (header.pax ?? {}) as Readonly<Record<string, string | undefined>>;
  const number = (given: string | undefined, field: number | null | undefined): number =>
    given === undefined ? (field ?? Number.NaN) : Number(given);
  const target = header.linkname ?? '';
  const attributes = {
    path,
    mode: (header.mode ?? 0o644) & 0o7777,
    uid: number(pax['uid'], header.uid),
    gid: number(pax['gid'], header.gid),
  };
  const problem = pathProblem(path) ?? (isUtf8(path) ? undefined : 'has a name that is not UTF-8');
  if (problem !== undefined) return refuse(problem);
  const ownership = ownerProblem(attributes);
  if (ownership !== undefined) return refuse(ownership);
  const take = (entry: CpioEntry<Sized>): Member => ({ kind: 'entry', entry });
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      if (Object.keys(pax).some((key) => key.startsWith('GNU.sparse.')))
        return refuse('is sparse: no image carries those');
      return take({ ...attributes, kind: 'file', data: NOTHING });
    case 'directory':
      return take({ ...attributes, kind: 'directory' });
    case 'fifo':
      return take({ ...attributes, kind: 'fifo' });
    case 'symlink': {
      const why = targetProblem(target);
      return why === undefined ? take({ ...attributes, mode: 0o777, kind: 'symlink', target }) : refuse(why);
    }
    case 'link':
      return take({ ...attributes, kind: 'link', target: plainPath(target) });
    case 'character-device':
    case 'block-device': {
      const [major, minor] = [header.devmajor ?? 0, header.devminor ?? 0];
      if (!isWithin(major, MAJOR_MAX) || !isWithin(minor, MINOR_MAX)) return refuse(`is no device: ${major}, ${minor}`);
      return take({ ...attributes, kind: header.type === 'block-device' ? 'block' : 'character', major, minor });
    }
    default:
      return refuse('is sparse or of another type that no image carries');
  }
}

/**
 * The members of a whole archive: hard links lead to files, whatever they led through.
 *
 * @param entries each path once; the targets of links as memberOf gives them.
 * @returns why the archive is refused, where a link leads nowhere or a file is where a folder must be.
 */
export function settle<Data extends Sized>(
  entries: ReadonlyMap<string, CpioEntry<Data>>,
): { readonly entries: readonly CpioEntry<Data>[] } | { readonly why: string } {
  const settled: CpioEntry<Data>[] = [];
  for (const entry of entries.values()) {
    const end = entry.kind === 'link' ? endOf(entry, entries) : entry;
    if (end === undefined || (end !== entry && end.kind === 'directory')) {
      const target = entry.kind === 'link' ? entry.target : '';
      return { why: `its file ${shown(entry.path)} is a hard link to ${shown(target)}, which is no file of it` };
    }
    // Another name of anything but a file is that thing again: only files have names that share their content.
    if (end === entry) settled.push(entry);
    else if (end.kind === 'file') settled.push({ ...entry, kind: 'link', target: end.path });
    else settled.push({ ...end, path: entry.path });
  }
  const problem = entriesProblem(settled);
  return problem === undefined ? { entries: settled } : { why: `its file ${shown(problem.path)} ${problem.why}` };
}

/** What a chain of hard links ends at; undefined where it ends nowhere. */
function endOf<Data extends Sized>(
  link: CpioEntry<Data>,
  entries: ReadonlyMap<string, CpioEntry<Data>>,
): CpioEntry<Data> | undefined {
  const seen = new Set<string>();
  let at: CpioEntry<Data> | undefined = link;
  while (at?.kind === 'link') {
    if (seen.has(at.path)) return undefined;
    seen.add(at.path);
    at = entries.get(at.target);
  }
  return at;
}

/** Without leading slash and without steps that lead nowhere, as dpkg takes it. */
function plainPath(path: string): string {
  return path
    .split('/')
    .filter((step) => step !== '' && step !== '.')
    .join('/');
}

function targetProblem(target: string): string | undefined {
  if (target === '') return 'leads nowhere';
  if (target.includes('\0')) return 'leads to a name that holds a NUL';
  if (!isUtf8(target)) return 'leads to a name that is not UTF-8';
  // The kernel passes over such a link.
  if (utf8.encode(target).length > CPIO_PATH_LIMIT_BYTES) return `leads further than ${CPIO_PATH_LIMIT_BYTES} bytes`;
  return undefined;
}

/** The reader puts U+FFFD where octets are no UTF-8; nobody means that character in a name. */
function isUtf8(text: string): boolean {
  return !text.includes('\uFFFD');
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function shown(path: string): string {
  const text = printable(path.slice(0, SHOWN_CHARACTERS));
  return path.length > SHOWN_CHARACTERS ? `${text}…` : text;
}
