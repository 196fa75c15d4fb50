// What `rouse check` says of roles: all that is wrong with each, with its place, and nothing of those that are shipped.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { roleProblems } from '../../images/checkroles.io.ts';

const SERVICES = fileURLToPath(new URL('../../services', import.meta.url));
let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'rouse-roles-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const put = (role: string, text: string): void => {
  mkdirSync(join(folder, role), { recursive: true });
  writeFileSync(join(folder, role, 'recipe.yaml'), text);
};

test('the roles that are shipped are sound', async () => {
  expect(await roleProblems([SERVICES])).toEqual([]);
});

test('every problem of every role, each once, however many roles extend it', async () => {
  put('rack', 'version: 1\nextends: base\nmicrocode: [intl]\nfirmware: {package: [x]}\n');
  put('web-rack', 'version: 1\nextends: rack\n');
  put('own', 'version: 1\nextends: base\narchive: {mirror: "http://x/debian", suites: [a], keyring: no.gpg}\n');
  put('empty', 'version: 1\nservices: [a, b]\n');
  put('idle', 'version: 1\nextends: base\nservices: [a]\nhooks: [b]\n');
  const place = (role: string): string => join(folder, role, 'recipe.yaml');
  const problems = await roleProblems([folder, SERVICES]);
  expect(problems).toEqual([
    `${place('empty')}:1:1 no kernel: neither this recipe nor one that it extends names one`,
    `${place('idle')}:3:12 there is no idle/a/run`,
    `${place('idle')}:4:9 there is no idle/hooks/b`,
    expect.stringContaining(`${place('own')}:3:60 cannot read the keyring ${join(folder, 'own/no.gpg')}: ENOENT`),
    expect.stringContaining(`${place('rack')}:3:13 microcode[0]: expected intel, amd, or a family`),
    `${place('rack')}:4:12 unknown key 'package', did you mean 'packages'?`,
  ]);
});
