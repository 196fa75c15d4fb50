// The key that signs images is its owner's alone: one that others may read is closed, and that is said.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { closeKey } from '../../images/keys.io.ts';

let lib = '';
beforeEach(() => (lib = mkdtempSync(join(tmpdir(), 'rouse-keys-'))));
afterEach(() => rmSync(lib, { recursive: true, force: true }));

test('a key that others may read is closed and told of, once', async () => {
  expect(await closeKey(lib)).toBeUndefined();
  const key = join(lib, 'keys/images.key');
  mkdirSync(join(lib, 'keys'));
  writeFileSync(key, 'a key');
  chmodSync(key, 0o640);
  expect(await closeKey(lib)).toContain('was of mode 640, open to others, and is 600 now');
  expect(statSync(key).mode & 0o777).toBe(0o600);
  expect(await closeKey(lib)).toBeUndefined();
});
