// bin/frame.ts - a command of many words: global options, help, what every word is given, and what becomes of a failure.
//
// Owns: all that `rouse` on a host (program.ts) and `rouse` on a node (rouse-node.ts) have in common.
// Does not own: which words there are.

import { Command, CommanderError } from 'commander';
import { describeFailure } from './context.ts';
import type { CommandContext } from './context.ts';
import { choosePlaces } from './places.ts';
import { readVersion } from './version.ts';

export type ContextOf = (config: () => string | undefined) => CommandContext;
export type Register = (program: Command, context: CommandContext) => void;

/**
 * A program with these words.
 *
 * @param contextOf makes what the commands are given; called once, with the reader of --config.
 */
export function frameProgram(
  contextOf: ContextOf,
  registers: readonly Register[],
  { description, examples }: { readonly description: string; readonly examples: string },
): Command {
  const program = new Command('rouse')
    .description(description)
    .version(`rouse ${readVersion()}`, '--version', 'print the version')
    .option('--config <dir>', 'configuration folder (default /etc/rouse, $ROUSE_CONFIG, or .rouse/etc in a clone)')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'rouse: ')) })
    .addHelpText('after', `\nExamples:\n${examples}`);
  const context = contextOf(() => program.opts<{ config?: string }>().config);
  for (const register of registers) register(program, context);
  inheritSettings(program);
  return program;
}

/** commander copies settings to a subcommand when it is made by command(name), but not exitOverride made later. */
function inheritSettings(command: Command): void {
  for (const sub of command.commands) {
    sub.copyInheritedSettings(command);
    inheritSettings(sub);
  }
}

/** The context of a command that was typed. */
export const typedContext: ContextOf = (config) => ({
  places: () => choosePlaces({ config: config() }, process.env),
  print: (line) => void process.stdout.write(`${line}\n`),
  warn: (line) => void process.stderr.write(`${line}\n`),
  isTerminal: process.stdout.isTTY,
  exit: (code) => {
    process.exitCode = code;
  },
});

/** Runs what was typed; sets the exit status. */
export async function runTyped(build: () => Command): Promise<void> {
  // A reader that went away (rouse status | head) is not an error. Nor is a terminal that was closed (EIO): what runs
  // then, the removal of a lab for one, goes on without words.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
      if (error.code !== 'EIO') throw error;
    });
  }
  try {
    await build().parseAsync();
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      process.exitCode = thrown.exitCode === 0 ? 0 : 100;
      return;
    }
    const { line, exitCode } = describeFailure(thrown);
    process.stderr.write(`${line}\n`);
    if (process.env['ROUSE_TRACE'] === '1' && thrown instanceof Error) process.stderr.write(`${thrown.stack ?? ''}\n`);
    process.exitCode = exitCode;
  }
}
