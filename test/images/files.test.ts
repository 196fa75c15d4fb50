// Files that are whole or not there: what an edit by command keeps of a file, and what it leaves behind where it may not.

import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { askInUse } from '../../netboot/api/inuse.io.ts';
import { orAbsent, publishNew, replaceFile } from '../../images/files.io.ts';

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'rouse-files-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a file that is replaced keeps its mode, whatever the umask', async () => {
  const path = join(folder, 'web1.yaml');
  writeFileSync(path, 'before');
  chmodSync(path, 0o660);
  expect(await replaceFile(path, 'after', async () => true)).toBe(true);
  expect(readFileSync(path, 'utf8')).toBe('after');
  expect(statSync(path).mode & 0o7777).toBe(0o660);
});

test('one that is not wanted any more at the last instant stays, and nothing lies beside it', async () => {
  const path = join(folder, 'web1.yaml');
  writeFileSync(path, 'before');
  expect(await replaceFile(path, 'after', async () => false)).toBe(false);
  expect(readFileSync(path, 'utf8')).toBe('before');
  expect(readdirSync(folder)).toEqual(['web1.yaml']);
});

test('a new file never replaces one', async () => {
  const path = join(folder, 'web1.yaml');
  expect(await publishNew(path, 'first')).toBe(true);
  expect(await publishNew(path, 'second')).toBe(false);
  expect(readFileSync(path, 'utf8')).toBe('first');
  expect(readdirSync(folder)).toEqual(['web1.yaml']);
});

test('what cannot be looked at is not nothing: a prune would delete by it', async () => {
  expect(await orAbsent(stat(join(folder, 'none')), 'nothing')).toBe('nothing');
  symlinkSync('loop', join(folder, 'loop'));
  writeFileSync(join(folder, 'plain'), '');
  const refused = {
    name: 'Fault',
    code: 'E_STORE',
    message: expect.stringMatching(/^cannot tell what is on the disk: E/),
  };
  await expect(orAbsent(stat(join(folder, 'loop')), 'nothing')).rejects.toMatchObject(refused);
  await expect(orAbsent(readlink(join(folder, 'plain')), 'nothing')).rejects.toMatchObject(refused);
  // The boot server's store, by which prune knows what nodes run.
  symlinkSync('store.sqlite', join(folder, 'store.sqlite'));
  await expect(askInUse({ runDir: folder, libDir: folder })).rejects.toMatchObject(refused);
});
