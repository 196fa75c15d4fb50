// images/archive.io.ts - the sources that apt is given for a recipe's archive, written into apt's private folder.
//
// Owns: reading the build host's sources (wherever its apt has them) and the recipe's keyring. Does not own: what is made of
// them (archive.ts), apt (apt.io.ts).

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { deriveSources, type PlacedArchive, type SourcesFile } from './archive.ts';
import { publishFile } from './files.io.ts';

/** @returns the folder, and all that decides what apt finds there: another text is another choice of packages. */
export async function writeSources(placed: PlacedArchive, into: string): Promise<{ folder: string; text: string }> {
  const { archive, places } = placed;
  const folder = join(into, 'sources.d');
  const key = await readKeyring(placed);
  // apt tells a key ring from the armoured text of a key by the name.
  const signedBy = key === undefined ? undefined : join(into, key.includes('-----BEGIN PGP') ? 'key.asc' : 'key.gpg');
  const derived = deriveSources(archive, archive.mirror === undefined ? await hostSources() : [], signedBy);
  if (!derived.ok) {
    throw new Fault('E_CONFIG', { what: `${places[derived.key] ?? places.all} no archive`, why: derived.why });
  }
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  if (key !== undefined && signedBy !== undefined) await publishFile(signedBy, key);
  for (const { name, text } of derived.files) await writeFile(join(folder, name), text);
  // Not where the key was copied to: another cache asks the same archive.
  const { keyring: _, ...asked } = archive;
  const parts = archive.mirror === undefined ? derived.files.map((file) => file.text) : [JSON.stringify(asked)];
  return { folder, text: [...parts, key?.toString('base64') ?? ''].join('\n') };
}

/** The keys that must have signed the mirror; undefined where none are named. @throws Fault E_CONFIG where they cannot be read. */
export async function readKeyring({ archive, places }: PlacedArchive): Promise<Buffer | undefined> {
  if (archive.keyring === undefined) return undefined;
  try {
    return await readFile(archive.keyring);
  } catch (error) {
    throw new Fault('E_CONFIG', {
      what: `${places.keyring ?? places.all} cannot read the keyring ${archive.keyring}`,
      why: reasonOf(error),
      todo: 'name the file with the keys that sign the mirror; a path without / at its start is beside the recipe',
    });
  }
}

/** Every file of sources that this host's apt reads. */
async function hostSources(): Promise<SourcesFile[]> {
  const { execa } = await import('execa');
  const asked = await execa(
    'apt-config',
    ['shell', 'FILE', 'Dir::Etc::sourcelist/f', 'FOLDER', 'Dir::Etc::sourceparts/d'],
    { stdin: 'ignore', reject: false },
  );
  const answer = (name: string): string => new RegExp(`^${name}='(.*)'$`, 'm').exec(asked.stdout ?? '')?.[1] ?? '';
  const [list, folder] = [answer('FILE'), answer('FOLDER')];
  const names = (await readdir(folder).catch((): string[] => [])).filter((name) => /\.(?:list|sources)$/.test(name));
  const paths = [list, ...names.sort().map((name) => join(folder, name))];
  const files = await Promise.all(
    paths.map(async (path) => ({
      name: path.endsWith('.sources') ? 'x.sources' : 'x.list',
      text: await readFile(path, 'utf8').catch(() => ''),
    })),
  );
  return files.filter(({ text }) => text !== '');
}
