// supervise/main.io.ts - `rouse supervise`: the process itself.
//
// Owns: the lock that keeps a second supervisor away, the socket, what was inherited, the exit status.
// Does not own: the loop over the services (supervisor.io.ts).

import { closeSync, constants, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { lockFiles } from './commands.io.ts';
import { holdReserve } from './descriptors.io.ts';
import { errorCode } from './directory.io.ts';
import { isInherited } from './launch.ts';
import { serve } from './server.io.ts';
import { openStateFile } from './statefile.io.ts';
import { Supervisor } from './supervisor.io.ts';

export type SuperviseOptions = {
  /** Folder of service directories; absolute. */
  readonly directory: string;
  /** Where supervise.sock goes; its folder is made. */
  readonly socketPath: string;
  /** One line for the operator. Must not block: never a pipe that only a supervised service drains. */
  readonly log: (line: string) => void;
};

/**
 * Supervises until told to leave.
 *
 * @returns exit status: 0 after TERM, HUP or INT.
 * @throws Fault where it cannot begin: the folder cannot be read (E_NOT_FOUND), another supervisor has it (E_LOCKED),
 *   the socket cannot be made (E_STORE).
 */
export async function runSupervise({ directory, socketPath, log }: SuperviseOptions): Promise<number> {
  closeInheritedFds();
  holdReserve();
  try {
    readdirSync(directory);
  } catch (thrown) {
    throw new Fault('E_NOT_FOUND', {
      what: `cannot supervise ${directory}`,
      why: errorCode(thrown) === 'ENOENT' ? 'there is no such folder' : reasonOf(thrown),
      todo: 'name a folder of service directories: rouse supervise DIR',
    });
  }
  mkdirSync(dirname(socketPath), { recursive: true });
  const lockFd = await takeLock(socketPath);
  const supervisor = new Supervisor(directory, log, `${socketPath.replace(/\.sock$/, '')}-logs`);
  const server = await serve(socketPath, supervisor);
  const exitCode = await supervisor.run();
  server.close();
  server.closeAllConnections();
  closeSync(lockFd);
  return exitCode;
}

async function takeLock(socketPath: string): Promise<number> {
  let fd: number;
  let isTaken: boolean | undefined;
  try {
    fd = openStateFile(`${socketPath}.lock`, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
    [isTaken] = await lockFiles([fd]);
  } catch (thrown) {
    throw new Fault('E_STORE', { what: `cannot lock ${socketPath}`, why: reasonOf(thrown) }, { cause: thrown });
  }
  if (isTaken === true) return fd;
  closeSync(fd);
  throw new Fault('E_LOCKED', {
    what: `cannot supervise with the socket ${socketPath}`,
    why: 'another rouse supervise is running on it',
    todo: 'use that one (rouse status), or stop it first',
  });
}

/** Closes what we inherited and would pass on; libuv closes only the first few in a child. */
function closeInheritedFds(): void {
  const keep = Number(process.env['NODE_CHANNEL_FD'] ?? -1);
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2 || fd === keep) continue;
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      if (isInherited(target, readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))) closeSync(fd);
    } catch {
      // The descriptor of the listing itself, closed by now.
    }
  }
}
