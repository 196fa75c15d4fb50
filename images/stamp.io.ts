// images/stamp.io.ts - whether a folder of the cache is still what was put into it.
//
// Owns: the stamp, a file in the folder that names every other file in it with its hash. Does not own: what is in the folder.
//
// What is made from such a folder is signed as sound, so it is read anew before each use: a bit that has turned, a file that
// somebody removed and what a power cut left half written all end the same way. Nothing need be on disk before the stamp is.

import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256OfContent, wholeFile } from './content.io.ts';
import { publishFile } from './files.io.ts';

const STAMP = '.stamp';

/** Says in the folder what is in it. */
export async function stampFolder(folder: string): Promise<void> {
  await publishFile(join(folder, STAMP), await listingOf(folder));
}

/** Whether all that the stamp names is there as it was, and nothing else; not where there is no folder, or it cannot be read. */
export async function isAsStamped(folder: string): Promise<boolean> {
  try {
    const stamp = await readFile(join(folder, STAMP), 'utf8');
    return stamp === (await listingOf(folder));
  } catch {
    return false;
  }
}

/** A line for each file: its path and what it holds. No link is followed. */
async function listingOf(folder: string, below = ''): Promise<string> {
  const items = await readdir(join(folder, below), { withFileTypes: true });
  let listing = '';
  for (const item of items.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(below, item.name);
    const full = join(folder, path);
    if (path === STAMP) continue;
    if (item.isDirectory()) listing += await listingOf(folder, path);
    else if (item.isFile()) listing += `${JSON.stringify([path, sha256OfContent(wholeFile(full))])}\n`;
    else if (item.isSymbolicLink()) listing += `${JSON.stringify([path, 'to', await readlink(full)])}\n`;
    // Whatever it is, nothing was unpacked as that.
    else listing += `${JSON.stringify([path, 'no file'])}\n`;
  }
  return listing;
}
