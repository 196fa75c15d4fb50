// supervise/main.io.ts - `rouse supervise`: the process itself.
//
// Owns: beginning and end, and the exit status. Does not own: the loop over the services (supervisor.io.ts), lock and
// socket (post.io.ts), what their removal means (presence.ts).

import { mkdirSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { holdReserve } from './descriptors.io.ts';
import { errorCode } from './directory.io.ts';
import { closeInherited } from './inherited.io.ts';
import { found, idOf, Post } from './post.io.ts';
import { presence } from './presence.ts';
import { Supervisor } from './supervisor.io.ts';

export type SuperviseOptions = {
  /** Folder of service directories; absolute. */
  readonly directory: string;
  /** Where supervise.sock goes; its folder is made. */
  readonly socketPath: string;
  /** One line for the operator. Must not block: never a pipe that only a supervised service drains. */
  readonly log: (line: string) => void;
};

/** How often lock and socket are looked for. */
const LOOK_EVERY_MS = 5000;

/**
 * Supervises until told to leave.
 *
 * @returns exit status: 0 after TERM, HUP or INT; 111 where its own files were removed and it had to leave.
 * @throws Fault where it cannot begin: the folder cannot be read (E_NOT_FOUND), another supervisor has it (E_LOCKED),
 *   the socket cannot be made (E_STORE).
 */
export async function runSupervise({ directory, socketPath, log }: SuperviseOptions): Promise<number> {
  closeInherited();
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
  const folderId = idOf(directory);
  mkdirSync(dirname(socketPath), { recursive: true });
  const supervisor = new Supervisor(directory, log, `${socketPath.replace(/\.sock$/, '')}-logs`);
  const post = new Post(socketPath, supervisor);
  await post.take();
  let isRobbed = false;
  const look = async (): Promise<void> => {
    const { kind } = presence(post.lock, post.socket, found(directory, folderId));
    if (kind === 'fine' || isRobbed) return;
    if (kind === 'end') {
      isRobbed = true;
      log(`${directory} and ${socketPath} have been removed: all services are stopped`);
      supervisor.stopAll();
      return;
    }
    try {
      await post.take();
      log(`${socketPath} had been removed: made again`);
    } catch (thrown) {
      isRobbed = thrown instanceof Fault && thrown.code === 'E_LOCKED';
      if (isRobbed) supervisor.leave();
      log(
        isRobbed
          ? `another supervisor has taken ${socketPath}: services are left to that one`
          : `${socketPath} has been removed and cannot be made again: ${reasonOf(thrown)}`,
      );
    }
  };
  const looking = setInterval(() => void look(), LOOK_EVERY_MS);
  const exitCode = await supervisor.run();
  clearInterval(looking);
  post.leave();
  return isRobbed ? 111 : exitCode;
}
