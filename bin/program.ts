// bin/program.ts - the command table of `rouse`: every command with its words, help and examples.
//
// Owns: which files register commands, and the words of the first page of help. All else about a program: frame.ts.
// Each file of bin/commands/ imports the room behind it only when a command runs, so that `rouse status` does not pay for
// the boot server. The man page is written from this table (pack/man.ts).
// To add a command: a row in the file of its room; to add a room's file: one line in COMMANDS.

import type { Command } from 'commander';
import { registerApplets } from './commands/applets.ts';
import { registerHost } from './commands/host.ts';
import { registerImage } from './commands/image.ts';
import { registerLab } from './commands/lab.ts';
import { registerNetboot } from './commands/netboot.ts';
import { registerNode } from './commands/node.ts';
import { registerPool } from './commands/pool.ts';
import { registerSupervise } from './commands/supervise.ts';
import { type ContextOf, frameProgram } from './frame.ts';

const COMMANDS = [
  registerSupervise,
  registerNetboot,
  registerNode,
  registerHost,
  registerPool,
  registerImage,
  registerLab,
  registerApplets,
];

const WORDS = {
  description: 'Keeps daemons alive on every host, and boots nodes without disks into what their profile says.',
  examples: `  rouse supervise /etc/rouse/services     keep the services in that folder running
  rouse status                            what runs, since when, and what is wrong
  rouse explain 52:54:00:77:00:01         what that machine would boot, and why
  rouse check                             validate every configuration file
  rouse lab up                            a virtual rack that PXE-boots on this machine

Pages: docs/, installed as /usr/share/doc/rouse. What to look at when something is wrong: operating.md`,
};

/**
 * The whole table.
 *
 * @param contextOf makes what the commands are given; called once, with the reader of --config.
 */
export function buildProgram(contextOf: ContextOf): Command {
  return frameProgram(contextOf, COMMANDS, WORDS);
}
