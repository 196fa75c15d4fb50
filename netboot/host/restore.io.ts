// netboot/host/restore.io.ts - `rouse restore`: a backup put back on a bare machine.
//
// Owns: reading the archive, the order of putting back (everything beside, then renamed into place), that no boot server has
// what is moved aside. Does not own what may come out of a backup (backup.ts) or writing one (backup.io.ts).
//
// Nothing of the archive is believed: folders are made here and looked at step by step, and links are made when every file is
// written, so that none can lead a file elsewhere.

import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, lchown, lstat, mkdir, mkdtemp, readdir, rename, rm, statfs, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { printableAscii } from '../../formats/printable.ts';
import { TarHeaders } from '../../formats/tarheaders.ts';
import { openStore } from '../../images/store.io.ts';
import { askNetboot, isNotRunning } from '../api/client.io.ts';
import { readSite } from '../site/load.io.ts';
import { type BackupNote, belowLink, overflowOf, readNote, refusalOf } from './backup.ts';
import { type BackupPlaces, walk } from './backup.io.ts';
import { shareConfiguration } from './setup.io.ts';

export type RestoreResult = {
  readonly note: BackupNote;
  readonly files: number;
  readonly nodes: number;
  /** Images whose current generation no node can boot here, and why. */
  readonly unbootable: readonly { readonly image: string; readonly why: string }[];
  /** Where what was there before lies now. */
  readonly movedAside: readonly string[];
};

const NOTE_LIMIT_BYTES = 65_536;

/**
 * Puts a backup back. Everything is written beside and checked first: a damaged archive changes nothing.
 *
 * @param options.force moves a configuration and a state that are there aside, to NAME.before-restore-TIME.
 * @param options.roomBytes how much may come out of it; half of what the disks have free, where it is not said.
 * @param options.owner who is to own the state; undefined: whoever restores.
 * @throws Fault E_NO where a boot server runs or something is there already, E_STORE for a bad archive.
 */
export async function restoreBackup(
  places: BackupPlaces,
  file: string,
  options: {
    readonly force: boolean;
    readonly owner: { readonly uid: number; readonly gid: number } | undefined;
    readonly roomBytes?: number;
  },
): Promise<RestoreResult> {
  await refuseServed(places);
  const taken = await present([join(places.configDir, 'rouse.yaml'), join(places.libDir, 'store.sqlite')]);
  if (taken.length > 0 && !options.force) {
    throw new Fault('E_NO', {
      what: 'nothing was restored',
      why: `${taken.join(' and ')} is there already`,
      todo: 'to move it aside: --force',
    });
  }
  await mkdir(dirname(places.configDir), { recursive: true });
  await mkdir(dirname(places.libDir), { recursive: true, mode: 0o755 });
  const staged = {
    etc: await mkdtemp(`${places.configDir}.restore-`),
    lib: await mkdtemp(`${places.libDir}.restore-`),
  };
  try {
    const { note, files } = await unpack(file, staged, options.roomBytes ?? (await roomOf(staged)));
    await chmod(staged.etc, 0o755);
    await chmod(staged.lib, 0o700);
    if (options.owner !== undefined) {
      await giveTo(staged.lib, options.owner);
      await shareConfiguration(staged.etc, options.owner.gid);
    }
    // One may have been started meanwhile.
    await refuseServed(places);
    const movedAside: string[] = [];
    const stamp = new Date().toISOString().replace(/[:.]/g, '-');
    for (const [from, to] of [
      [staged.etc, places.configDir],
      [staged.lib, places.libDir],
    ] as const) {
      movedAside.push(...(await putInPlace(from, to, `${to}.before-restore-${stamp}`)));
    }
    const site = await readSite(places);
    const unbootable = await unbootableImages(places.libDir);
    return { note, files, nodes: site.ok ? site.site.nodes.size : 0, unbootable, movedAside };
  } finally {
    await rm(staged.etc, { recursive: true, force: true });
    await rm(staged.lib, { recursive: true, force: true });
  }
}

async function unbootableImages(libDir: string): Promise<RestoreResult['unbootable']> {
  const store = openStore(libDir);
  const found: { image: string; why: string }[] = [];
  for (const { image, current } of await store.list()) {
    const [why] = current === undefined ? [] : await store.problems(image, current);
    if (why !== undefined) found.push({ image, why });
  }
  return found;
}

async function present(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) if ((await lstat(path).catch(() => undefined)) !== undefined) found.push(path);
  return found;
}

/** A folder that holds a file is moved aside whole; empty ones, as a package makes them, give way. */
async function putInPlace(from: string, to: string, aside: string): Promise<string[]> {
  const files = await walk(to, '');
  let moved: string[] = [];
  if (files.length > 0) {
    await rename(to, aside);
    moved = [aside];
  } else await rm(to, { recursive: true, force: true });
  await rename(from, to);
  return moved;
}

