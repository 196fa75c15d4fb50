// netboot/host/backup.ts - what a backup of a boot server holds, and what may be put back from one.
//
// Owns: which files belong to it, their names in the archive, the check of every name before anything is written.
// Does not own reading, writing or the store's copy (backup.io.ts).
//
// A backup is a tar.gz that any tar reads: backup.json first, then etc/… (the configuration) and lib/… (state). Layers,
// kernels and packages are left out unless asked for: the same recipes build the same ones again, of the versions that the
// locks of their generations name. Pure.

import { printableAscii } from '../../formats/printable.ts';
import { LAYER_FILE } from '../../images/manifest.ts';

/** Below lib: folders and files that are kept, and those that are left out unless images are asked for. */
const KEPT =
  /^lib\/(store\.sqlite|last-good\.json|audit\.jsonl|keys\/[^/]+|loaders\/[^/]+|images\/locks\/[0-9a-f]{64}\.json|images\/[a-z0-9][a-z0-9+._-]*\/([1-9]\d*\.json|current|previous))$/;
const IMAGE_FILE = new RegExp(`^lib/images/(layers/${LAYER_FILE}|packages/[0-9a-f]{64}\\.deb|kernels/[0-9a-f]{64})$`);
const CONFIGURATION = /^etc\/(rouse\.yaml|(profiles|nodes)\/[^/]+|(roles|services)\/.+)$/;
/** What a supervisor makes in service directories: of this machine and this moment. */
const PASSING = /^etc\/services\/(.*\/)?(supervise|log\/main)(\/|$)|\.new$/;

export const BACKUP_VERSION = 1;

/** backup.json. */
export type BackupNote = {
  readonly version: number;
  readonly rouse: string;
  readonly at: string;
  readonly host: string;
  readonly hasImages: boolean;
};

/** Whether a file belongs into a backup. @param name "etc/nodes/web1.yaml", "lib/store.sqlite". */
export function isKept(name: string, hasImages: boolean): boolean {
  if (!isPlain(name) || PASSING.test(name)) return false;
  return CONFIGURATION.test(name) || KEPT.test(name) || (hasImages && IMAGE_FILE.test(name));
}

/** No step of the path leaves the folder, and none is empty. */
function isPlain(name: string): boolean {
  return (
    name.length < 1024 &&
    !name.includes('\0') &&
    name.split('/').every((step) => step !== '' && step !== '.' && step !== '..')
  );
}

/**
 * Whether an entry of an archive may be put back.
 *
 * @returns undefined, or why not. Only links that name a generation beside them, or lie in the operator's own folders and stay
 *   in them, are taken.
 */
export function refusalOf(name: string, kind: string, target: string | undefined): string | undefined {
  if (!isKept(name, true)) return 'it is no file of a boot server';
  if (kind === 'file') return undefined;
  if (kind !== 'symlink' || target === undefined) return `it is a ${kind}`;
  if (/^lib\/images\/[^/]+\/(current|previous)$/.test(name)) {
    return /^[1-9]\d*\.json$/.test(target) ? undefined : 'its target is no generation';
  }
  if (!name.startsWith('etc/')) return 'it is a link';
  const depth = name.split('/').length - 2;
  const steps = target.split('/').filter((step) => step !== '' && step !== '.');
  const ups = steps.filter((step) => step === '..').length;
  // Up and only then down: ".." behind a step that is a link itself leads where names do not tell.
  const isTurning = steps.lastIndexOf('..') >= ups;
  return target.startsWith('/') || ups > depth || isTurning ? 'its target lies outside the configuration' : undefined;
}

/** Folders of the configuration: a link in the place of one hides all that it leads to. */
const FOLDER = /^etc\/(profiles|nodes|roles|services)$/;
/** What a boot server cannot be without; the rest is left out and named. */
const NEEDED = /^(lib\/|etc\/(rouse\.yaml|profiles|nodes)(\/|$))/;

/**
 * What a backup makes of a link, so that it holds none that restore would refuse. It is not followed: who may write there could
 * have it lead to what only root may read.
 */
export function linkVerdict(
  name: string,
  target: string,
  hasImages: boolean,
): { readonly kind: 'none' | 'taken' } | { readonly kind: 'left-out' | 'refused'; readonly why: string } {
  const isFolder = FOLDER.test(name);
  if (!isFolder && !isKept(name, hasImages)) return { kind: 'none' };
  const why = isFolder ? 'it is a link in the place of a folder' : refusalOf(name, 'symlink', target);
  if (why === undefined) return { kind: 'taken' };
  return { kind: NEEDED.test(name) ? 'refused' : 'left-out', why };
}

/** The first entry whose path leads through one of the links; written there it would land where the link leads. */
export function belowLink(names: readonly string[], links: { has(name: string): boolean }): string | undefined {
  return names.find((name) => {
    const steps = name.split('/');
    return steps.some((_, index) => index > 0 && links.has(steps.slice(0, index).join('/')));
  });
}

/** A boot server of ten thousand nodes has a tenth of it. */
const ENTRIES_MAX = 200_000;

/** Whether an archive holds more than may be put on this disk. @returns undefined, or what is too much. */
export function overflowOf(
  unpacked: { readonly entries: number; readonly bytes: number },
  roomBytes: number,
): string | undefined {
  if (unpacked.entries > ENTRIES_MAX) return `it holds more than ${ENTRIES_MAX} files`;
  if (unpacked.bytes <= roomBytes) return undefined;
  return `it unpacks to more than ${Math.floor(roomBytes / 1e6)} MB, which is half of what is free here`;
}

/** Reads backup.json. @returns the note, or why it is none. */
export function readNote(
  text: string,
): { readonly ok: true; readonly note: BackupNote } | { readonly ok: false; readonly why: string } {
  let note: Readonly<Record<string, unknown>>;
  try {
    note = (JSON.parse(text) ?? {}) as Readonly<Record<string, unknown>>;
  } catch {
    return { ok: false, why: 'its backup.json is no JSON' };
  }
  const { version } = note;
  // They are shown to people, and anybody may have written them.
  const word = (name: string): string => (typeof note[name] === 'string' ? printableAscii(note[name]) : '?');
  if (typeof version !== 'number') return { ok: false, why: 'its backup.json names no version' };
  if (version > BACKUP_VERSION)
    return { ok: false, why: `it is of version ${version}, and this rouse knows versions up to ${BACKUP_VERSION}` };
  return {
    ok: true,
    note: { version, rouse: word('rouse'), at: word('at'), host: word('host'), hasImages: note['hasImages'] === true },
  };
}
