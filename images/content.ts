// images/content.ts - what a file of an image holds, without holding it: octets, or where on disk they are read when needed.
//
// Owns: the two forms. Does not own: reading (content.io.ts), which file of an image it is (cpio.ts). An image may be larger
// than the memory of the machine that builds it: only what somebody must look at is in memory. Pure.

/** A piece of a file of this machine. */
export type FilePiece = {
  readonly file: string;
  readonly offset: number;
  /** In octets, as an array's. */
  readonly length: number;
  /** What the octets must still be when they are read: people edit the file. Undefined where nobody else writes it. */
  readonly sha256?: string;
  /** Octets that stand in the place of the piece's first ones. */
  readonly head?: Uint8Array;
};

export type Content = Uint8Array | FilePiece;

/** A look at octets: up to `length` of them from there, fewer where they end. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

/** Something of which only parts are looked at. */
export type Peek = { readonly length: number; readonly read: ReadAt };

/** Octets in memory, looked at like a file. */
export function peekOctets(octets: Uint8Array): Peek {
  return { length: octets.length, read: (offset, length) => octets.subarray(offset, offset + length) };
}
