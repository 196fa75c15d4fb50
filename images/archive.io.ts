// images/archive.io.ts - the sources that apt is given for a recipe's archive, written into apt's private folder.
//
// Owns: reading the build host's sources (wherever its apt has them) and the recipe's keyring. Does not own: what is made of
// them (archive.ts), apt (apt.io.ts).

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { deriveSources, type PlacedArchive, type SourcesFile } from './archive.ts';
import { publishFile, readRegular } from './files.io.ts';

/** Where the copy of a keyring lies in apt's folder: apt tells a key ring from the armoured text of a key by the name. */
const KEY_NAMES = { ring: 'key.gpg', armoured: 'key.asc' } as const;

/** What apt is to be given, read and not yet written. */
export type OwnSources = {
  /** All that decides what apt finds there: another text is another choice of packages, from lists that were verified anew. */
  readonly text: string;
  /** Writes the files. @param into apt's folder. @returns the folder of sources in it. */
  readonly write: (into: string) => Promise<string>;
};

/** @throws Fault E_CONFIG, with the recipe's line, where the host or the keyring cannot answer. */
export async function readSources(placed: PlacedArchive): Promise<OwnSources> {
  const { archive, places } = placed;
  const key = await readKeyring(placed);
  const host = archive.mirror === undefined ? await hostSources() : [];
  const keyName = key?.includes('-----BEGIN PGP') === true ? KEY_NAMES.armoured : KEY_NAMES.ring;
  const derive = (signedBy: string | undefined): readonly SourcesFile[] => {
    const derived = deriveSources(archive, host, signedBy);
    if (derived.ok) return derived.files;
    throw new Fault('E_CONFIG', { what: `${places[derived.key] ?? places.all} no archive`, why: derived.why });
  };
  // Not where the key is copied to: another cache asks the same archive.
  const texts = derive(key === undefined ? undefined : keyName).map(({ text }) => text);
  return {
    text: [...texts, key?.toString('base64') ?? ''].join('\n'),
    async write(into) {
      const folder = join(into, 'sources.d');
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      if (key !== undefined) await publishFile(join(into, keyName), key);
      for (const { name, text } of derive(key === undefined ? undefined : join(into, keyName))) {
        await writeFile(join(folder, name), text);
      }
      return folder;
    },
  };
}

/** The keys that must have signed the mirror; undefined where none are named. @throws Fault E_CONFIG where they cannot be read. */
export async function readKeyring({ archive, places }: PlacedArchive): Promise<Buffer | undefined> {
  if (archive.keyring === undefined) return undefined;
  try {
    return await readRegular(archive.keyring);
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
