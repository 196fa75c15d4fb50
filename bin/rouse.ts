// bin/rouse.ts - the `rouse` command: arguments in, text or JSON out, exit status by formats/errors.ts.
//
// Owns: running the command table (program.ts), and what becomes of a failure. To add a command: see program.ts.

import { CommanderError } from 'commander';
import { describeFailure } from './context.ts';
import type { CommandContext } from './context.ts';
import { choosePlaces } from './places.ts';
import { buildProgram } from './program.ts';

const contextOf = (config: () => string | undefined): CommandContext => ({
  places: () => choosePlaces({ config: config() }, process.env),
  print: (line) => void process.stdout.write(`${line}\n`),
  warn: (line) => void process.stderr.write(`${line}\n`),
  isTerminal: process.stdout.isTTY,
  exit: (code) => {
    process.exitCode = code;
  },
});

// A reader that went away (rouse status | head) is not an error. Nor is a terminal that was closed (EIO): what runs then,
// the removal of a lab for one, goes on without words.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    if (error.code !== 'EIO') throw error;
  });
}

// Not awaited here: what ships is CommonJS, which has no await outside of functions.
void main();

async function main(): Promise<void> {
  try {
    await buildProgram(contextOf).parseAsync();
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      process.exitCode = thrown.exitCode === 0 ? 0 : 100;
    } else {
      const { line, exitCode } = describeFailure(thrown);
      warn(line);
      if (process.env['ROUSE_TRACE'] === '1' && thrown instanceof Error) warn(thrown.stack ?? '');
      process.exitCode = exitCode;
    }
  }
}

function warn(line: string): void {
  process.stderr.write(`${line}\n`);
}
