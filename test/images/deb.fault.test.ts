// Packages as no honest archive has them, read with the real dpkg-deb: each is made here of its parts.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { peekAt } from '../../images/content.io.ts';
import { readDeb } from '../../images/deb.io.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rouse-deb-'));
  mkdirSync(join(folder, 'control'));
  writeFileSync(
    join(folder, 'control/control'),
    'Package: odd\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n',
  );
  writeFileSync(join(folder, 'debian-binary'), '2.0\n');
  execFileSync('tar', ['-C', join(folder, 'control'), '-cf', join(folder, 'control.tar'), './control']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A .deb of a tar that each of these calls of tar adds to. */
function make(name: string, ...calls: readonly (readonly string[])[]): string {
  const path = join(folder, `${name}.deb`);
  const tar = join(folder, 'data.tar');
  rmSync(tar, { force: true });
  for (const words of calls) execFileSync('tar', ['-P', '-rf', tar, ...words], { cwd: folder, stdio: 'ignore' });
  execFileSync('ar', ['rc', path, 'debian-binary', 'control.tar', 'data.tar'], { cwd: folder });
  return path;
}
const read = (path: string) => readDeb(path, 'odd', join(folder, 'files'));

test('a file that leaves the root: the package is not unpacked', async () => {
  writeFileSync(join(folder, 'x'), 'x');
  mkdirSync(join(folder, 'deep'));
  const path = make('evil', ['-C', join(folder, 'deep'), '../x']);
  await expect(read(path)).rejects.toThrow('cannot unpack the package odd: its file ../x leaves the root');
});

test('a path that is there twice: the last one counts, in its place', async () => {
  for (const [tree, text] of [
    ['one', 'first'],
    ['two', 'second'],
  ] as const) {
    mkdirSync(join(folder, tree));
    writeFileSync(join(folder, tree, 'same'), text);
    writeFileSync(join(folder, tree, tree), tree);
  }
  const path = make('twice', ['-C', join(folder, 'one'), 'same', 'one'], ['-C', join(folder, 'two'), 'same', 'two']);
  const entries = await read(path);
  expect(entries.map((entry) => entry.path)).toEqual(['one', 'same', 'two']);
  const same = entries.find((entry) => entry.path === 'same');
  if (same?.kind !== 'file') throw new Error('a file');
  expect(Buffer.from(peekAt(same.data).read(0, 99)).toString()).toBe('second');
});

test('an archive that is cut off: a sentence', async () => {
  writeFileSync(join(folder, 'much'), 'x'.repeat(50_000));
  const path = make('cut', ['-C', folder, 'much']);
  truncateSync(path, statSync(path).size - 30_000);
  await expect(read(path)).rejects.toMatchObject({
    code: 'E_ARCHIVE',
    message: expect.stringMatching(/^cannot unpack the package odd: ./),
  });
});
