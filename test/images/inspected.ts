// Octets taken apart as a file of joined layers, for tests that make them.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspectFile } from '../../images/inspect.io.ts';
import type { Inspection } from '../../images/inspect.ts';

export async function inspectOctets(octets: Uint8Array): Promise<Inspection> {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-inspect-'));
  try {
    writeFileSync(join(folder, 'initrd'), octets);
    return await inspectFile(join(folder, 'initrd'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
