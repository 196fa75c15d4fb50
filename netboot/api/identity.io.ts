// netboot/api/identity.io.ts - who asks on netboot.sock: what the kernel says of him, beside what he says himself.
//
// Owns: both sides of one proof. Node cannot read SO_PEERCRED of a socket; who owns a file, though, nobody can make up: the
// client makes a file of a random name in run/who that says this name, and names it in its request; the server looks whose it
// is and removes it. Does not own who may ask: that is the socket's mode.
//
// A file of another's proves nothing there. Hard links to it have two links; but whoever owns a folder may rename the files of
// others out of it, so the file must say its own name: nobody else wrote that, and each name counts once. Others may read it,
// for the boot server is another user; its name is the secret, and only root can list the folder. Sources: inode(7), rename(2).

import { randomBytes } from 'node:crypto';
import { chmod, constants, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { printableAscii } from '../../formats/printable.ts';

const NAME = /^[0-9a-f]{32}$/;

const contentOf = (name: string): string => `rouse-who ${name}\n`;

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
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(contentOf(name));
      // Whatever the umask.
      await file.chmod(0o644);
    } finally {
      await file.close();
    }
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
  // Neither a link nor a FIFO holds the boot server up.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  try {
    const found = await file?.stat();
    const isProof = found?.isFile() === true && found.nlink === 1 && found.size === contentOf(name).length;
    return isProof && (await file?.readFile('latin1')) === contentOf(name) ? found.uid : undefined;
  } catch {
    return undefined;
  } finally {
    await file?.close();
    await unlink(path).catch(() => undefined);
  }
}

async function nameOf(uid: number): Promise<string> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
  const name = lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid))?.[0];
  return name ?? `uid ${uid}`;
}
