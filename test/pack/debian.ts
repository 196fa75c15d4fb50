// test/pack/debian.ts - what the tests of the package share: a clean Debian in a folder, and packages of two versions.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../supervise/rig.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A minimal Debian of this machine's release. @param include packages beside those that every Debian has. */
export async function makeDebian(folder: string, include: readonly string[] = []): Promise<void> {
  const codename = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'latin1'))?.[1] ?? 'bookworm';
  const words = include.length === 0 ? [] : [`--include=${include.join(',')}`];
  const made = await run('debootstrap', '--variant=minbase', ...words, codename, folder);
  if (made.exitCode !== 0) throw new Error(`debootstrap failed: ${made.stdout.slice(-500)}${made.stderr}`);
}

/** Packs rouse as that version, always with the same time. @returns path of the package. */
export function packed(version: string, out: string): string {
  const words = [join(ROOT, 'pack/pack.io.ts'), '--out', out, '--version', version];
  const said = execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000' },
  });
  return said.toString().split('  ')[0] ?? '';
}
