// netboot/host/backup.io.ts - `rouse backup` and `rouse restore`: a boot server in one file, and back on a bare machine.
//
// Owns: walking the folders, the archive, the order of putting back (everything beside, then renamed into place). Does not own
// what belongs to a backup (backup.ts), or the store's copy while a boot server has it open (store/store.io.ts).

import { createReadStream, createWriteStream } from 'node:fs';
import {
  chmod,
  lchown,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { DatabaseSync, backup } from 'node:sqlite';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { extract, pack } from 'tar-stream';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { openStore } from '../../images/store.io.ts';
import { askNetboot } from '../api/client.io.ts';
import { readSite, type SitePlaces } from '../site/load.io.ts';
import { shareConfiguration } from './setup.io.ts';
import { BACKUP_VERSION, type BackupNote, isKept, readNote, refusalOf } from './backup.ts';

export type BackupPlaces = SitePlaces & { readonly runDir: string };

export type BackupResult = { readonly files: number; readonly bytes: number; readonly isOnline: boolean };

type Item = { readonly name: string; readonly path: string };

/**
 * Writes a backup, whole or not at all.
 *
 * @param file where; made for its owner alone, for it holds keys.
 * @throws Fault E_STORE where something cannot be read or written.
 */
export async function writeBackup(
  places: BackupPlaces,
  file: string,
  options: { readonly rouse: string; readonly hasImages: boolean },
): Promise<BackupResult> {
  const target = resolve(file);
  const beside = `${target}.new`;
  const { copy, isOnline } = await copyStore(places);
  try {
    const items = [
      ...(await walk(places.configDir, 'etc')),
      ...(await walk(places.libDir, 'lib')).filter(({ name }) => name !== 'lib/store.sqlite'),
    ].filter(({ name }) => isKept(name, options.hasImages));
    if (copy !== undefined) items.push({ name: 'lib/store.sqlite', path: copy });
    const note: BackupNote = {
      version: BACKUP_VERSION,
      rouse: options.rouse,
      at: new Date().toISOString(),
      host: hostname(),
      hasImages: options.hasImages,
    };
    const archive = pack();
    const written = pipeline(
      archive,
      createGzip(),
      createWriteStream(beside, { mode: 0o600, flags: 'w', flush: true }),
    );
    // What breaks the pipe is told by `written`; an entry that waits for it would wait for ever.
    written.catch(() => archive.destroy());
    archive.entry({ name: 'backup.json', mode: 0o600 }, JSON.stringify(note));
    for (const item of items) await addItem(archive, item);
    archive.finalize();
    await written;
    await rename(beside, target);
    return { files: items.length, bytes: (await stat(target)).size, isOnline };
  } catch (error) {
    await rm(beside, { force: true });
    if (error instanceof Fault) throw error;
    throw new Fault('E_STORE', { what: `cannot write ${target}`, why: reasonOf(error) }, { cause: error });
  } finally {
    if (copy !== undefined) await rm(copy, { force: true });
  }
}

async function addItem(archive: ReturnType<typeof pack>, { name, path }: Item): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  // Gone since the folder was listed.
  if (found === undefined) return;
  const header = { name, mode: found.mode & 0o777, mtime: found.mtime };
  if (found.isSymbolicLink()) {
    archive.entry({ ...header, type: 'symlink', linkname: await readlink(path) });
    return;
  }
  // A FIFO or a socket is of the moment.
  if (!found.isFile()) return;
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    await new Promise<void>((done, failed) => {
      const entry = archive.entry({ ...header, size }, (error) => (error ? failed(error) : done()));
      // As long as the header says, whatever is appended meanwhile.
      const source =
        size === 0 ? undefined : createReadStream('', { fd: handle.fd, autoClose: false, start: 0, end: size - 1 });
      if (source === undefined) entry.end(undefined);
      else source.on('error', failed).pipe(entry);
    });
  } finally {
    await handle.close();
  }
}

async function walk(folder: string, name: string): Promise<Item[]> {
  const items: Item[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) items.push(...(await walk(path, `${name}/${entry.name}`)));
    else items.push({ name: `${name}/${entry.name}`, path });
  }
  return items;
}

/** The store as of one moment: by the boot server that has it open, else by ourselves. */
async function copyStore({ runDir, libDir }: BackupPlaces): Promise<{ copy: string | undefined; isOnline: boolean }> {
  try {
    const { file } = (await askNetboot(join(runDir, 'netboot.sock'), '/v1/store/copy', 'POST')) as { file: string };
    return { copy: file, isOnline: true };
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'E_UNREACHABLE') throw error;
  }
  const file = join(libDir, 'store.sqlite');
  if ((await stat(file).catch(() => undefined)) === undefined) return { copy: undefined, isOnline: false };
  const copy = join(libDir, `backup-${process.pid}.sqlite`);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    await (await open(copy, 'wx', 0o600)).close();
    await backup(database, copy);
    return { copy, isOnline: false };
  } catch (error) {
    await rm(copy, { force: true });
    throw new Fault('E_STORE', { what: `cannot copy ${file}`, why: reasonOf(error) }, { cause: error });
  } finally {
    database?.close();
  }
}

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
 * @param options.owner who is to own the state; undefined: whoever restores.
 * @throws Fault E_NO where a boot server runs or something is there already, E_STORE for a bad archive.
 */
export async function restoreBackup(
  places: BackupPlaces,
  file: string,
  options: { readonly force: boolean; readonly owner: { readonly uid: number; readonly gid: number } | undefined },
): Promise<RestoreResult> {
  const isServed = await askNetboot(join(places.runDir, 'netboot.sock'), '/v1/health').then(
    () => true,
    () => false,
  );
  if (isServed)
    throw new Fault('E_NO', {
      what: 'nothing was restored',
      why: 'a boot server runs here',
      todo: 'stop it first: systemctl stop rouse',
    });
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
    const { note, files } = await unpack(file, staged);
    await chmod(staged.etc, 0o755);
    await chmod(staged.lib, 0o700);
    if (options.owner !== undefined) {
      await giveTo(staged.lib, options.owner);
      await shareConfiguration(staged.etc, options.owner.gid);
    }
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

async function unpack(
  file: string,
  staged: { etc: string; lib: string },
): Promise<{ note: BackupNote; files: number }> {
  const bad = (why: string): Fault =>
    new Fault('E_STORE', { what: `cannot restore ${basename(file)}`, why, todo: 'nothing was changed' });
  let note: BackupNote | undefined;
  let files = 0;
  const reader = extract();
  const fed = pipeline(createReadStream(file), createGunzip(), reader);
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
      if (refused !== undefined) throw bad(`${JSON.stringify(name.slice(0, 100))}: ${refused}`);
      const [root = '', ...steps] = name.split('/');
      const path = join(root === 'etc' ? staged.etc : staged.lib, ...steps);
      await mkdir(dirname(path), { recursive: true, mode: root === 'etc' ? 0o755 : 0o700 });
      // A link in place of a folder would lead what follows elsewhere: every folder is one that was made here.
      const folder = await lstat(dirname(path));
      if (!folder.isDirectory()) throw bad(`${JSON.stringify(name.slice(0, 100))} lies behind a link`);
      if (type === 'symlink') {
        await symlink(linkname ?? '', path);
        entry.resume();
      } else await pipeline(entry, createWriteStream(path, { flags: 'wx', mode: mode & 0o777, flush: true }));
      files += 1;
    }
    await fed;
  } catch (error) {
    throw error instanceof Fault ? error : bad(reasonOf(error));
  }
  if (note === undefined) throw bad('it is empty');
  return { note, files };
}
