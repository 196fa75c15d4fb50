// bin/rouse.ts - the `rouse` command of hosts: arguments in, text or JSON out, exit status by formats/errors.ts.
//
// To add a command: see program.ts. What becomes of a failure: frame.ts.

import { type ContextOf, runTyped, typedContext } from './frame.ts';
import { buildProgram } from './program.ts';

const contextOf: ContextOf = (config) => ({
  ...typedContext(config),
  nodes: () => import('./nodestatus.ts'),
  bootServerTrouble: async (places) => (await import('../netboot/api/trouble.io.ts')).askTrouble(places),
});

// Not awaited here: what ships is CommonJS, which has no await outside of functions.
void runTyped(() => buildProgram(contextOf));
