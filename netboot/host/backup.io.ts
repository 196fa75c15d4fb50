// netboot/host/backup.io.ts - `rouse backup`: a boot server in one file.
//
// Owns: walking the folders, writing the archive. Does not own what belongs to a backup (backup.ts), putting one back
// (restore.io.ts), or the store's copy while a boot server has it open (store/store.io.ts).

import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, open, readdir, readlink, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync, backup } from 'node:sqlite';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { askNetboot } from '../api/client.io.ts';
import type { SitePlaces } from '../site/load.io.ts';
import { BACKUP_VERSION, type BackupNote, isKept, linkVerdict } from './backup.ts';

export type BackupPlaces = SitePlaces & { readonly runDir: string };

export type BackupResult = {
  readonly files: number;
  readonly bytes: number;
  readonly isOnline: boolean;
  /** Links that lead out of the configuration: what they lead to is not in the backup. */
  readonly leftOut: readonly { readonly name: string; readonly why: string }[];
};

type Item = { readonly name: string; readonly path: string };

/**
 * Writes a backup, whole or not at all.
 *
 * @param file where; made for its owner alone, for it holds keys.
 * @throws Fault E_NO where the site or the state lies behind a link, E_STORE where something cannot be read or written.
 */
export async function writeBackup(
  places: BackupPlaces,
  file: string,
  options: { readonly rouse: string; readonly hasImages: boolean },
): Promise<BackupResult> {
  const target = resolve(file);
  // A name that nobody can have put a file or a link at: it holds keys.
  const beside = `${target}.${randomBytes(6).toString('hex')}.new`;
  const { copy, isOnline } = await copyStore(places);
  try {
    const found = [
      ...(await walk(places.configDir, 'etc')),
      ...(await walk(places.libDir, 'lib')).filter(({ name }) => name !== 'lib/store.sqlite'),
    ];
    const leftOut = await linksLeftOut(found, options.hasImages);
    const without = new Set(leftOut.map(({ name }) => name));
    const items = found.filter(({ name }) => isKept(name, options.hasImages) && !without.has(name));
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
      createWriteStream(beside, { mode: 0o600, flags: 'wx', flush: true }),
    );
    // What breaks the pipe is told by `written`; an entry that waits for it would wait for ever.
    written.catch(() => archive.destroy());
    archive.entry({ name: 'backup.json', mode: 0o600 }, JSON.stringify(note));
    for (const item of items) await addItem(archive, item);
    archive.finalize();
    await written;
    await rename(beside, target);
    return { files: items.length, bytes: (await stat(target)).size, isOnline, leftOut };
  } catch (error) {
    await rm(beside, { force: true });
    if (error instanceof Fault) throw error;
    throw new Fault('E_STORE', { what: `cannot write ${target}`, why: reasonOf(error) }, { cause: error });
  } finally {
    if (copy !== undefined) await rm(copy, { force: true });
  }
}

/** @throws Fault E_NO where what is needed lies behind a link. */
async function linksLeftOut(items: readonly Item[], hasImages: boolean): Promise<BackupResult['leftOut']> {
  const leftOut: { name: string; why: string }[] = [];
  for (const { name, path } of items) {
    const target = await readlink(path).catch(() => undefined);
    const verdict = target === undefined ? undefined : linkVerdict(name, target, hasImages);
    if (verdict?.kind === 'left-out') leftOut.push({ name, why: verdict.why });
    if (verdict?.kind !== 'refused') continue;
    throw new Fault('E_NO', {
      what: 'nothing was backed up',
      why: `${path} could not be restored: ${verdict.why}`,
      todo: 'put what it leads to in its place',
    });
  }
  return leftOut;
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

/** Every file below a folder, with its name in the archive. */
export async function walk(folder: string, name: string): Promise<Item[]> {
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
