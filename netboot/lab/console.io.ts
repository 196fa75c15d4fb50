// netboot/lab/console.io.ts - a machine's serial console: for a person (attach) and for a program (exec).
//
// QEMU's socket serves one client at a time. Does not own: what is typed and how its answer is read (console.ts).

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { hasBegun, readCommand, typeCommand } from './console.ts';

/** ctrl-], as telnet and virsh have it. */
const ESCAPE = 0x1d;
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) =>
      reject(
        new Fault('E_UNREACHABLE', {
          what: `no console at ${path}`,
          why: reasonOf(error),
          todo: 'is the machine on? rouse lab status',
        }),
      ),
    );
  });
  return socket;
}

/** Joins this terminal to the machine's console until ctrl-] is typed or the machine ends. */
export async function attachConsole(path: string): Promise<void> {
  const socket = await open(path);
  const { stdin, stdout } = process;
  stdin.setRawMode?.(true);
  socket.pipe(stdout, { end: false });
  stdin.on('data', (chunk: Buffer) => {
    const escape = chunk.indexOf(ESCAPE);
    socket.write(escape < 0 ? chunk : chunk.subarray(0, escape));
    if (escape >= 0) socket.end();
  });
  stdin.on('end', () => socket.end());
  await new Promise<void>((resolve) => socket.on('close', () => resolve()));
  stdin.setRawMode?.(false);
  stdin.pause();
}

/**
 * Runs one command in the shell on the console.
 *
 * @throws Fault E_TIMEOUT if no shell answers in time: the machine has not booted so far, or its image has no shell there.
 */
export async function execOnConsole(
  path: string,
  command: string,
  timeoutMs: number,
): Promise<{ output: string; exitCode: number }> {
  const socket = await open(path);
  const token = randomBytes(6).toString('hex');
  let received = '';
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(
            new Fault(
              'E_TIMEOUT',
              hasBegun(received, token)
                ? {
                    what: `the command did not end within ${timeoutMs / 1000} s`,
                    why: 'it was begun, and the shell on the console is still at it',
                    todo: 'give it longer with --timeout, or end it from: rouse lab console NAME',
                  }
                : {
                    what: `no shell on the console at ${path} answered within ${timeoutMs / 1000} s`,
                    todo: 'look at it with: rouse lab console NAME',
                  },
            ),
          ),
        timeoutMs,
      );
      socket.on('close', () => {
        clearTimeout(timer);
        reject(
          new Fault('E_UNREACHABLE', {
            what: `the console at ${path} was closed`,
            why: 'the machine ended, or another client has it',
          }),
        );
      });
      socket.on('data', (chunk: Buffer) => {
        received = (received + chunk.toString('latin1')).slice(-OUTPUT_BYTES_MAX);
        const answer = readCommand(received, token);
        if (answer !== undefined) {
          clearTimeout(timer);
          resolve({ ...answer, output: Buffer.from(answer.output, 'latin1').toString() });
        }
      });
      // The first return wakes a console that waits for one ("press Enter to activate").
      socket.write('\r');
      setTimeout(() => socket.write(typeCommand(command, token)), 500);
    });
  } finally {
    socket.removeAllListeners('close');
    socket.destroy();
  }
}
