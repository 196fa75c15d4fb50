// netboot/journal/sightings.io.ts - lib/sightings.json: machines that were heard, kept over a restart of the boot server.
//
// Owns: the file. Does not own what is remembered of a machine and of how many (sightings.ts). It is of a bounded size and
// replaced as a whole, once in a while: strangers can neither fill the disk with it nor keep it busy.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publishFile } from '../../images/files.io.ts';
import { readSightings, type Sightings } from './sightings.ts';

const fileOf = (libDir: string): string => join(libDir, 'sightings.json');

/** Takes in what was heard before this start. A file that is not there, or damaged, is none. */
export async function loadSightings(libDir: string, sightings: Sightings): Promise<void> {
  const text = await readFile(fileOf(libDir), 'utf8').catch(() => '[]');
  for (const one of readSightings(text)) sightings.recall(one);
  sightings.isSaved = true;
}

/** Writes what is to be remembered, where that is another than it was. @throws Error where the disk refuses. */
export async function saveSightings(libDir: string, sightings: Sightings): Promise<void> {
  if (sightings.isSaved) return;
  sightings.isSaved = true;
  await publishFile(fileOf(libDir), JSON.stringify(sightings.toKeep()), 0o600);
}
