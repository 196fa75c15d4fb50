// netboot/api/inuse.io.ts - asking what nodes run: the boot server, or where none runs its store on disk.
//
// Owns: which of the two answers. Does not own the answer (fleet/inuse.ts).

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../formats/errors.ts';
import { orAbsent } from '../../images/files.io.ts';
import type { InUse } from '../../images/prune.ts';
import { imagesInUse } from '../fleet/inuse.ts';
import { openStore } from '../store/store.io.ts';
import { askNetboot } from './client.io.ts';

/**
 * Generations that nodes run, are loading or would go back to. The files alone do not tell: without a boot server its store is
 * read, which no other boot server may have open.
 *
 * @throws Fault E_STORE, E_LOCKED, E_UNREACHABLE where that cannot be known.
 */
export async function askInUse({ runDir, libDir }: { runDir: string; libDir: string }): Promise<readonly InUse[]> {
  try {
    const answer = await askNetboot(join(runDir, 'netboot.sock'), '/v1/images/inuse');
    return (answer as { inUse: InUse[] }).inUse;
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'E_UNREACHABLE') throw error;
  }
  const file = join(libDir, 'store.sqlite');
  if ((await orAbsent(stat(file), undefined)) === undefined) return [];
  const store = await openStore(file);
  const inUse = imagesInUse(store.content.boots, store.content.nodes);
  await store.close();
  return inUse;
}