async function giveTo(folder: string, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  await lchown(folder, uid, gid);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await giveTo(path, { uid, gid });
    else await lchown(path, uid, gid);
  }
}

/** Half of what is free where the archive is unpacked: a few hundred kilobytes can hold as many gigabytes of nothing. */
async function roomOf(staged: Staged): Promise<number> {
  const free = await Promise.all([staged.etc, staged.lib].map((path) => statfs(path)));
  return Math.min(...free.map(({ bavail, bsize }) => bavail * bsize)) / 2;
}

type Staged = { readonly etc: string; readonly lib: string };

async function unpack(file: string, staged: Staged, roomBytes: number): Promise<{ note: BackupNote; files: number }> {
  const bad = (why: string): Fault =>
    new Fault('E_STORE', { what: `cannot restore ${basename(file)}`, why, todo: 'nothing was changed' });
  const badEntry = (name: string, why: string): Fault => bad(`${JSON.stringify(printableAscii(name, 100))}: ${why}`);
  let note: BackupNote | undefined;
  const names: string[] = [];
  const links = new Map<string, string>();
  let bytes = 0;
  const reader = extract();
  const headers = new TarHeaders();
  let tooMuch: string | undefined;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      tooMuch = headers.push(chunk);
      if (tooMuch === undefined) done(null, chunk);
      else done(new Error(tooMuch));
    },
  });
  const fed = pipeline(createReadStream(file), createGunzip(), bounded, reader);
  fed.catch(() => undefined);
  try {
    for await (const entry of reader) {
      const { name, type, linkname, mode, size } = entry.header;
      if (note === undefined) {
        if (name !== 'backup.json' || size > NOTE_LIMIT_BYTES)
          throw bad('it is no backup of rouse: backup.json does not come first');
        const chunks: Buffer[] = [];
        for await (const chunk of entry) chunks.push(chunk as Buffer);
        const read = readNote(Buffer.concat(chunks).toString());
        if (!read.ok) throw bad(read.why);
        ({ note } = read);
        continue;
      }
      const refused = refusalOf(name, type ?? 'file', linkname ?? undefined);
      if (refused !== undefined) throw badEntry(name, refused);
      bytes += size;
      names.push(name);
      const overflow = overflowOf({ entries: names.length, bytes }, roomBytes);
      if (overflow !== undefined) throw bad(overflow);
      if (type === 'symlink') {
        links.set(name, linkname ?? '');
        entry.resume();
        continue;
      }
      const path = await placeOf(staged, name);
      await pipeline(entry, createWriteStream(path, { flags: 'wx', mode: mode & 0o777, flush: true }));
    }
    await fed;
    const stray = belowLink(names, links);
    if (stray !== undefined) throw badEntry(stray, 'it lies below a link');
    for (const [name, target] of links) await symlink(target, await placeOf(staged, name));
  } catch (error) {
    throw error instanceof Fault ? error : bad(tooMuch ?? printableAscii(reasonOf(error), 300));
  }
  if (note === undefined) throw bad('it is empty');
  return { note, files: names.length };
}

/** Where an entry is put. Every step down to it is a folder made here, never a link. */
async function placeOf(staged: Staged, name: string): Promise<string> {
  const [root = '', ...steps] = name.split('/');
  const last = steps.pop() ?? '';
  let at = root === 'etc' ? staged.etc : staged.lib;
  for (const step of steps) {
    at = join(at, step);
    await mkdir(at, { mode: root === 'etc' ? 0o755 : 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if (!(await lstat(at)).isDirectory()) throw new Error(`${name} lies below what is no folder`);
  }
  return join(at, last);
}

/**
 * Nothing is moved from under a living boot server: one that is stopped or overloaded does not answer, but holds its store.
 *
 * @throws Fault E_NO where one answers, may be there, or the store is open elsewhere.
 */
async function refuseServed({ runDir, libDir }: BackupPlaces): Promise<void> {
  const refusal = (why: string): Fault => new Fault('E_NO', { what: 'nothing was restored', why, todo: STOP });
  const why = await askNetboot(join(runDir, 'netboot.sock'), '/v1/health').then(
    () => 'a boot server runs here',
    (error: unknown) => (isNotRunning(error) ? undefined : `a boot server may run here: ${reasonOf(error)}`),
  );
  if (why !== undefined) throw refusal(why);
  const store = join(libDir, 'store.sqlite');
  if (isHeld(store)) throw refusal(`another process has ${store} open`);
}

/** One service alone: the supervisor keeps the others of this host running. */
const STOP = 'stop it first: rouse down --wait netboot, then start it again with: rouse up netboot';

/** SQLite's code for what another connection holds; a file that is no store, or none at all, is nobody's. */
const SQLITE_BUSY = 5;

function isHeld(store: string): boolean {
  if (!existsSync(store)) return false;
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(store);
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK');
    return false;
  } catch (error) {
    return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 255) === SQLITE_BUSY;
  } finally {
    database?.close();
  }
}
