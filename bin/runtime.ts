// bin/runtime.ts - the Node and the programs that this copy of rouse puts into images.
//
// Owns: where they are: beside this program where it is installed, made by pack/ in a clone. Does not own: what becomes of
// them (images/runtime.ts).

import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RuntimeSource } from '../images/runtime.io.ts';
import { IS_CLONE, ROOT } from './places.ts';

/** @param cacheDir where a clone's programs go. */
export async function runtimeSource(cacheDir: string): Promise<RuntimeSource> {
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return {
    nodePath: process.execPath,
    nodeVersion: process.versions.node,
    rouseVersion: version,
    async programs() {
      if (!IS_CLONE) return join(ROOT, 'bin');
      const folder = join(cacheDir, 'programs');
      await mkdir(folder, { recursive: true });
      await promisify(execFile)(process.execPath, [join(ROOT, 'pack', 'programs.io.ts'), folder]);
      return folder;
    },
  };
}
