// Signatures: what was changed, exchanged or signed by somebody else is told, and is not what nodes boot.

import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { flattenImage } from '../../images/flatten.io.ts';
import { openStore } from '../../images/store.io.ts';
import { verifyImage } from '../../images/verify.io.ts';
import { ImageReader } from '../../netboot/site/images.io.ts';
import { publishTiny } from './tiny.ts';

let lib = '';
beforeEach(() => (lib = mkdtempSync(join(tmpdir(), 'rouse-sign-'))));
afterEach(() => rmSync(lib, { recursive: true, force: true }));

const manifestPath = (generation = 1): string => join(lib, `images/web/${generation}.json`);
const change = (path: string, edit: (text: string) => string): void => {
  chmodSync(path, 0o644);
  writeFileSync(path, edit(readFileSync(path, 'latin1')), 'latin1');
};
const state = async () => (await new ImageReader(lib).read()).get('web');

test('the key is made at the first build, for its owner alone, and the boot server takes what it signed', async () => {
  await publishTiny(openStore(lib), 'one');
  expect(statSync(join(lib, 'keys/images.key')).mode & 0o777).toBe(0o600);
  const key = readFileSync(join(lib, 'keys/images.key'), 'utf8');
  await publishTiny(openStore(lib), 'two');
  expect(readFileSync(join(lib, 'keys/images.key'), 'utf8')).toBe(key);
  expect(await verifyImage(openStore(lib), 'web')).toEqual([]);
  expect(await state()).toMatchObject({ kind: 'built' });
});

test('a public key that is lost is made again from its other half', async () => {
  await publishTiny(openStore(lib), 'one');
  rmSync(join(lib, 'keys/images.pub'));
  expect(await state()).toMatchObject({ kind: 'broken', why: expect.stringContaining('not among the trusted ones') });
  await publishTiny(openStore(lib), 'two');
  expect(await state()).toMatchObject({ kind: 'built' });
});

const TAMPERED: [string, (text: string) => string, string][] = [
  [
    'a word of a manifest',
    (text) => text.replace('"release": "6.1"', '"release": "6.2"'),
    'it was changed after it was signed',
  ],
  [
    'a layer exchanged for another',
    (text) => text.replace(/"servedSha256": "../, '"servedSha256": "00'),
    'it was changed after it was signed',
  ],
  ['no signature', (text) => text.replace(/,\s*"signature": \{[^}]*\}/, ''), 'it is not signed'],
  [
    'a signature of another form',
    (text) => text.replace(/"ed25519": "[^"]*"/, '"ed25519": "AAAA"'),
    'its signature is no signature',
  ],
  [
    'a signature of zeros',
    (text) => text.replace(/"ed25519": "[^"]*"/, `"ed25519": "${Buffer.alloc(64).toString('base64')}"`),
    'it was changed after it was signed',
  ],
  ['half a file', (text) => text.slice(0, 300), 'it is not JSON'],
];
for (const [what, edit, why] of TAMPERED) {
  test(`${what}: refused by the boot server, by promote, and told by verify`, async () => {
    await publishTiny(openStore(lib), 'one');
    await publishTiny(openStore(lib), 'two');
    const before = readFileSync(manifestPath(2), 'utf8');
    change(manifestPath(2), edit);
    expect(readFileSync(manifestPath(2), 'utf8')).not.toBe(before);
    const store = openStore(lib);
    await expect(store.promote('web', 2)).rejects.toMatchObject({
      code: 'E_UNTRUSTED',
      message: expect.stringContaining(why),
    });
    expect(await store.summary('web')).toMatchObject({ current: 1 });
    expect((await verifyImage(store, 'web')).join()).toContain(
      `web generation 2: the manifest cannot be trusted: ${why}`,
    );
    change(manifestPath(1), edit);
    expect(await state()).toMatchObject({ kind: 'broken', why: expect.stringContaining(why) });
  });
}

test('an old generation, rightly signed, in the place of a new one is told', async () => {
  await publishTiny(openStore(lib), 'one');
  await publishTiny(openStore(lib), 'two');
  chmodSync(manifestPath(2), 0o644);
  copyFileSync(manifestPath(1), manifestPath(2));
  await expect(openStore(lib).promote('web', 2)).rejects.toThrow(
    "it is the manifest of generation 1 of web, put in another one's place",
  );
});

test('a layer or kernel that is not the signed one keeps a generation from nodes and from a flat file', async () => {
  const manifest = await publishTiny(openStore(lib), 'one');
  const { generation } = await publishTiny(openStore(lib), 'two');
  const store = openStore(lib);
  const [, layer] = (await store.manifest('web', generation)).layers;
  if (layer === undefined) throw new Error('two layers');
  const whole = readFileSync(store.layerPath(layer), 'latin1');
  change(store.layerPath(layer), (text) => text.replace(/.$/s, 'x'));
  await expect(store.promote('web', generation)).rejects.toThrow(
    `the layer web ${layer.sha256.slice(0, 12)} is not the file that was published; what they boot is unchanged`,
  );
  change(store.layerPath(layer), () => whole);
  expect(await store.promote('web', generation)).toBe(1);
  change(store.kernelPath(manifest.kernel.sha256), (text) => `${text}!`);
  await expect(store.rollback('web')).rejects.toThrow('the kernel 6.1 is not the file that was published');
  await expect(flattenImage(store, manifest, join(lib, 'flat'))).rejects.toMatchObject({ code: 'E_UNTRUSTED' });
  expect(await store.summary('web')).toMatchObject({ current: generation });
});

test('a build that another machine signed is taken once its public key lies beside ours', async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'rouse-builder-'));
  await publishTiny(openStore(elsewhere), 'one');
  await publishTiny(openStore(lib), 'one');
  change(manifestPath(), () => readFileSync(join(elsewhere, 'images/web/1.json'), 'latin1'));
  expect(await state()).toMatchObject({ kind: 'broken' });
  copyFileSync(join(elsewhere, 'keys/images.pub'), join(lib, 'keys/builder.pub'));
  rmSync(elsewhere, { recursive: true });
  expect(await state()).toMatchObject({ kind: 'built' });
});

test('where nodes could boot nothing, the next build is what they boot', async () => {
  await publishTiny(openStore(lib), 'one');
  change(manifestPath(), (text) => text.replace('6.1', '6.2'));
  expect((await publishTiny(openStore(lib), 'one')).generation).toBe(2);
  expect(await openStore(lib).summary('web')).toMatchObject({ current: 2, previous: 1 });
});

test('a private key that is none stops a build before it publishes', async () => {
  await publishTiny(openStore(lib), 'one');
  change(join(lib, 'keys/images.key'), () => 'no key');
  await expect(publishTiny(openStore(lib), 'two')).rejects.toThrow(
    /^cannot sign with .*images\.key: .*; put the key back/,
  );
  expect(await openStore(lib).summary('web')).toMatchObject({ generations: [1] });
});
