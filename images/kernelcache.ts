// images/kernelcache.ts - what is kept of kernels in cache/kernels: which files of a package, under which names, how long.
//
// Owns: names, which members of a kernel's package are unpacked, the form of what is noted of a kernel. Does not own: unpacking
// and removing (kernel.io.ts), what else is known of a kernel (firmware.ts). Pure.

import { BUILDER_VERSION } from './layerrecord.ts';
import { type Manifest, ManifestSchema } from './manifest.ts';

/** The name in cache/kernels of what this builder has made. @param key hexadecimal digits of what it was made from. */
export function kernelCacheName(key: string): string {
  return `${BUILDER_VERSION}-${key.slice(0, 32)}`;
}

/** Names in cache/kernels that serve nobody: of another builder, and what a build that was killed left unfinished. */
export function staleKernelNames(names: readonly string[]): string[] {
  return names.filter((name) => !name.startsWith(`${BUILDER_VERSION}-`) || name.endsWith('.new'));
}

const KERNEL_FILES = /^(?:boot\/(?:vmlinuz|config)-[\dA-Za-z][\w.+~-]*|(?:usr\/)?lib\/modules\/[^/]+\/.+)$/;
const DOCS = 'usr/share/doc/';

/** Whether a member of a kernel's package is unpacked: what images are made of, and no link where their files are read. */
export function isOfKernel({ path, kind }: { readonly path: string; readonly kind: string }): boolean {
  if (kind === 'symlink') return path.startsWith(DOCS);
  return (kind === 'file' || kind === 'link') && (KERNEL_FILES.test(path) || path.startsWith(DOCS));
}

/** Whether a value is what was noted of a kernel, as read back from a cache. */
export function isKernelNote(value: unknown): value is Manifest['kernel'] {
  return ManifestSchema.shape.kernel.safeParse(value).success;
}
