// bin/commands/applets.ts - rouse applets: the daemontools commands, for run scripts and for fingers that know them.
//
// Owns: arguments and output of this command; supervise/applets does the work.

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { CommandContext } from '../context.ts';
import { ROOT } from '../places.ts';

/** Adds `rouse applets` to the program. */
export function registerApplets(program: Command, context: CommandContext): void {
  program
    .command('applets')
    .description('write the daemontools commands (svc, svstat, setuidgid, …) into a folder')
    .argument('<dir>', 'where to; made if it is not there, and files of those names are replaced')
    .addHelpText('after', '\nExample:\n  rouse applets /usr/local/lib/rouse-applets')
    .action(async (directory: string) => {
      const { writeApplets } = await import('../../supervise/applets/write.io.ts');
      const names = writeApplets(resolve(directory), {
        scriptsDir: join(ROOT, 'supervise', 'applets', 'scripts'),
        front: frontWords(),
      });
      context.print(`${resolve(directory)}: ${names.join(' ')}`);
    });
}

/** How this copy of rouse starts its supervisor alone: under the Node that runs this very command. */
function frontWords(): string[] {
  const bundle = join(ROOT, 'bin', 'rouse-supervise.cjs');
  const program = existsSync(bundle) ? bundle : join(ROOT, 'bin', 'rouse-supervise.ts');
  return [process.execPath, '--max-semi-space-size=1', '--disable-warning=ExperimentalWarning', program, 'applet'];
}
