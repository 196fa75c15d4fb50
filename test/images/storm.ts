// One build, one promotion and one prune, killed before a chosen change of the disk. For storm tests.
//
// Usage: node storm.ts ROLES LIB CACHE CONTENT KILL-BEFORE
//   CONTENT      what the role's file says this time
//   KILL-BEFORE  the number of the change (a file opened for writing, written, renamed, linked, removed) that is not made
//                any more; 0: all are made, and their number is printed

import { writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

const [roles = '', libDir = '', cacheDir = '', content = '', killBefore = '0'] = process.argv.slice(2);
writeFileSync(join(roles, 'base/files/etc/round'), `${content}\n`);

let changes = 0;
type Call = (...args: unknown[]) => unknown;
function count(owner: object, names: readonly string[]): void {
  const calls = owner as Record<string, Call>;
  for (const name of names) {
    const before = calls[name];
    if (before === undefined) throw new Error(`there is no ${name}`);
    calls[name] = function counted(this: unknown, ...args) {
      changes += 1;
      if (changes === Number(killBefore)) process.kill(process.pid, 'SIGKILL');
      return before.apply(this, args);
    };
  }
}
const handle = await fs.open(process.execPath);
count(Object.getPrototypeOf(handle) as object, ['write', 'writeFile', 'sync']);
await handle.close();
count(fs, ['rename', 'link', 'symlink', 'rm', 'copyFile', 'mkdir', 'writeFile']);
syncBuiltinESMExports();

const { buildImage } = await import('../../images/build.io.ts');
const { pruneStore } = await import('../../images/prune.io.ts');
const { openStore } = await import('../../images/store.io.ts');
const { manifest } = await buildImage({ roleDirs: [roles], role: 'base', libDir, cacheDir });
await openStore(libDir).promote('base', manifest.generation);
await pruneStore({ libDir, askInUse: async () => [], newest: 1, isDryRun: false, onEvent: () => undefined });
process.stdout.write(`${changes}\n`);
