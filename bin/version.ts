// bin/version.ts - the version of this copy: of package.json of the clone, of the package, or of the node's runtime.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './places.ts';

/** "0.1.0". */
export function readVersion(): string {
  const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
