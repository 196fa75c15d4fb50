// netboot/lab/qmp.io.ts - one command to a QEMU machine over its monitor socket.
//
// Source: QEMU's docs/interop/qmp-spec.txt: lines of JSON; the server greets, the client must negotiate once, then each
// command is answered by one line with `return` or `error`; lines with `event` may come between.

import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { Fault } from '../../formats/errors.ts';

const ANSWER_TIMEOUT_MS = 10_000;

export type QmpCommand = 'system_reset' | 'quit' | 'query-status';

/** @throws Fault E_UNREACHABLE if nothing listens there or no answer comes; E_COMMAND if QEMU refuses. */
export async function qmp(socketPath: string, command: QmpCommand): Promise<unknown> {
  const socket = connect(socketPath);
  const what = `cannot reach the QEMU machine at ${socketPath}`;
  socket.setTimeout(ANSWER_TIMEOUT_MS, () =>
    socket.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)),
  );
  const send = (execute: string): void => void socket.write(`${JSON.stringify({ execute })}\n`);
  try {
    return await new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the machine hung up')));
      let returns = 0;
      // readline says the socket's errors again; the handlers above have them.
      const lines = createInterface({ input: socket }).on('error', () => undefined);
      lines.on('line', (line) => {
        const answer = JSON.parse(line) as { QMP?: unknown; return?: unknown; error?: { desc: string } };
        if (answer.QMP !== undefined) send('qmp_capabilities');
        else if (answer.error !== undefined)
          reject(new Fault('E_COMMAND', { what: `QEMU refused ${command}`, why: answer.error.desc }));
        else if (answer.return !== undefined) {
          returns += 1;
          if (returns === 1) send(command);
          else resolve(answer.return);
        }
      });
    });
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('E_UNREACHABLE', { what, why: (error as Error).message, todo: 'is the lab up? rouse lab status' });
  } finally {
    socket.destroy();
  }
}
