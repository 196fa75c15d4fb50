// pack/programs.io.ts - in a clone: the programs of the runtime layer, bundled into a folder. `node pack/programs.io.ts DIR`
//
// Owns: nothing but the call. A process of its own, started by bin/runtime.ts, because imports run from pack/ to bin/.

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from './bundle.io.ts';

const [out = ''] = process.argv.slice(2);
await bundle(resolve(fileURLToPath(new URL('../', import.meta.url))), resolve(out), ['rouse-supervise', 'rouse-node']);
