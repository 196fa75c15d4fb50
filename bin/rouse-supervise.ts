// bin/rouse-supervise.ts - the supervisor alone: the small bundle of the package, and what the applets svscan and supervise start.
//
// Owns: the words `supervise [DIR]`, `applet svscan [DIR]` and `applet supervise DIR`; what their failures look like.
// Does not own: any other command (rouse.ts). Imports nothing that the supervisor does not need:
// no commander, no zod, no yaml, because this process forks once per start.

import { writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeFailure } from './context.ts';
import { choosePlaces } from './places.ts';
import { isFront, runFront } from '../supervise/applets/front.io.ts';
import { runSupervise } from '../supervise/main.io.ts';

const USAGE = 'rouse-supervise: usage: rouse-supervise supervise [DIR] | applet svscan [DIR] | applet supervise DIR';

const log = (line: string): void => {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // Nobody to tell: a closed or full standard error does not end the supervisor.
  }
};

async function main(): Promise<number> {
  const [word, first, ...rest] = process.argv.slice(2);
  if (word === 'applet' && first !== undefined && isFront(first)) return runFront(first, rest, log);
  if (word !== 'supervise' || rest.length > 0 || first?.startsWith('-') === true) {
    log(USAGE);
    return 100;
  }
  const places = choosePlaces({}, process.env);
  return runSupervise({
    directory: resolve(first ?? join(places.configDir, 'services')),
    socketPath: join(places.runDir, 'supervise.sock'),
    log: (line) => log(`rouse supervise: ${line}`),
  });
}

main().then(
  (exitCode) => {
    process.exitCode = exitCode;
  },
  (thrown: unknown) => {
    const { line, exitCode } = describeFailure(thrown);
    log(line);
    process.exitCode = exitCode;
  },
);
