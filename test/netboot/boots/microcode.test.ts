// A kernel looks for microcode at the very beginning of its initrd: the layer that holds it comes first in every language of
// loaders, for kexec, and in their list of layers, under its name of an uncompressed file.

import { expect, test } from 'vitest';
import { SCRIPT_FORMATS, SCRIPTS } from '../../../netboot/boots/formats.ts';
import { switchText } from '../../../netboot/boots/script.ts';
import type { PlanTarget } from '../../../netboot/site/plan.ts';
import { A, B, C, IDENTITY, LINUX, plan, SERVER } from './plan.ts';

const M = 'e'.repeat(64);
const MICROCODE = { name: 'microcode', sha256: M, compression: 'none', servedSha256: M, servedBytes: 512 } as const;
const TARGET: PlanTarget = LINUX.kind === 'linux' ? { ...LINUX, layers: [MICROCODE, ...LINUX.layers] } : LINUX;
const FILES = [`${M}.cpio`, `${A}.zst`, `${B}.gz`];

const order = (text: string): string[] =>
  [...text.matchAll(/\/layer\/([0-9a-f]{64}\.[a-z]+)/g)].map(([, file = '']) => file);

for (const format of SCRIPT_FORMATS) {
  test(`${format}: microcode is the first initrd, the overlay the last`, () => {
    const script = SCRIPTS[format].boot(plan(TARGET), SERVER, IDENTITY);
    expect(order(script)).toEqual(FILES);
    expect(script.indexOf('/overlay')).toBeGreaterThan(script.indexOf(`${B}.gz`));
    expect(script).toContain(`rouse.layers=${M},${A},${B},${C}`);
  });
}

test('kexec: a node joins its initrd in the order of the lines', () => {
  const overlay = { sha256: C, servedSha256: C, servedBytes: 512 };
  const text = switchText(plan(TARGET), SERVER, IDENTITY.bootId, overlay);
  expect(order(text)).toEqual(FILES);
  expect(text.split('\n')[1]).toBe(`initrd ${M} 512 /layer/${M}.cpio`);
});
