// supervise/fifo.io.ts - reading FIFOs that are held open: control bytes, the newline of a service that is ready.
//
// Owns: how much of one is taken at a time. Does not own: opening them (statefile.io.ts), what they say (control.ts).

import { Socket } from 'node:net';

/** Taken in one turn of the event loop: each order may cost a tenth of a millisecond. */
const OCTETS_AT_ONCE = 64;
/** All FIFOs share it: what is read is used up before the next read. */
const readBuffer = Buffer.alloc(OCTETS_AT_ONCE);

/**
 * Calls back with what arrives on a FIFO opened for reading and writing, a little in each turn of the event loop, so that
 * whoever writes without end holds up nobody else.
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
        setImmediate(() => {
          if (!socket.destroyed) socket.resume();
        });
        return false;
      },
    },
  });
  return socket;
}
