// netboot/api/identity.io.ts - who asks on netboot.sock: what the kernel says of him, beside what he says himself.
//
// Owns: both sides of one proof. Node cannot read SO_PEERCRED of a socket; who owns a file, though, nobody can make up: the
// client makes an empty file of a random name in run/who and names it in its request, the server looks whose it is and
// removes it. Does not own who may ask: that is the socket's mode.
//
// A file of another's cannot be brought there: hard links to it have two links (and protected_hardlinks(5) forbids them),
// it cannot be renamed into a sticky folder by one who does not own it, and each name counts once. Sources: inode(7), proc(5).

import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { printableAscii } from '../../formats/printable.ts';

const NAME = /^[0-9a-f]{32}$/;

const folderOf = (runDir: string): string => join(runDir, 'who');

/** Makes the folder in which clients prove who they are: writable for whoever may open the socket. */
export async function prepareProofs(runDir: string): Promise<void> {
  await mkdir(folderOf(runDir), { recursive: true });
  await chmod(folderOf(runDir), 0o1730);
}

/** The client's side: the name of a file that is his. Undefined where he may not make one; then he only says who he is. */
export async function makeProof(
  runDir: string,
): Promise<{ readonly name: string; readonly remove: () => Promise<void> } | undefined> {
  const name = randomBytes(16).toString('hex');
  const path = join(folderOf(runDir), name);
  try {
    await writeFile(path, '', { flag: 'wx', mode: 0o600 });
  } catch {
    return undefined;
  }
  return { name, remove: () => unlink(path).catch(() => undefined) };
}

/** The server's side. @returns "ann", "root (says: ann)", "unknown (says: ann)". */
export async function whoAsks(runDir: string, proof: string | undefined, says: string | undefined): Promise<string> {
  const said = says === undefined ? undefined : printableAscii(says);
  const uid = proof === undefined ? undefined : await ownerOf(runDir, proof);
  const known = uid === undefined ? 'unknown' : await nameOf(uid);
  return said === undefined || said === known ? known : `${known} (says: ${said})`;
}

async function ownerOf(runDir: string, name: string): Promise<number | undefined> {
  if (!NAME.test(name)) return undefined;
  const path = join(folderOf(runDir), name);
  const found = await lstat(path).catch(() => undefined);
  await unlink(path).catch(() => undefined);
  return found?.isFile() === true && found.nlink === 1 && found.size === 0 ? found.uid : undefined;
}

async function nameOf(uid: number): Promise<string> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
  const name = lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid))?.[0];
  return name ?? `uid ${uid}`;
}
