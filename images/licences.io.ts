// images/licences.io.ts - copyright files of packages, which images leave out, read once for each version.
//
// Owns: finding the file in a .deb, and remembering what it said (cache/licences/SHA256.VERSION.json). Does not own: reading it
// (licences.ts).

import { join } from 'node:path';
import type { Apt } from './apt.io.ts';
import type { ArchivePackage } from './apt.ts';
import { readFromDeb } from './deb.io.ts';
import { publishFile } from './files.io.ts';
import { licencesIn } from './licences.ts';
import { readCached } from './store.io.ts';

/** Raised whenever the same file is read otherwise than before. */
const READER_VERSION = 2;

type Noted = {
  readonly licences: readonly string[];
  /** Another package whose folder holds the file. */
  readonly see?: string;
};

/** Licences by package. @param packages their .deb files are in the cache. */
export async function readLicences(
  cacheDir: string,
  apt: Apt,
  packages: readonly ArchivePackage[],
): Promise<Map<string, readonly string[]>> {
  const noted = new Map<string, Noted>();
  for (const one of packages) {
    const path = join(cacheDir, 'licences', `${one.sha256}.${READER_VERSION}.json`);
    const before = await readCached(path, isNoted);
    const note = before ?? (await readOne(await apt.file(one), one.name));
    if (before === undefined) await publishFile(path, JSON.stringify(note));
    noted.set(one.name, note);
  }
  return new Map(
    Array.from(noted, ([name, { licences, see }]) => [
      name,
      see === undefined ? licences : (noted.get(see)?.licences ?? []),
    ]),
  );
}

async function readOne(path: string, name: string): Promise<Noted> {
  const folder = `usr/share/doc/${name}`;
  const entries = await readFromDeb(path, name, (one) => one === folder || one === `${folder}/copyright`);
  const see = entries.find((entry) => entry.path === folder && entry.kind === 'symlink');
  if (see?.kind === 'symlink') return { licences: [], see: see.target.replace(/^.*\//, '') };
  const file = entries.find((entry) => entry.path === `${folder}/copyright`);
  if (file?.kind === 'symlink') return { licences: [], see: file.target.split('/').at(-2) ?? '' };
  return { licences: file?.kind === 'file' ? licencesIn(new TextDecoder().decode(file.data)) : [] };
}

function isNoted(value: unknown): value is Noted {
  return typeof value === 'object' && value !== null && 'licences' in value && Array.isArray(value.licences);
}
