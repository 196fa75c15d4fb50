// bin/program.ts - the command table of `rouse`: every command with its words, help and examples.
//
// Owns: global options, help, and which files register commands. Running it, and what becomes of a failure: rouse.ts.
// Each file of bin/commands/ imports the room behind it only when a command runs, so that `rouse status` does not pay for
// the boot server. The man page is written from this table (pack/man.ts).
// To add a command: a row in the file of its room; to add a room's file: one line in COMMANDS.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { registerApplets } from './commands/applets.ts';
import { registerImage } from './commands/image.ts';
import { registerLab } from './commands/lab.ts';
import { registerNetboot } from './commands/netboot.ts';
import { registerNode } from './commands/node.ts';
import { registerPool } from './commands/pool.ts';
import { registerSupervise } from './commands/supervise.ts';
import type { CommandContext } from './context.ts';
import { ROOT } from './places.ts';

const COMMANDS = [
  registerSupervise,
  registerNetboot,
  registerNode,
  registerPool,
  registerImage,
  registerLab,
  registerApplets,
];

/**
 * The whole table.
 *
 * @param contextOf makes what the commands are given; called once, with the reader of --config.
 */
export function buildProgram(contextOf: (config: () => string | undefined) => CommandContext): Command {
  const program = new Command('rouse')
    .description('Keeps daemons alive on every host, and boots nodes without disks into what their profile says.')
    .version(readVersion(), '--version', 'print the version')
    .option('--config <dir>', 'configuration folder (default /etc/rouse, $ROUSE_CONFIG, or .rouse/etc in a clone)')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'rouse: ')) })
    .addHelpText(
      'after',
      `
Examples:
  rouse supervise /etc/rouse/services     keep the services in that folder running
  rouse status                            what runs, since when, and what is wrong
  rouse explain 52:54:00:77:00:01         what that machine would boot, and why
  rouse check                             validate every configuration file
  rouse lab up                            a virtual rack that PXE-boots on this machine`,
    );
  const context = contextOf(() => program.opts<{ config?: string }>().config);
  for (const register of COMMANDS) register(program, context);
  inheritSettings(program);
  return program;
}

/** Of this copy: package.json of the clone, or of the package. */
function readVersion(): string {
  const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
  return `rouse ${(JSON.parse(text) as { version: string }).version}`;
}

/** commander copies settings to a subcommand when it is made by command(name), but not exitOverride made later. */
function inheritSettings(command: Command): void {
  for (const sub of command.commands) {
    sub.copyInheritedSettings(command);
    inheritSettings(sub);
  }
}
