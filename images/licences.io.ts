// images/licences.io.ts - copyright files of packages, which images leave out, read once for each version.
//
// Owns: finding the file in a .deb, and remembering what it said (cache/licences/SHA256.VERSION.json). Does not own: reading it
// (licences.ts).

import { join } from 'node:path';
import { z } from 'zod';
import type { ArchivePackage } from './apt.ts';
import { publishFile, readCached } from './files.io.ts';
import type { PackageContent } from './layout.ts';
import { licencesIn } from './licences.ts';

/** Raised whenever the same file is read otherwise than before. */
const READER_VERSION = 2;

const NotedSchema = z.strictObject({
  licences: z.array(z.string()).readonly(),
  /** Another package whose folder holds the file. */
  see: z.string().optional(),
});

type Noted = z.infer<typeof NotedSchema>;

/** Reads files of a package into memory. @param wanted by path without leading slash. */
type ReadFiles = (one: ArchivePackage, wanted: (path: string) => boolean) => Promise<PackageContent<Uint8Array>>;

/** Licences by package. */
export async function readLicences(
  cacheDir: string,
  readFiles: ReadFiles,
  packages: readonly ArchivePackage[],
): Promise<Map<string, readonly string[]>> {
  const note = async (one: ArchivePackage): Promise<[string, Noted]> => {
    const path = join(cacheDir, 'licences', `${one.sha256}.${READER_VERSION}.json`);
    const before = await readCached(path, isNoted);
    if (before !== undefined) return [one.name, before];
    const folder = `usr/share/doc/${one.name}`;
    const content = await readFiles(one, (file) => file === folder || file === `${folder}/copyright`);
    const found = noteOf(content, folder);
    await publishFile(path, JSON.stringify(found));
    return [one.name, found];
  };
  const noted = new Map(await Promise.all(packages.map(note)));
  return new Map(
    Array.from(noted, ([name, { licences, see }]) => [
      name,
      see === undefined ? licences : (noted.get(see)?.licences ?? []),
    ]),
  );
}

function noteOf({ entries }: PackageContent<Uint8Array>, folder: string): Noted {
  const see = entries.find((entry) => entry.path === folder && entry.kind === 'symlink');
  if (see?.kind === 'symlink') return { licences: [], see: see.target.replace(/^.*\//, '') };
  const file = entries.find((entry) => entry.path === `${folder}/copyright`);
  if (file?.kind === 'symlink') return { licences: [], see: file.target.split('/').at(-2) ?? '' };
  return { licences: file?.kind === 'file' ? licencesIn(new TextDecoder().decode(file.data)) : [] };
}

function isNoted(value: unknown): value is Noted {
  return NotedSchema.safeParse(value).success;
}
