// What a restored boot server still has, what it says of images that no node could boot there, and what a hostile archive, a
// silent boot server or a prepared file cannot do. Real archives and stores.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../../images/store.io.ts';
import { type BackupPlaces, writeBackup } from '../../../netboot/host/backup.io.ts';
import { restoreBackup } from '../../../netboot/host/restore.io.ts';
import { publishTiny } from '../../images/tiny.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-restore-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const placesOf = (name: string): BackupPlaces => ({
  configDir: join(folder, name, 'etc'),
  libDir: join(folder, name, 'lib'),
  runDir: join(folder, name, 'run'),
  roleDirs: [],
});

/** Backs a boot server up whose image has a lock, and restores it beside. */
async function moved(hasImages: boolean) {
  const from = placesOf('from');
  mkdirSync(from.configDir, { recursive: true });
  writeFileSync(join(from.configDir, 'rouse.yaml'), 'version: 1\nsubnets: []\n');
  const store = openStore(from.libDir);
  const lock = await store.putLock({ version: 1, architecture: 'amd64', sources: 'x', asked: [], packages: [] });
  const manifest = await publishTiny(store, 'one', { lock });
  expect(await store.lockOf(manifest)).toBeDefined();
  const file = join(folder, 'backup.tar.gz');
  await writeBackup(from, file, { rouse: '0', hasImages });
  const to = placesOf('to');
  const { unbootable } = await restoreBackup(to, file, { force: false, owner: undefined });
  return { unbootable, lock: await openStore(to.libDir).lockOf(manifest) };
}

test('without images: the lock is there to build the same again, and the image is named with what it lacks', async () => {
  const { unbootable, lock } = await moved(false);
  expect(lock).toBeDefined();
  expect(unbootable).toEqual([{ image: 'web', why: 'the kernel 6.1 is gone' }]);
});

test('with images nodes can boot at once', async () => {
  expect((await moved(true)).unbootable).toEqual([]);
});

type Entry = { name: string; text?: string; link?: string };
const SITE: Entry = { name: 'etc/rouse.yaml', text: 'version: 1\nsubnets: []\n' };

async function archive(entries: readonly Entry[], note: object = { version: 1 }): Promise<string> {
  const made = pack();
  for (const { name, text = '', link } of [{ name: 'backup.json', text: JSON.stringify(note) }, ...entries] as Entry[])
    if (link === undefined) made.entry({ name }, text);
    else made.entry({ name, type: 'symlink', linkname: link });
  made.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of made) chunks.push(chunk as Buffer);
  const file = join(folder, 'hostile.tar.gz');
  writeFileSync(file, gzipSync(Buffer.concat(chunks)));
  return file;
}
const restore = (file: string, over: { force?: boolean; roomBytes?: number } = {}) =>
  restoreBackup(placesOf('to'), file, { force: false, owner: undefined, ...over });

/** Each would write to FOLDER/victim, or read from there, where a link is followed. */
const HOSTILE: Readonly<Record<string, readonly Entry[]>> = {
  'a link reached through another link': [
    { name: 'etc/roles/l', link: '.' },
    { name: 'etc/roles/d/keep', text: 'x' },
    { name: `etc/roles/${'l/'.repeat(8)}d/evil`, link: '../../../../victim' },
    { name: 'etc/roles/d/evil/cron.d/pwn', text: 'x' },
  ],
  'a file below a link': [
    { name: 'etc/roles/x', link: '../nodes' },
    { name: 'etc/roles/x/y', text: 'x' },
  ],
  'a file before the link that it is below': [
    { name: 'etc/roles/x/y', text: 'x' },
    { name: 'etc/roles/x', link: '../nodes' },
  ],
  'a link that goes up behind a link': [
    { name: 'etc/roles/a/b/up', link: '../..' },
    { name: 'etc/roles/a/b/out', link: 'up/../../victim' },
  ],
};
for (const [what, entries] of Object.entries(HOSTILE)) {
  test(`refused, and nothing written: ${what}`, async () => {
    mkdirSync(join(folder, 'victim'));
    await expect(restore(await archive([SITE, ...entries]))).rejects.toThrow(/link|outside the configuration/);
    expect(readdirSync(join(folder, 'victim'))).toEqual([]);
    expect(readdirSync(join(folder, 'to'))).toEqual([]);
  });
}

test('links of the operator come back, wherever in the archive they are', async () => {
  await restore(
    await archive([
      { name: 'etc/profiles/lb.yaml', link: './web.yaml' },
      SITE,
      { name: 'etc/profiles/web.yaml', text: 'x' },
    ]),
  );
  expect(readFileSync(join(folder, 'to/etc/profiles/lb.yaml'), 'utf8')).toBe('x');
  expect(lstatSync(join(folder, 'to/etc/profiles/lb.yaml')).isSymbolicLink()).toBe(true);
});

test('an archive that unpacks to more than there is room for is refused', async () => {
  const file = await archive([SITE, { name: 'lib/audit.jsonl', text: ' '.repeat(2e6) }]);
  await expect(restore(file, { roomBytes: 1e6 })).rejects.toThrow('it unpacks to more than 1 MB');
  expect(readdirSync(join(folder, 'to'))).toEqual([]);
  await restore(file, { roomBytes: 3e6 });
});

