// A builder that never rests: it edits a role, builds, promotes and prunes until it is killed. For storm tests.
//
// Usage: node storm.ts ROLES LIB CACHE

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage } from '../../images/build.io.ts';
import { pruneStore } from '../../images/prune.io.ts';
import { openStore } from '../../images/store.io.ts';

const [roles = '', libDir = '', cacheDir = ''] = process.argv.slice(2);
for (let round = 0; ; round += 1) {
  // Each content comes again later, so that layers are taken away, missed, and made again.
  writeFileSync(join(roles, 'base/files/etc/round'), `${round % 5}\n`);
  const { manifest } = await buildImage({ roleDirs: [roles], role: 'base', libDir, cacheDir });
  await openStore(libDir).promote('base', manifest.generation);
  await pruneStore({ libDir, inUse: [], newest: 1, isDryRun: false, onEvent: () => undefined });
  process.stdout.write('round\n');
}
