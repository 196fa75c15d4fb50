// What a restored boot server still has, and what it says of images that no node could boot there. Real archives and stores.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../../images/store.io.ts';
import { type BackupPlaces, restoreBackup, writeBackup } from '../../../netboot/host/backup.io.ts';
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
