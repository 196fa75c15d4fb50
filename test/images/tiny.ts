// An image of a few bytes, published by the real store: its kernel is none and its layers hold what a test puts there.

import { createHash } from 'node:crypto';
import type { CpioEntry } from '../../images/cpio.ts';
import type { Manifest } from '../../images/manifest.ts';
import type { Store } from '../../images/store.io.ts';

export const KERNEL = new TextEncoder().encode('not really a kernel');
export const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');
export const file = (path: string, text: string): CpioEntry => ({
  kind: 'file',
  path,
  mode: 0o644,
  uid: 0,
  gid: 0,
  data: new TextEncoder().encode(text),
});

/** Publishes a generation of `web` whose role layer holds these files, or one file with this text. */
export async function publishTiny(
  store: Store,
  content: string | readonly CpioEntry[],
  over: Partial<Pick<Manifest, 'image' | 'packages' | 'lock'>> = {},
): Promise<Manifest> {
  const files = typeof content === 'string' ? [file('etc/a', content)] : content;
  await store.putKernel([KERNEL]);
  const layers = [
    await store.makeLayer('base', [file('init', '#!/bin/sh\n')], { effort: 'quick' }),
    await store.makeLayer('web', files, { effort: 'quick' }),
  ];
  return store.publish({
    version: 1,
    image: 'web',
    builtAt: '2026-01-02T03:04:05.000Z',
    recipe: { file: 'web/recipe.yaml', sha256: sha256(KERNEL) },
    kernel: { release: '6.1', package: 'linux-image', sha256: sha256(KERNEL), bytes: KERNEL.length },
    layers,
    packages: [],
    vars: {},
    templates: [],
    services: [],
    ...over,
  });
}
