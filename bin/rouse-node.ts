// bin/rouse-node.ts - the `rouse` command of nodes without disks: the words about their services, and no others.
//
// Owns: that choice. Ships in the runtime layer of images (images/runtime.ts), where every file lies in memory: neither the
// boot server nor the image builder nor their libraries are reachable from here.

import { registerSupervise } from './commands/supervise.ts';
import { frameProgram, runTyped, typedContext } from './frame.ts';

const WORDS = {
  description: 'Keeps the daemons of this node alive; what the node is, its boot server says.',
  examples: `  rouse status              what runs, since when, and what is wrong
  rouse logs -f nginx       what a service writes
  rouse restart --wait nginx`,
};

void runTyped(() => frameProgram(typedContext, [registerSupervise], WORDS));
