// The proof of who asks: one's own file counts once, and a file of another's that was brought there proves nothing.

import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeProof, prepareProofs, whoAsks } from '../../../netboot/api/identity.io.ts';

let run = '';
beforeEach(async () => {
  run = mkdtempSync(join(tmpdir(), 'rouse-who-'));
  await prepareProofs(run);
});
afterEach(() => rmSync(run, { recursive: true, force: true }));

const NAME = 'a'.repeat(32);
const me = userInfo().username;

test('a proof counts once, and a server that is another user can read it', async () => {
  const old = process.umask(0o077);
  const proof = await makeProof(run);
  process.umask(old);
  expect(statSync(join(run, 'who', proof?.name ?? '')).mode & 0o777).toBe(0o644);
  expect(await whoAsks(run, proof?.name, undefined)).toBe(me);
  expect(await whoAsks(run, proof?.name, undefined)).toBe('unknown');
});

const BROUGHT: Readonly<Record<string, (path: string) => void>> = {
  'an empty file of his, renamed': (path) => {
    writeFileSync(join(run, 'his'), '');
    renameSync(join(run, 'his'), path);
  },
  'a file that proves another name': (path) => writeFileSync(path, `rouse-who ${'b'.repeat(32)}\n`),
  'a link to a file that says the name': (path) => {
    writeFileSync(join(run, 'his'), `rouse-who ${NAME}\n`);
    symlinkSync(join(run, 'his'), path);
  },
  'a folder': (path) => mkdirSync(path),
};
for (const [what, bring] of Object.entries(BROUGHT)) {
  test(`proves nothing: ${what}`, async () => {
    bring(join(run, 'who', NAME));
    expect(await whoAsks(run, NAME, 'root')).toBe('unknown (says: root)');
    if (what !== 'a folder') expect(readdirSync(join(run, 'who'))).toEqual([]);
  });
}
