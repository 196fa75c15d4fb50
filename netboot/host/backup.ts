// netboot/host/backup.ts - what a backup of a boot server holds, and what may be put back from one.
//
// Owns: which files belong to it, their names in the archive, the check of every name before anything is written.
// Does not own reading, writing or the store's copy (backup.io.ts).
//
// A backup is a tar.gz that any tar reads: backup.json first, then etc/… (the configuration) and lib/… (state). Layers,
// kernels and packages are left out unless asked for: the same recipes build the same ones again, of the versions that the
// locks of their generations name. Pure.

/** Below lib: folders and files that are kept, and those that are left out unless images are asked for. */
const KEPT =
  /^lib\/(store\.sqlite|last-good\.json|audit\.jsonl|keys\/[^/]+|loaders\/[^/]+|images\/locks\/[0-9a-f]{64}\.json|images\/[a-z0-9][a-z0-9+._-]*\/([1-9]\d*\.json|current|previous))$/;
const IMAGE_FILE = /^lib\/images\/(layers\/[0-9a-f]{64}\.(zst|gz)|packages\/[0-9a-f]{64}\.deb|kernels\/[0-9a-f]{64})$/;
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
  const ups = target.split('/').filter((step) => step === '..').length;
  return target.startsWith('/') || ups > depth ? 'its target lies outside the configuration' : undefined;
}

/** Reads backup.json. @returns the note, or why it is none. */
export function readNote(
  text: string,
): { readonly ok: true; readonly note: BackupNote } | { readonly ok: false; readonly why: string } {
  let note: Partial<BackupNote>;
  try {
    note = (JSON.parse(text) ?? {}) as Partial<BackupNote>;
  } catch {
    return { ok: false, why: 'its backup.json is no JSON' };
  }
  const { version, rouse = '?', at = '?', host = '?', hasImages = false } = note;
  if (typeof version !== 'number') return { ok: false, why: 'its backup.json names no version' };
  if (version > BACKUP_VERSION)
    return { ok: false, why: `it is of version ${version}, and this rouse knows versions up to ${BACKUP_VERSION}` };
  return { ok: true, note: { version, rouse, at, host, hasImages } };
}
