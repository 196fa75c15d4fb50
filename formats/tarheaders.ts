// formats/tarheaders.ts - the headers of a tar archive on their way to its reader: how large they may be.
//
// Owns: following the blocks of an archive from header to header, and what of its extended headers is refused. Does not own
// the entries: whoever reads the archive says what may come out of it (images/member.ts, netboot/host/backup.ts).
//
// The reader (tar-stream) takes extended headers of 4 MB each into memory, as many as there are, and counts none of them:
// a few kilobytes of gzip keep it busy for hours. An honest archive has one of a few hundred octets for each long name.
// Sources: POSIX pax, "ustar Interchange Format"; GNU tar, "Basic Tar Format". Pure.

const BLOCK_BYTES = 512;
/** The longest name and the longest target of a link fit many times. */
const MOST_HEADER_BYTES = 65_536;
/** Before one entry: a long name, the target of a link, and what pax knows of it. */
const MOST_IN_A_ROW = 4;

const at = (letter: string): number => letter.charCodeAt(0);
/** pax's own and global headers, GNU's long names and links. */
const EXTENDED: readonly number[] = ['x', 'g', 'L', 'K', 'N'].map(at);
/** pax may give the size of the entry: then its header does not tell where it ends. */
const GIVES_SIZE = /(^|\n)\d+ size=/;

export class TarHeaders {
  readonly #header = new Uint8Array(BLOCK_BYTES);
  #filled = 0;
  /** Of a body and its padding, still to come. */
  #bodyBytes = 0;
  /** The body of an extended header; undefined in the body of an entry. */
  #extended: number[] | undefined;
  #inARow = 0;

  /** @param chunk the next octets of the archive. @returns why no more of it is to be read. Never throws. */
  push(chunk: Uint8Array): string | undefined {
    for (let from = 0; from < chunk.length; ) {
      const isBody = this.#bodyBytes > 0;
      const to = Math.min(chunk.length, from + (isBody ? this.#bodyBytes : BLOCK_BYTES - this.#filled));
      const part = chunk.subarray(from, to);
      from = to;
      const why = isBody ? this.#takeBody(part) : this.#takeHeader(part);
      if (why !== undefined) return why;
    }
    return undefined;
  }

  #takeBody(part: Uint8Array): string | undefined {
    this.#bodyBytes -= part.length;
    if (this.#extended === undefined) return undefined;
    for (const octet of part) this.#extended.push(octet);
    if (this.#bodyBytes > 0) return undefined;
    const text = String.fromCharCode(...this.#extended);
    this.#extended = undefined;
    return GIVES_SIZE.test(text) ? 'an extended header gives the size of its entry' : undefined;
  }

  #takeHeader(part: Uint8Array): string | undefined {
    this.#header.set(part, this.#filled);
    this.#filled += part.length;
    if (this.#filled < BLOCK_BYTES) return undefined;
    this.#filled = 0;
    // The end of the archive; the checksum's own octets do not count.
    if (this.#header.every((octet, index) => octet === 0 || (index >= 148 && index < 156))) return undefined;
    const digits = /^ *([0-7]*)[ \0]*$/.exec(String.fromCharCode(...this.#header.subarray(124, 136)))?.[1];
    if (digits === undefined) return 'a header gives no size that it may have';
    const sizeBytes = digits === '' ? 0 : Number.parseInt(digits, 8);
    this.#bodyBytes = Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
    if (!EXTENDED.includes(this.#header[156] ?? 0)) {
      this.#inARow = 0;
      return undefined;
    }
    this.#inARow += 1;
    if (sizeBytes > MOST_HEADER_BYTES) return `an extended header is longer than ${MOST_HEADER_BYTES} bytes`;
    if (this.#inARow > MOST_IN_A_ROW) return `more than ${MOST_IN_A_ROW} extended headers come in a row`;
    if (this.#bodyBytes > 0) this.#extended = [];
    return undefined;
  }
}
