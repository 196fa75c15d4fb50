// supervise/logline.io.ts - the supervisor's own log: lines on standard error that never hold it up.
//
// Owns: writing without waiting, and counting what found no room. Does not own: what is said.
//
// Standard error is opened a second time, because O_NONBLOCK belongs to the open file and the first one is shared with the
// services and with whoever started us. A socket (a journal's) cannot be opened again and is written to as it is; so is a
// file, which never holds anybody up, and whose place to write at is shared with the services.

import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { errorCode } from './directory.io.ts';
import { printable } from '../formats/printable.ts';

/** PIPE_BUF: a line of this length goes into a pipe whole or not at all. */
const LINE_BYTES_MAX = 4096;

/** @returns what writes one line; where there is no room the line is dropped, and the next one says how many were. */
export function openLog(prefix: string): (line: string) => void {
  const fd = openAgain();
  let dropped = 0;
  return (line) => {
    const lost = dropped === 0 ? '' : `${prefix}${dropped} lines were dropped here: nobody read them\n`;
    try {
      writeSync(fd, cut(`${lost}${prefix}${printable(line)}`));
      dropped = 0;
    } catch (thrown) {
      // Anything but a full pipe means that nobody will ever read this.
      if (errorCode(thrown) === 'EAGAIN') dropped += 1;
    }
  };
}

function openAgain(): number {
  try {
    if (fstatSync(2).isFile()) return 2;
    return openSync('/proc/self/fd/2', constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
  } catch {
    return 2;
  }
}

function cut(text: string): Buffer {
  const octets = Buffer.from(`${text}\n`);
  if (octets.length <= LINE_BYTES_MAX) return octets;
  octets[LINE_BYTES_MAX - 1] = 0x0a;
  return octets.subarray(0, LINE_BYTES_MAX);
}
