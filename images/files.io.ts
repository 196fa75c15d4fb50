// images/files.io.ts - files that are whole or not there.
//
// Owns: atomic publication (write beside, fsync, rename, fsync of the folder), reading such files, hashes. The boot server
// writes its configuration with it too; the supervisor, which ships without this room, has its own (supervise/statefile.io.ts).

import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chown, copyFile, link, mkdir, open, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';

/**
 * What a look at the disk found, or `instead` where there is nothing of that name. What cannot be read is not nothing:
 * whoever deletes by such an answer would delete what is in use.
 * @throws Fault E_STORE where the look failed for any other reason.
 */
export async function orAbsent<T, U>(look: Promise<T>, instead: U): Promise<T | U> {
  try {
    return await look;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return instead;
    throw new Fault(
      'E_STORE',
      { what: 'cannot tell what is on the disk', why: reasonOf(error), todo: 'mend that, then try again' },
      { cause: error },
    );
  }
}

/** SHA-256 of the pieces, as 64 hexadecimal digits. */
export function sha256Of(...pieces: readonly (Uint8Array | string)[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** Octets as they come, whole or in pieces. */
export type Octets = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

async function writeBeside(path: string, data: Uint8Array | string | Octets, mode: number): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.new`);
  const file = await open(beside, 'wx', mode);
  try {
    await file.writeFile(data);
    await file.chmod(mode);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(beside, { force: true });
    throw error;
  }
  await file.close();
  return beside;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Writes the file, replacing one of that name as a whole. */
export async function publishFile(path: string, data: Uint8Array | string | Octets, mode = 0o644): Promise<void> {
  await publishStaged(await writeBeside(path, data, mode), path);
}

/**
 * Writes a file whose name will be known only when it is written: its content's hash.
 *
 * @returns its path for the time being, in the folder; it goes to publishStaged, or is removed.
 */
export async function stageFile(folder: string, data: Octets, mode = 0o444): Promise<string> {
  return writeBeside(join(folder, 'staged'), data, mode);
}

/** Gives a file that is on disk its name, replacing one of that name as a whole. */
export async function publishStaged(staged: string, path: string): Promise<void> {
  await rename(staged, path);
  await syncFolder(dirname(path));
}

/** Counts and hashes octets on their way. */
export class Gauge {
  bytes = 0;
  readonly #hash = createHash('sha256');

  async *of(octets: Octets): AsyncGenerator<Uint8Array, void> {
    for await (const piece of octets) {
      this.bytes += piece.length;
      this.#hash.update(piece);
      yield piece;
    }
  }

  /** Of all that has passed, as 64 hexadecimal digits. To be asked once, at the end. */
  sha256(): string {
    return this.#hash.digest('hex');
  }
}

/**
 * Writes a file anew that people edit: its mode stays, and its owner where we may give files away.
 *
 * @param isStillWanted asked when all is written, at the last instant. @returns whether the file was replaced.
 */
export async function replaceFile(
  path: string,
  data: Uint8Array | string,
  isStillWanted: () => Promise<boolean>,
): Promise<boolean> {
  const { mode, uid, gid } = await stat(path);
  const beside = await writeBeside(path, data, mode & 0o7777);
  try {
    await chown(beside, uid, gid).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPERM') throw error;
    });
    if (!(await isStillWanted())) return false;
    await rename(beside, path);
  } finally {
    await rm(beside, { force: true });
  }
  await syncFolder(dirname(path));
  return true;
}

/** Writes the file unless there is one of that name. @returns whether it was written. */
export async function publishNew(path: string, data: Uint8Array | string, mode = 0o644): Promise<boolean> {
  const beside = await writeBeside(path, data, mode);
  try {
    await link(beside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(beside, { force: true });
  }
  await syncFolder(dirname(path));
  return true;
}

/** The file under a second name where the disk can do that, else a copy; nothing where there is one of that name. */
export async function keepFile(from: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  try {
    await link(from, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    // Another disk, or a user who may not link what another owns.
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.new`);
    try {
      await copyFile(from, beside);
      await rename(beside, path);
    } catch (failure) {
      await rm(beside, { force: true });
      throw failure;
    }
  }
  await syncFolder(dirname(path));
}

/** Points the link at the target, replacing what it pointed at in one step. */
export async function publishLink(path: string, target: string): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.new`);
  await symlink(target, beside);
  await rename(beside, path);
  await syncFolder(dirname(path));
}

/** Far above any manifest, note or keyring. */
const MOST_READ_BYTES = 64 * 1024 * 1024;

/** What bears a file's name is none, or none that rouse has written. */
class Misplaced extends Error {
  readonly code: string;

  /** @param code as of the errors of node:fs. */
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The octets of a file that belongs into memory. A pipe or a device in its place, which may never end, is refused as the kernel
 * would refuse it.
 * @throws Misplaced, or an error of node:fs.
 */
export async function readRegular(path: string): Promise<Buffer> {
  const refusal = (code: string, why: string): Error => new Misplaced(code, `${code}: ${why}, read '${path}'`);
  // Without O_NONBLOCK the opening of a pipe waits for whoever writes to it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (found.isDirectory()) throw refusal('EISDIR', 'a folder where a file belongs');
    if (!found.isFile()) throw refusal('EINVAL', 'no regular file');
    if (found.size > MOST_READ_BYTES) throw refusal('EFBIG', `more than ${MOST_READ_BYTES} bytes`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** As readRegular, or undefined where there is no such file. */
export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readRegular(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** As readIfThere, but what is no regular file counts as absent. One that cannot be read now does not. */
export async function readIfSound(path: string): Promise<Buffer | undefined> {
  try {
    return await readIfThere(path);
  } catch (error) {
    if (error instanceof Misplaced) return undefined;
    throw error;
  }
}

/** Reads a JSON file that this program wrote to a cache; undefined where it is missing or damaged. */
export async function readCached<T>(path: string, check: (value: unknown) => value is T): Promise<T | undefined> {
  const octets = await readIfSound(path);
  if (octets === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(octets.toString());
    return check(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
