// Packages as no honest archive has them, read with the real dpkg-deb: each is made here of its parts.

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack as tarPack } from 'tar-stream';
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

const HOSTILE: readonly [string, readonly string[], string][] = [
  ['a sparse file', ['--format=gnu', '--sparse', 'holes'], 'its file holes is sparse or of another type'],
  ['a sparse file of pax', ['--format=posix', '--sparse', 'holes'], 'its file .*holes is sparse'],
  ['a name in Latin-1', ['latin'], 'has a name that is not UTF-8'],
];
for (const [what, words, why] of HOSTILE) {
  test(`${what}: refused with the package and the path`, async () => {
    mkdirSync(join(folder, 'latin'), { recursive: true });
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/latin/`), Buffer.of(0xe9)]), 'x');
    writeFileSync(join(folder, 'holes'), '');
    truncateSync(join(folder, 'holes'), 1_000_000);
    appendFileSync(join(folder, 'holes'), 'end');
    const path = make('hostile', ['-C', folder, ...words]);
    await expect(read(path)).rejects.toMatchObject({
      code: 'E_ARCHIVE',
      message: expect.stringMatching(`^cannot unpack the package odd: .*${why}`),
    });
  });
}

test('an owner that a cpio has no room for, and one below 0: refused with the package and the path', async () => {
  writeFileSync(join(folder, 'x'), 'x');
  for (const [octets, shown] of [
    ['80000017 4876e7ff', '99999999999'],
    ['ffffffff fffffffb', '-'],
  ] as const) {
    const path = make('owner', ['-C', folder, '--format=gnu', 'x']);
    const tar = readFileSync(join(folder, 'data.tar'));
    // GNU's numbers of base 256, which tar itself writes where a field is too narrow.
    tar.set(Buffer.from(octets.replace(' ', ''), 'hex'), 108);
    tar.fill(' ', 148, 156);
    const sum = tar.subarray(0, 512).reduce((total, octet) => total + octet, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    writeFileSync(join(folder, 'data.tar'), tar);
    execFileSync('ar', ['rc', path, 'debian-binary', 'control.tar', 'data.tar'], { cwd: folder });
    const message = `cannot unpack the package odd: its file x has an owner or a group that no image has: ${shown}`;
    await expect(read(path)).rejects.toMatchObject({ code: 'E_ARCHIVE', message: expect.stringContaining(message) });
  }
});

test('headers that would fill the memory: refused before they are read into it', async () => {
  const pack = tarPack();
  pack.entry({ name: 'x', pax: { comment: 'x'.repeat(1_000_000) } }, 'x');
  pack.finalize();
  writeFileSync(join(folder, 'data.tar'), await buffer(pack));
  const path = join(folder, 'pax.deb');
  execFileSync('ar', ['rc', path, 'debian-binary', 'control.tar', 'data.tar'], { cwd: folder });
  await expect(read(path)).rejects.toMatchObject({
    code: 'E_ARCHIVE',
    message: expect.stringContaining('an extended header is longer than 65536 bytes'),
  });
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
