// supervise/applets/front.io.ts - svscan and supervise of daemontools, as fronts of rouse's own supervisor.
//
// Owns: their arguments, messages and exit statuses. Does not own: supervising (../supervisor.io.ts, ../unit.io.ts).
//
// What differs from 0.76: one process for all services, so svscan starts no supervise; a service has a session of its
// own; TERM leaves the services to the next supervisor, which adopts them; HUP and INT to svscan stop them first.
// Sources: daemontools 0.76 svscan.c, supervise.c.

import { closeSync, constants, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import { errorCode, pathOfFd } from '../directory.io.ts';
import { unitHost } from '../host.io.ts';
import { closeInherited } from '../inherited.io.ts';
import { openDirectories } from '../open.io.ts';
import { Spawner } from '../spawner.io.ts';
import { Supervisor } from '../supervisor.io.ts';
import type { FrontName } from './table.ts';

type Front = (args: readonly string[], log: (line: string) => void) => Promise<number>;

const FRONTS = { svscan: runSvscan, supervise: runSupervise } satisfies Record<FrontName, Front>;

/** Whether the word names a command of this file. */
export function isFront(name: string): name is FrontName {
  return Object.hasOwn(FRONTS, name);
}

/** Runs one of them. @param log writes one line to standard error. @returns its exit status. */
export function runFront(name: FrontName, args: readonly string[], log: (line: string) => void): Promise<number> {
  closeInherited();
  return FRONTS[name](args, log);
}

/** svscan [DIR]: every service directory of the folder, until a signal ends it. */
async function runSvscan(args: readonly string[], log: (line: string) => void): Promise<number> {
  const directory = args[0] ?? '.';
  const opened = openDirectory(directory);
  if (!opened.ok) {
    log(`svscan: fatal: unable to chdir to ${directory}: ${opened.why}`);
    return 111;
  }
  closeSync(opened.fd);
  return new Supervisor(resolve(directory), (line) => log(`svscan: warning: ${line}`)).run();
}

/** supervise DIR: one service directory, until it is told to exit (svc -x) and its service is down. */
async function runSupervise(args: readonly string[], log: (line: string) => void): Promise<number> {
  const [directory, ...more] = args;
  if (directory === undefined || more.length > 0) {
    log('supervise: usage: supervise dir');
    return 100;
  }
  const opened = openDirectory(directory);
  if (!opened.ok) {
    log(`supervise: fatal: unable to chdir to ${directory}: ${opened.why}`);
    return 111;
  }
  const spawner = new Spawner((line) => log(`supervise: warning: ${line}`));
  let review = (): void => undefined;
  const host = unitHost(spawner, {
    log: (line) => log(`supervise: warning: ${line}`),
    enqueueStart: (start) => void setImmediate(start),
    onChange: () => review(),
  });
  const [answer] = await openDirectories(
    [
      {
        name: directory,
        base: pathOfFd(opened.fd),
        fifos: [],
        ownFds: [opened.fd],
        streams: () => ({ stdin: 0, stdout: 1 }),
      },
    ],
    host,
  );
  if (answer === undefined || !answer.ok) {
    const why = answer?.why ?? 'it was not opened';
    log(
      why.startsWith('another supervisor')
        ? `supervise: fatal: unable to acquire ${directory}/supervise/lock: temporary failure`
        : `supervise: fatal: unable to start ${directory}: ${why}`,
    );
    return 111;
  }
  const { unit, okFd } = answer;
  return new Promise((done) => {
    const leave = (): void => {
      process.off('SIGTERM', onTerm);
      spawner.close();
      done(0);
    };
    const onTerm = (): void => {
      unit.abandon();
      leave();
    };
    process.on('SIGTERM', onTerm);
    review = () => {
      if (!unit.isOpen) leave();
    };
    // No depends: a service directory alone has nobody to wait for.
    unit.begin(okFd, []);
  });
}

type OpenedDirectory = { readonly ok: true; readonly fd: number } | { readonly ok: false; readonly why: string };

function openDirectory(path: string): OpenedDirectory {
  try {
    return { ok: true, fd: openSync(path, constants.O_RDONLY | constants.O_DIRECTORY) };
  } catch (thrown) {
    const words: Record<string, string> = {
      ENOENT: 'file does not exist',
      ENOTDIR: 'not a directory',
      EACCES: 'access denied',
    };
    return { ok: false, why: words[errorCode(thrown) ?? ''] ?? reasonOf(thrown) };
  }
}
