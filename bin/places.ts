// bin/places.ts - where rouse keeps things: installed, in a clone, or where the environment says.
//
// Owns: the one decision of ARCHITECTURE.md, "Places". Everything below bin/ gets folders as arguments.

import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Places } from './context.ts';

/** The folder that holds package.json. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** A clone is told from an installed copy by the files that only a clone has. */
export const IS_CLONE = existsSync(join(ROOT, 'tsconfig.base.json'));

/**
 * @param options `config` is what --config said. ROUSE_CONFIG names the configuration folder; ROUSE_HOME puts all four
 *   places below one folder (etc, lib, cache, run), as a clone does with .rouse. ROUSE_CACHE names the cache, so that several
 *   may share the packages that were fetched.
 */
export function choosePlaces(options: { config?: string | undefined }, env: NodeJS.ProcessEnv): Places {
  const home = env['ROUSE_HOME'] ?? (IS_CLONE ? join(ROOT, '.rouse') : undefined);
  const under = (name: string, installed: string): string => (home === undefined ? installed : resolve(home, name));
  const configDir = resolve(options.config ?? env['ROUSE_CONFIG'] ?? under('etc', '/etc/rouse'));
  return {
    configDir,
    libDir: under('lib', '/var/lib/rouse'),
    cacheDir: env['ROUSE_CACHE'] ?? under('cache', '/var/cache/rouse'),
    runDir: under('run', '/run/rouse'),
    roleDirs: [join(configDir, 'roles'), join(ROOT, 'services')],
  };
}
