// images/content.io.ts - reading what a file of an image holds, wherever it lies.
//
// Owns: reading pieces of files, and the refusal of a file that is not what it was when the build began. Does not own: the
// forms (content.ts). Reads are synchronous: a build waits for nothing else, and most pieces are small.

import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { Fault } from '../formats/errors.ts';
import { type Content, type FilePiece, type Peek, peekOctets } from './content.ts';

const BLOCK_BYTES = 1 << 18;

/** A file as it is now. */
export function wholeFile(file: string): FilePiece {
  return { file, offset: 0, length: statSync(file).size };
}

/**
 * All octets, in order.
 *
 * @returns pieces that hold only until the next one is asked for: they share their memory.
 * @throws Fault E_BUILD where the file is not what it was.
 */
export function* octetsOf(content: Content): Generator<Uint8Array, void> {
  if (content instanceof Uint8Array) return void (yield content);
  const { file, offset, length, sha256, head } = content;
  const hash = sha256 === undefined ? undefined : createHash('sha256');
  if (head !== undefined) {
    hash?.update(head);
    yield head;
  }
  const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, length));
  const descriptor = openSync(file, 'r');
  try {
    for (let at = head?.length ?? 0; at < length; ) {
      const read = readSync(descriptor, block, 0, Math.min(block.length, length - at), offset + at);
      if (read === 0) throw changed(file);
      const octets = block.subarray(0, read);
      hash?.update(octets);
      at += read;
      yield octets;
    }
  } finally {
    closeSync(descriptor);
  }
  if (hash !== undefined && hash.digest('hex') !== sha256) throw changed(file);
}

function changed(file: string): Fault {
  return new Fault('E_BUILD', {
    what: `cannot take ${file} into an image`,
    why: 'it was changed while it was read',
    todo: 'build again',
  });
}

/** SHA-256 of the octets, as 64 hexadecimal digits; what they must be is not read again for it. */
export function sha256OfContent(content: Content): string {
  if (!(content instanceof Uint8Array) && content.sha256 !== undefined) return content.sha256;
  const hash = createHash('sha256');
  for (const octets of octetsOf(content)) hash.update(octets);
  return hash.digest('hex');
}

/** The octets for who looks at a few of them only. */
export function peekAt(content: Content): Peek {
  if (content instanceof Uint8Array) return peekOctets(content);
  return { length: content.length, read: (offset, length) => readPiece(content, offset, length) };
}

function readPiece(
  { file, offset: start, length: whole, head }: FilePiece,
  offset: number,
  length: number,
): Uint8Array {
  const octets = Buffer.alloc(Math.max(0, Math.min(length, whole - offset)));
  if (octets.length === 0) return octets;
  const descriptor = openSync(file, 'r');
  try {
    const read = readSync(descriptor, octets, 0, octets.length, start + offset);
    if (head !== undefined && offset < head.length) octets.set(head.subarray(offset, offset + read));
    return octets.subarray(0, read);
  } finally {
    closeSync(descriptor);
  }
}
