// The bill of materials of a real image, held against CycloneDX's own schema by a validator that is not ours.
//
// Among the fault tests because it needs a Debian package (python3-jsonschema) and the package cache.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../images/build.io.ts';
import { renderBillOfMaterials } from '../../images/compare.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SCHEMAS = join(ROOT, 'test/fixtures/cyclonedx');
const cacheDir = process.env['ROUSE_TEST_CACHE'] ?? join(ROOT, '.rouse', 'cache');

/** Prints what is wrong with the document on standard input, one line each. */
const VALIDATE = `
import json, sys, warnings
warnings.simplefilter('ignore')
from jsonschema import Draft7Validator, RefResolver, _validators
# Debian 12's cannot sort maps for a message that nobody sees.
_validators.extras_msg = lambda extras: (', '.join(map(repr, extras)), 'were')
read = lambda name: json.load(open(sys.argv[1] + '/' + name + '.SNAPSHOT.schema.json'))
bom = read('bom-1.6')
base = bom['$id'].rsplit('/', 1)[0] + '/'
store = {base + name + '.SNAPSHOT.schema.json': read(name) for name in ('spdx', 'jsf-0.82')}
for error in Draft7Validator(bom, resolver=RefResolver(bom['$id'], bom, store=store)).iter_errors(json.load(sys.stdin)):
    print('/'.join(map(str, error.absolute_path)), error.message[:200])
`;
const problems = async (document: unknown): Promise<string> => {
  const { stdout } = await execa('/usr/bin/python3', ['-c', VALIDATE, SCHEMAS], { input: JSON.stringify(document) });
  return stdout;
};

let lib = '';
beforeAll(() => (lib = mkdtempSync(join(tmpdir(), 'rouse-sbom-'))));
afterAll(() => rmSync(lib, { recursive: true, force: true }));

type Component = { name: string; version: string; hashes: { content: string }[]; licenses?: { license: object }[] };

test('the bill of materials of an image is valid CycloneDX: every package with version, hash and licence', async () => {
  const roleDirs = [join(ROOT, 'services')];
  const { manifest } = await buildImage({ roleDirs, role: 'base', libDir: lib, cacheDir });
  const bill = renderBillOfMaterials(manifest) as { components: Component[] };
  expect(await problems(bill)).toBe('');
  expect(bill.components.map(({ name }) => name)).toEqual(manifest.packages.map(({ name }) => name));
  for (const { name, hashes, licenses } of bill.components) {
    expect(hashes[0]?.content, name).toMatch(/^[0-9a-f]{64}$/);
    expect(licenses, `${name} is under some licence`).not.toBeUndefined();
  }
  const libc = bill.components.find(({ name }) => name === 'libc6');
  expect(libc?.licenses).toContainEqual({ license: { id: 'LGPL-2.1-only' } });
  // The validator finds what is wrong.
  expect(await problems({ ...bill, specVersion: 2 })).toContain('specVersion');
  const [first] = bill.components;
  expect(await problems({ ...bill, components: [{ ...first, licenses: [{ license: { id: 'GPL-9' } }] }] })).not.toBe(
    '',
  );
});

test('all identifiers of the table are SPDX identifiers', async () => {
  const { enum: known } = JSON.parse(readFileSync(join(SCHEMAS, 'spdx.SNAPSHOT.schema.json'), 'utf8')) as {
    enum: string[];
  };
  const { SPDX } = await import('../../images/licences.ts');
  expect(Object.values(SPDX).filter((id) => !known.includes(id))).toEqual([]);
});
