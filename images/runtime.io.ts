// images/runtime.io.ts - Node and the programs of rouse as this machine has them, read for an image.
//
// Owns: reading them. Does not own: which files they become (runtime.ts), who makes the programs (the caller's
// RuntimeSource: bundled in a clone, installed with the package).

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { peekAt, wholeFile } from './content.io.ts';
import type { FilePiece } from './content.ts';
import { ELF_MACHINES, readElfNeeds } from './elf.ts';
import { nodeEntry, type Runtime } from './runtime.ts';
import { sha256OfFile } from './sealed.io.ts';

/** Where an image's Node and rouse come from. */
export type RuntimeSource = {
  readonly nodePath: string;
  readonly nodeVersion: string;
  readonly rouseVersion: string;
  /** @returns a folder with the programs, *.cjs, of pack/bundle.io.ts. */
  readonly programs: () => Promise<string>;
};

/** The runtime of an image that wants it. @throws Fault E_BUILD also where the builder was given none. */
export async function requireRuntime(
  source: RuntimeSource | undefined,
  architecture: keyof typeof ELF_MACHINES,
  place: string,
): Promise<Runtime> {
  if (source !== undefined) return readRuntime(source, architecture, place);
  throw new Fault('E_BUILD', {
    what: `${place} cannot put rouse into the image`,
    why: 'no Node was given to the builder',
  });
}

/** @param place of the recipe's wish, for messages. @throws Fault E_BUILD where this machine cannot give it. */
export async function readRuntime(
  source: RuntimeSource,
  architecture: keyof typeof ELF_MACHINES,
  place: string,
): Promise<Runtime> {
  const refuse = (why: string): Fault =>
    new Fault('E_BUILD', {
      what: `${place} cannot put rouse into the image`,
      why,
      todo: 'or say supervisor: daemontools',
    });
  let whole: FilePiece;
  let nodeSha256: string;
  let programs: Map<string, Uint8Array>;
  try {
    whole = wholeFile(source.nodePath);
    [nodeSha256, programs] = await Promise.all([
      sha256OfFile(source.nodePath),
      source.programs().then((folder) => readPrograms(folder)),
    ]);
  } catch (error) {
    throw refuse(reasonOf(error));
  }
  const peek = peekAt(whole);
  if (readElfNeeds(peek)?.machine !== ELF_MACHINES[architecture])
    throw refuse(`${source.nodePath} is no program for ${architecture}`);
  const node = nodeEntry(whole, peek);
  if (node === undefined) throw refuse(`${source.nodePath} is damaged`);
  const { nodeVersion, rouseVersion } = source;
  return { nodeVersion, rouseVersion, nodeSha256, node, programs };
}

/** Files that a program starts as processes of their own, as pack/bundle.io.ts leaves their names in it. */
const OWN_FILE = /new URL\(["']\.\/([\w.-]+\.cjs)["']/g;

/** The programs of a node and all that they start: beside them lie the boot server's, which stay where they are. */
async function readPrograms(folder: string): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const wanted = ['rouse-supervise.cjs', 'rouse-node.cjs'];
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    if (found.has(name)) continue;
    const octets = await readFile(join(folder, name));
    found.set(name, octets);
    for (const [, started = ''] of octets.toString().matchAll(OWN_FILE)) wanted.push(started);
  }
  return found;
}
