// netboot/host/setup.io.ts - who may write the configuration: its folders given to the boot server's user.
//
// Owns: finding that user, and the owner and mode of the folders. Does not own what is written into them (setup.ts).
// Source: passwd(5).

import { chmod, chown, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Commands write node files through the boot server, as its user; what root runs, services/, stays root's alone. */
export async function shareConfiguration(configDir: string, gid: number): Promise<void> {
  for (const name of ['profiles', 'nodes']) {
    const folder = join(configDir, name);
    await mkdir(folder, { recursive: true });
    await chown(folder, 0, gid);
    await chmod(folder, 0o2775);
  }
}

/** Of /etc/passwd. @returns undefined where there is no such user. */
export async function userNamed(name: string): Promise<{ uid: number; gid: number } | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
  const found = lines.find((line) => line.startsWith(`${name}:`))?.split(':');
  return found === undefined ? undefined : { uid: Number(found[2]), gid: Number(found[3]) };
}