test('what an archive says of itself cannot act on a terminal', async () => {
  const file = await archive([SITE], { version: 1, host: '\u001b[31mh', at: { a: 1 } });
  expect((await restore(file)).note).toMatchObject({ host: '?[31mh', at: '?' });
});

test('a boot server that does not answer keeps what it has: its store is open, or its socket is', async () => {
  const { libDir, runDir } = placesOf('to');
  mkdirSync(libDir, { recursive: true });
  mkdirSync(runDir);
  const file = await archive([SITE]);
  const store = new DatabaseSync(join(libDir, 'store.sqlite'));
  store.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE leases (a)');
  await expect(restore(file, { force: true })).rejects.toThrow(
    /another process has .*store.sqlite open; stop it first: rouse down --wait netboot/,
  );
  store.close();
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(join(runDir, 'netboot.sock'), resolve));
  await expect(restore(file, { force: true })).rejects.toThrow('a boot server may run here');
  await new Promise((resolve) => server.close(resolve));
  expect(readdirSync(libDir)).toEqual(['store.sqlite']);
  expect((await restore(file, { force: true })).movedAside).toHaveLength(1);
});

test('a store that is damaged is moved aside all the same', async () => {
  const { libDir } = placesOf('to');
  mkdirSync(libDir, { recursive: true });
  writeFileSync(join(libDir, 'store.sqlite'), 'no store at all'.repeat(100));
  expect((await restore(await archive([SITE]), { force: true })).movedAside).toHaveLength(1);
});

test('a backup follows no link and takes no file that somebody put beside it', async () => {
  const from = placesOf('from');
  mkdirSync(from.configDir, { recursive: true });
  writeFileSync(join(from.configDir, 'rouse.yaml'), 'version: 1\nsubnets: []\n');
  const file = join(folder, 'backup.tar.gz');
  symlinkSync(join(folder, 'precious'), `${file}.new`);
  await writeBackup(from, file, { rouse: '0', hasImages: false });
  expect(existsSync(join(folder, 'precious'))).toBe(false);
  expect(lstatSync(file).mode & 0o777).toBe(0o600);
  expect((await restore(file)).files).toBe(1);
});

test('headers that say more than their files are refused before they fill the memory', async () => {
  const made = pack();
  made.entry({ name: 'backup.json' }, JSON.stringify({ version: 1 }));
  made.entry({ name: 'etc/rouse.yaml', pax: { comment: 'x'.repeat(3_000_000) } }, 'version: 1\nsubnets: []\n');
  made.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of made) chunks.push(chunk as Buffer);
  const file = join(folder, 'pax.tar.gz');
  writeFileSync(file, gzipSync(Buffer.concat(chunks)));
  await expect(restore(file)).rejects.toThrow('an extended header is longer than 65536 bytes; nothing was changed');
  expect(readdirSync(join(folder, 'to'))).toEqual([]);
});

test('names longer than a header has room for come back', async () => {
  const from = placesOf('from');
  const name = `roles/${'long-'.repeat(20)}/files/${'deep-'.repeat(30)}`;
  mkdirSync(dirname(join(from.configDir, name)), { recursive: true });
  writeFileSync(join(from.configDir, 'rouse.yaml'), 'version: 1\nsubnets: []\n');
  writeFileSync(join(from.configDir, name), 'x');
  await writeBackup(from, join(folder, 'long.tar.gz'), { rouse: '0', hasImages: false });
  await restore(join(folder, 'long.tar.gz'));
  expect(readFileSync(join(folder, 'to/etc', name), 'utf8')).toBe('x');
});

test('a backup holds no link that restore refuses: what is needed must be there itself, the rest is named', async () => {
  const from = placesOf('from');
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  write('from/etc/rouse.yaml', 'version: 1\nsubnets: []\n');
  write('elsewhere/run', 'x');
  mkdirSync(join(from.configDir, 'services'));
  symlinkSync(join(folder, 'elsewhere'), join(from.configDir, 'services/app'));
  symlinkSync('../rouse.yaml', join(from.configDir, 'services/beside'));
  const file = join(folder, 'links.tar.gz');
  const { leftOut } = await writeBackup(from, file, { rouse: '0', hasImages: false });
  expect(leftOut).toEqual([{ name: 'etc/services/app', why: 'its target lies outside the configuration' }]);
  expect((await restore(file)).files).toBe(2);
  rmSync(join(folder, 'to'), { recursive: true });

  for (const [place, why] of [
    ['from/etc/nodes', 'it is a link in the place of a folder'],
    ['from/etc/profiles/web.yaml', 'its target lies outside the configuration'],
    ['from/lib/loaders/undionly.kpxe', 'it is a link'],
  ] as const) {
    mkdirSync(dirname(join(folder, place)), { recursive: true });
    symlinkSync(join(folder, 'elsewhere/run'), join(folder, place));
    rmSync(file);
    await expect(writeBackup(from, file, { rouse: '0', hasImages: false })).rejects.toThrow(
      `nothing was backed up: ${join(folder, place)} could not be restored: ${why}; put what it leads to in its place`,
    );
    expect(readdirSync(folder).filter((name) => name.includes('tar.gz'))).toEqual([]);
    rmSync(join(folder, place));
    writeFileSync(file, '');
  }
});
