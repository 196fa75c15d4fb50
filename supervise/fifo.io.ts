// supervise/fifo.io.ts - reading FIFOs that are held open: control bytes, the newline of a service that is ready.
//
// Owns: how much of one is taken at a time. Does not own: opening them (statefile.io.ts), what they say (control.ts).

import { Socket } from 'node:net';

/** All that a FIFO holds unless somebody has made it larger. */
const OCTETS_AT_ONCE = 65_536;
/** More at a time than anybody says who does not flood: such a FIFO is read again after a pause. */
const FLOOD_OCTETS = 64;
const FLOOD_PAUSE_MS = 100;
/** All FIFOs share it: what is read is used up before the next read. */
const readBuffer = Buffer.alloc(OCTETS_AT_ONCE);

/**
 * Calls back with what has arrived on a FIFO opened for reading and writing. Whoever writes without end is read ten times a
 * second, and waits for the rest of the time, as writers to a full FIFO do; nobody else is held up.
 */
export function readFifo(fd: number, onOctets: (octets: Uint8Array) => void): Socket {
  const socket = new Socket({
    fd,
    readable: true,
    writable: false,
    onread: {
      buffer: readBuffer,
      callback: (length, buffer) => {
        onOctets(Uint8Array.from(buffer.subarray(0, length)));
        if (length <= FLOOD_OCTETS) return true;
        setTimeout(() => {
          if (!socket.destroyed) socket.resume();
        }, FLOOD_PAUSE_MS).unref();
        return false;
      },
    },
  });
  return socket;
}
