// images/runtime.io.ts - Node and the programs of rouse as this machine has them, read for an image.
//
// Owns: reading them. Does not own: which files they become (runtime.ts), who makes the programs (the caller's
// RuntimeSource: bundled in a clone, installed with the package).

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import type { CpioEntry } from './cpio.ts';
import { ELF_MACHINES, readElfNeeds } from './elf.ts';
import { sha256Of } from './files.io.ts';
import { nodeEntry } from './runtime.ts';

/** Where an image's Node and rouse come from. */
export type RuntimeSource = {
  readonly nodePath: string;
  readonly nodeVersion: string;
  readonly rouseVersion: string;
  /** @returns a folder with the programs, *.cjs. */
  readonly programs: () => Promise<string>;
};

export type Runtime = Pick<RuntimeSource, 'nodeVersion' | 'rouseVersion'> & {
  readonly node: () => CpioEntry;
  /** Of the program as it was found. */
  readonly nodeSha256: string;
  readonly programs: ReadonlyMap<string, Uint8Array>;
};

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
  let octets: Uint8Array;
  let programs: [string, Uint8Array][];
  try {
    octets = await readFile(source.nodePath);
    const folder = await source.programs();
    // The log writer is started beside the supervisor; the boot server's programs stay where they are.
    const names = (await readdir(folder)).filter((name) =>
      /^(?:rouse-supervise|rouse-node|logwriter-.*)\.cjs$/.test(name),
    );
    programs = await Promise.all(
      names.map(async (name): Promise<[string, Uint8Array]> => [name, await readFile(join(folder, name))]),
    );
  } catch (error) {
    throw refuse(reasonOf(error));
  }
  if (readElfNeeds(octets)?.machine !== ELF_MACHINES[architecture])
    throw refuse(`${source.nodePath} is no program for ${architecture}`);
  if (!programs.some(([name]) => name === 'rouse-supervise.cjs')) throw refuse('its programs are not there');
  const { nodeVersion, rouseVersion } = source;
  return {
    nodeVersion,
    rouseVersion,
    nodeSha256: sha256Of(octets),
    programs: new Map(programs),
    node() {
      const entry = nodeEntry(octets);
      if (entry === undefined) throw refuse(`${source.nodePath} is damaged`);
      return entry;
    },
  };
}
