// bin/rouse.ts - the `rouse` command: arguments in, text or JSON out, exit status by formats/errors.ts.
//
// Owns: global options, help, and what becomes of a failure. Each command is registered by a file of bin/commands/,
// which imports the room behind it only when the command runs, so that `rouse status` does not pay for the boot server.
// To add a command: a row in the file of its room; to add a room's file: one line in COMMANDS.

import { Command, CommanderError } from 'commander';
import { registerApplets } from './commands/applets.ts';
import { registerImage } from './commands/image.ts';
import { registerLab } from './commands/lab.ts';
import { registerNetboot } from './commands/netboot.ts';
import { registerNode } from './commands/node.ts';
import { registerSupervise } from './commands/supervise.ts';
import { type CommandContext, describeFailure } from './context.ts';
import { choosePlaces } from './places.ts';

const COMMANDS = [registerSupervise, registerNetboot, registerNode, registerImage, registerLab, registerApplets];

const program = new Command('rouse')
  .description('Keeps daemons alive on every host, and boots nodes without disks into what their profile says.')
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

const context: CommandContext = {
  places: () => choosePlaces({ config: program.opts<{ config?: string }>().config }, process.env),
  print: (line) => void process.stdout.write(`${line}\n`),
  warn: (line) => void process.stderr.write(`${line}\n`),
  isTerminal: process.stdout.isTTY,
  exit: (code) => {
    process.exitCode = code;
  },
};

for (const register of COMMANDS) register(program, context);
inheritSettings(program);

// A reader that went away (rouse status | head) is not an error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    throw error;
  });
}

try {
  await program.parseAsync();
} catch (thrown) {
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? 0 : 100;
  } else {
    const { line, exitCode } = describeFailure(thrown);
    context.warn(line);
    if (process.env['ROUSE_TRACE'] === '1' && thrown instanceof Error) context.warn(thrown.stack ?? '');
    process.exitCode = exitCode;
  }
}

/** commander copies settings to a subcommand when it is made by command(name), but not exitOverride made later. */
function inheritSettings(command: Command): void {
  for (const sub of command.commands) {
    sub.copyInheritedSettings(command);
    inheritSettings(sub);
  }
}
