// netboot/site/lastgood.io.ts - lib/last-good.json: the files that were last in force, kept over a restart.
//
// Owns: the file, and the note in it of what commands wrote while no boot server ran. Does not own what is in force
// (inforce.ts). A damaged copy is as good as none.

import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { publishFile } from '../../images/files.io.ts';
import type { Problem } from '../../formats/yaml/document.ts';
import type { SiteText, SiteTexts } from './files.ts';

type Encoded = {
  readonly rouse: SiteText | undefined;
  readonly profiles: readonly (readonly [string, SiteText])[];
  readonly nodes: readonly (readonly [string, SiteText])[];
  readonly roles: readonly (readonly [string, SiteText])[];
  readonly faults?: readonly Problem[];
  /** What `--offline` wrote since, by path: it is in the audit log. */
  readonly told?: readonly (readonly [string, string])[];
};

export type LastGood = {
  readonly texts: SiteTexts;
  readonly told: ReadonlyMap<string, string>;
  /** When it came into force, milliseconds since 1970. */
  readonly sinceMs: number;
};

const fileOf = (libDir: string): string => join(libDir, 'last-good.json');

/** The texts as one value that says whether they differ. */
export function encodeTexts({ rouse, profiles, nodes, roles, faults }: SiteTexts): Encoded {
  return { rouse, profiles: [...profiles], nodes: [...nodes], roles: [...roles], faults: faults ?? [] };
}

/** Keeps what is in force now. @throws Error where the disk refuses. */
export async function saveLastGood(libDir: string, texts: SiteTexts): Promise<void> {
  await mkdir(libDir, { recursive: true, mode: 0o700 });
  await publishFile(fileOf(libDir), JSON.stringify(encodeTexts(texts)), 0o600);
}

/** The files that were last in force before this start. */
export async function readLastGood(libDir: string): Promise<LastGood | undefined> {
  try {
    const { mtimeMs } = await stat(fileOf(libDir));
    const { rouse, profiles, nodes, roles, told } = await readEncoded(libDir);
    const texts = { rouse, profiles: new Map(profiles), nodes: new Map(nodes), roles: new Map(roles) };
    return { texts, told: new Map(told), sinceMs: mtimeMs };
  } catch {
    return undefined;
  }
}

/** Notes what a command wrote while no boot server ran, so that the next one takes it for nobody's edit by hand. */
export async function noteTold(libDir: string, texts: ReadonlyMap<string, string>): Promise<void> {
  const encoded = await readEncoded(libDir).catch(() => undefined);
  // Where nothing was in force before, nothing will be compared with it.
  if (encoded === undefined || texts.size === 0) return;
  const told = [...new Map([...(encoded.told ?? []), ...texts])];
  await publishFile(fileOf(libDir), JSON.stringify({ ...encoded, told }), 0o600);
}

async function readEncoded(libDir: string): Promise<Encoded> {
  return JSON.parse(await readFile(fileOf(libDir), 'utf8')) as Encoded;
}
