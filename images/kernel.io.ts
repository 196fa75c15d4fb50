// images/kernel.io.ts - a kernel and the modules that an image takes from its package.
//
// Owns: the unpacked kernel packages in the cache, reading modules and the kernel's configuration from them. Does not own:
// which modules (modules.ts), what a module says (modinfo.ts), firmware (firmware.ts).

import { readdirSync, readFileSync } from 'node:fs';
import { lstat, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import type { Apt } from './apt.io.ts';
import type { ArchivePackage } from './apt.ts';
import type { CpioEntry } from './cpio.ts';
import { unpackDeb } from './deb.io.ts';
import type { OnBuildEvent } from './event.ts';
import { orAbsent } from './files.io.ts';
import { type KernelFacts, kernelFacts } from './firmware.ts';
import { isOfKernel, kernelCacheName, staleKernelNames } from './kernelcache.ts';
import type { PackageContent } from './layout.ts';
import { canonicalModuleName, readBuiltins, readModuleInfo } from './modinfo.ts';
import { type KernelModule, type ModuleClassName, type ModuleSelection, selectModules } from './modules.ts';
import { isAsStamped, stampFolder } from './stamp.io.ts';

/** A kernel package in the cache. */
export type KernelTree = {
  readonly release: string;
  readonly vmlinuz: string;
  readonly modulesFolder: string;
  /** Its configuration, which the package may lack. */
  readonly config: string;
};

/** Removes what no build will use. To be called by who holds the cache's lock. @param cacheDir cache/kernels. */
export async function sweepKernels(cacheDir: string): Promise<void> {
  for (const name of staleKernelNames(await orAbsent(readdir(cacheDir), []))) {
    await rm(join(cacheDir, name), { recursive: true });
  }
}

/** Unpacks the kernel's package unless what was unpacked before is all there. @param cacheDir cache/kernels. */
export async function openKernel(
  apt: Pick<Apt, 'file'>,
  one: ArchivePackage,
  cacheDir: string,
  onEvent: OnBuildEvent,
): Promise<KernelTree> {
  const folder = join(cacheDir, kernelCacheName(one.sha256));
  if (!(await isAsStamped(folder))) {
    const path = await apt.file(one);
    if ((await orAbsent(lstat(folder), undefined)) !== undefined)
      onEvent({
        kind: 'note',
        text: `what the cache has of ${one.name} is not what was unpacked; it is unpacked again`,
      });
    await rm(folder, { recursive: true, force: true });
    onEvent({ kind: 'step', step: 'kernel', detail: one.name });
    await unpackDeb(path, one.name, folder, isOfKernel, async (unpacked, files) => {
      await expandModules(unpacked, files, one.name);
      await stampFolder(unpacked);
    });
  }
  const boot = (await readdir(join(folder, 'boot')).catch(() => [])).find((name) => name.startsWith('vmlinuz-'));
  if (boot === undefined) throw new Fault('E_BUILD', { what: `the package ${one.name} holds no /boot/vmlinuz-*` });
  const release = boot.slice('vmlinuz-'.length);
  for (const lib of ['lib', 'usr/lib']) {
    const modulesFolder = join(folder, lib, 'modules', release);
    if ((await stat(modulesFolder).catch(() => undefined)) !== undefined) {
      const config = join(folder, 'boot', `config-${release}`);
      return { release, vmlinuz: join(folder, 'boot', boot), modulesFolder, config };
    }
  }
  throw new Fault('E_BUILD', { what: `the package ${one.name} holds no modules of ${release}` });
}

/** Names handed to one xz: far from what a command line holds. */
const NAMES_AT_ONCE = 500;

/** Debian 13 compresses each module. A layer does that better, and busybox's insmod reads the plain ones. */
async function expandModules(folder: string, files: readonly string[], name: string): Promise<void> {
  const packed = files.filter((path) => path.endsWith('.ko.xz'));
  if (packed.length === 0) return;
  const { execa } = await import('execa');
  const what = `cannot unpack the modules of ${name}`;
  for (let from = 0; from < packed.length; from += NAMES_AT_ONCE) {
    const words = ['-d', '--', ...packed.slice(from, from + NAMES_AT_ONCE)];
    const result = await execa('xz', words, { cwd: folder, stdin: 'ignore', reject: false });
    if (result.code === 'ENOENT') {
      const todo = 'install it with: apt-get install xz-utils';
      throw new Fault('E_MISSING_TOOL', { what, why: 'xz is not on this machine', todo });
    }
    if (result.failed) throw new Fault('E_BUILD', { what, why: result.stderr.trim() || result.shortMessage });
  }
}

/**
 * Files below /usr/share/doc of a kernel's package, in memory.
 *
 * @param cacheDir as of openKernel. @param wanted by path without leading slash. @returns undefined where it is not unpacked, or not as it was.
 */
export async function readKernelDocs(
  cacheDir: string,
  one: ArchivePackage,
  wanted: (path: string) => boolean,
): Promise<PackageContent<Uint8Array> | undefined> {
  const folder = join(cacheDir, kernelCacheName(one.sha256));
  if (!(await isAsStamped(folder))) return undefined;
  const docs = 'usr/share/doc';
  const below = await readdir(join(folder, docs), { recursive: true, withFileTypes: true }).catch(() => undefined);
  if (below === undefined) return undefined;
  const entries: CpioEntry[] = [];
  for (const item of below) {
    const full = join(item.parentPath, item.name);
    const base = { path: full.slice(folder.length + 1), mode: 0o644, uid: 0, gid: 0 };
    if (!wanted(base.path)) continue;
    if (item.isSymbolicLink()) entries.push({ ...base, kind: 'symlink', target: await readlink(full) });
    else if (item.isFile()) entries.push({ ...base, kind: 'file', data: await readFile(full) });
  }
  return { name: one.name, entries };
}

/** Canonical names of the modules that are compiled into the kernel. */
export async function builtinModules(kernel: KernelTree): Promise<ReadonlySet<string>> {
  return new Set(readBuiltins(await readFile(join(kernel.modulesFolder, 'modules.builtin.modinfo'))).keys());
}

/** What the other layers must know of a kernel with its modules; kept, because it takes unpacking the package to know. */
export async function readKernelFacts(kernel: KernelTree, { firmware }: ModuleSelection): Promise<KernelFacts> {
  const config = await readFile(kernel.config, 'utf8').catch(() => '');
  return kernelFacts(config, firmware);
}

/** Which of the kernel's own modules an image takes. @throws Fault E_BUILD where one that is named is not there. */
export async function chooseModules(
  kernel: KernelTree,
  className: ModuleClassName,
  extra: readonly string[],
  place: (module: string) => string,
  onEvent: OnBuildEvent,
): Promise<ModuleSelection> {
  const paths = new Map<string, string>();
  for (const path of readdirSync(join(kernel.modulesFolder, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko')) paths.set(canonicalModuleName(basename(path, '.ko')), join('kernel', path));
  }
  const builtins = await builtinModules(kernel);
  const known = new Map<string, KernelModule>();
  const find = (name: string): KernelModule | undefined => {
    const path = paths.get(name);
    if (path === undefined) return undefined;
    const before = known.get(name);
    if (before !== undefined) return before;
    const info = readModuleInfo(readFileSync(join(kernel.modulesFolder, path)), name);
    if (info === undefined)
      throw new Fault('E_BUILD', { what: `cannot read the kernel module ${path}`, why: 'it has no .modinfo' });
    const module = { path, info: { ...info, name } };
    known.set(name, module);
    return module;
  };
  const result = selectModules({ className, extra, find, builtin: (name) => builtins.has(name) });
  if (!result.ok) {
    const [first] = result.problems;
    throw new Fault('E_BUILD', {
      what: `${place(first?.module ?? '')} cannot take the kernel module ${first?.module ?? ''}`,
      why: first?.message,
    });
  }
  const { absent } = result.selection;
  if (absent.length > 0) onEvent({ kind: 'note', text: `kernel ${kernel.release} has no module ${absent.join(', ')}` });
  return result.selection;
}
