// images/sealed.io.ts - files that must be what their SHA-256 says, looked at again whenever they could have changed.
//
// Owns: hashing files as a stream, and remembering which are whole by what stat says of them, so that a file that nobody
// touched costs one stat. Does not own: which hash is right (a signed manifest), what follows from a wrong one.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { reasonOf } from '../formats/errors.ts';

/** SHA-256 of a file, read piece by piece, as 64 hexadecimal digits. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** What is said of a file that is there, can be read, and is another. */
export const NOT_THE_FILE = 'is not the file that was published';

/** Files that were found whole. */
export class SealedFiles {
  readonly #whole = new Map<string, string>();
  readonly #hashing = new Map<string, Promise<string>>();

  /**
   * @returns why the file is not what it should be, undefined where it is: "is gone", "is no regular file", "is not the file that
   *   was published".
   */
  async problem(path: string, sha256: string): Promise<string | undefined> {
    let stamp;
    try {
      const found = await stat(path, { bigint: true });
      // A pipe or a device may never end.
      if (!found.isFile()) return 'is no regular file';
      const { ino, size, mtimeNs, ctimeNs } = found;
      stamp = `${sha256} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    } catch (error) {
      this.#whole.delete(path);
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'is gone' : `cannot be read: ${reasonOf(error)}`;
    }
    if (this.#whole.get(path) === stamp) return undefined;
    // A rack that boots at once asks for the same file many times before it is read for the first.
    const key = `${path} ${stamp}`;
    const hashing = this.#hashing.get(key) ?? sha256OfFile(path);
    this.#hashing.set(key, hashing);
    try {
      if ((await hashing) !== sha256) return NOT_THE_FILE;
    } catch (error) {
      return `cannot be read: ${reasonOf(error)}`;
    } finally {
      this.#hashing.delete(key);
    }
    this.#whole.set(path, stamp);
    return undefined;
  }
}
