// images/firmware.ts - the files that devices load through their drivers: which of them an image takes, and which it lacks.
//
// Owns: the choice by what modules name, the links that lead to a file, which forms a kernel reads, and the table of Debian
// packages. Does not own: reading packages (deb.io.ts) and the kernel's configuration (kernel.io.ts), modules
// (modules.ts).
//
// A card whose firmware is missing is found by nobody until a rack stays dark: what is missing is told when an image is built,
// with the package that would bring it, and stands in the manifest.
//
// To name another package, add a row to FIRMWARE_PACKAGES; test/images/firmware.rack.test.ts holds the rows against the archive.
// Sources: Linux Documentation/driver-api/firmware/fw_search_path.rst and drivers/base/firmware_loader/main.c. Pure.

import { z } from 'zod';
import type { CpioEntry } from './cpio.ts';
import { matcherOf } from './glob.ts';
import type { Manifest } from './manifest.ts';
import { mergedPath, type OwnedEntry, type PackageContent } from './layout.ts';

/** Packages of non-free-firmware by the names below /lib/firmware that servers' modules ask for: Debian 12's, and 13's where it is another. */
export const FIRMWARE_PACKAGES: readonly (readonly [names: string, inDebian12: string, inDebian13?: string])[] = [
  ['bnx2/*', 'firmware-bnx2'],
  ['bnx2x/*', 'firmware-bnx2x'],
  ['qed/*', 'firmware-qlogic'],
  ['ql*_fw.bin', 'firmware-qlogic'],
  ['rtl_nic/*', 'firmware-realtek'],
  ['intel/ice/**', 'firmware-misc-nonfree', 'firmware-intel-misc'],
  ['tigon/*', 'firmware-misc-nonfree'],
  ['cxgb4/*', 'firmware-misc-nonfree'],
  ['cxgb3/*', 'firmware-misc-nonfree'],
  ['e100/*', 'firmware-misc-nonfree', 'firmware-intel-misc'],
  ['myri10ge_*', 'firmware-myricom'],
  ['netronome/**', 'firmware-netronome'],
  ['liquidio/*', 'firmware-cavium'],
  ['c?fw-*.bin', 'firmware-qlogic'],
  ['ct2fw-*.bin', 'firmware-qlogic'],
  ['phanfw.bin', 'firmware-netxen'],
  ['hfi1_*.fw', 'firmware-misc-nonfree', 'firmware-intel-misc'],
  ['qat_*.bin', 'firmware-misc-nonfree', 'firmware-intel-misc'],
  ['amd/amd_sev_*', 'amd64-microcode'],
  ['i915/*', 'firmware-misc-nonfree', 'firmware-intel-graphics'],
  ['amdgpu/*', 'firmware-amd-graphics'],
];

/** The packages of which one brings a file; none where no row knows it. */
export function firmwarePackagesOf(file: string): string[] {
  const row = FIRMWARE_PACKAGES.find(([names]) => matcherOf([`/${names}`])(`/${file}`));
  return row === undefined ? [] : [row[1], ...(row[2] === undefined ? [] : [row[2]])];
}

const ONLY_IN_13: ReadonlySet<string> = new Set(FIRMWARE_PACKAGES.flatMap(([, , in13]) => in13 ?? []));

/** "firmware-misc-nonfree or firmware-intel-misc (Debian 13)": apt of Debian 12 knows no package of the first name. */
export function orOf(packages: readonly string[]): string {
  return packages.map((name) => (ONLY_IN_13.has(name) ? `${name} (Debian 13)` : name)).join(' or ');
}

/** What a module names: a file below /lib/firmware, or a pattern of them. */
export type FirmwareName = { readonly module: string; readonly file: string };

/** What a build must know of its kernel beyond the modules themselves. */
export type KernelFacts = {
  readonly firmware: readonly FirmwareName[];
  /** Of files with firmware that it reads. */
  readonly endings: readonly string[];
  readonly loadsMicrocode: boolean;
};

/** @param config of the kernel (/boot/config-RELEASE); empty where its package has none. */
export function kernelFacts(config: string, firmware: readonly FirmwareName[]): KernelFacts {
  return { firmware, endings: firmwareEndings(config), loadsMicrocode: /^CONFIG_MICROCODE=y$/m.test(config) };
}

/** Whether a value is such facts, as read back from a cache. */
export function isKernelFacts(value: unknown): value is KernelFacts {
  return KernelFactsSchema.safeParse(value).success;
}

const KernelFactsSchema = z.strictObject({
  firmware: z.array(z.strictObject({ module: z.string(), file: z.string() })),
  endings: z.array(z.string()),
  loadsMicrocode: z.boolean(),
}) satisfies z.ZodType<KernelFacts>;

/** Firmware that a module of the image names and the image lacks, by module. */
export type MissingFirmware = NonNullable<Manifest['missingFirmware']>[number];

/** Endings that a kernel tries, in its order, by its configuration (/boot/config-RELEASE). */
function firmwareEndings(config: string): string[] {
  const is = (option: string): boolean => new RegExp(`^CONFIG_FW_LOADER_COMPRESS${option}=y$`, 'm').test(config);
  // Before Linux 5.19 there was one form, and one option.
  const hasForms = /CONFIG_FW_LOADER_COMPRESS_(?:XZ|ZSTD)\b/.test(config);
  return ['', ...(is('_ZSTD') ? ['.zst'] : []), ...(is('_XZ') || (is('') && !hasForms) ? ['.xz'] : [])];
}

const FOLDER = 'usr/lib/firmware';

/** Those of the paths that the kernel takes for a name or a pattern. */
function answersTo(file: string, endings: readonly string[], paths: ReadonlySet<string>): string[] {
  const wanted = endings.map((ending) => `${FOLDER}/${file}${ending}`);
  if (!/[*?]/.test(file)) return wanted;
  const matches = matcherOf(wanted.map((path) => `/${path}`));
  return [...paths].filter((path) => matches(`/${path}`));
}

/**
 * The files that modules name, with the links that lead to them.
 *
 * @param asked what the modules of the image name. @param endings the forms that the kernel reads.
 * @param packages in the order in which they are searched.
 */
export function chooseFirmware(
  asked: readonly FirmwareName[],
  endings: readonly string[],
  packages: readonly PackageContent[],
): OwnedEntry[] {
  const known = new Map<string, OwnedEntry>();
  for (const { name, entries } of packages) {
    for (const entry of entries) {
      const path = mergedPath(entry.path);
      if (path.startsWith(`${FOLDER}/`) && !known.has(path))
        known.set(path, { entry: { ...entry, path }, owner: name });
    }
  }
  const paths = new Set(known.keys());
  const files = new Map<string, OwnedEntry>();
  for (const name of new Set(asked.map(({ file }) => file))) {
    for (const path of answersTo(name, endings, paths)) {
      for (const step of follow(path, known) ?? []) files.set(step.entry.path, step);
    }
  }
  return [...files.values()];
}

/** @param paths everything in the image: a recipe may bring firmware among its own files, too. */
export function missingFirmware(
  asked: readonly FirmwareName[],
  endings: readonly string[],
  paths: ReadonlySet<string>,
): FirmwareName[] {
  return asked.filter(({ file }) => !answersTo(file, endings, paths).some((path) => paths.has(path)));
}

/** A hard link counts as its file: the other name may not be taken. */
function follow(path: string, known: ReadonlyMap<string, OwnedEntry>): OwnedEntry[] | undefined {
  const steps: OwnedEntry[] = [];
  for (let at = path; steps.length < 16; ) {
    const found = known.get(at) ?? known.get(parentLink(at, known) ?? '');
    if (found === undefined) return undefined;
    const { entry, owner } = found;
    if (entry.kind === 'file') return [...steps, found];
    if (entry.kind === 'link') {
      const file = known.get(mergedPath(entry.target))?.entry;
      return file?.kind === 'file' ? [...steps, { entry: { ...file, path: entry.path }, owner }] : undefined;
    }
    if (entry.kind !== 'symlink') return undefined;
    steps.push(found);
    at = joined(entry, at);
  }
  return undefined;
}

/** The nearest folder above a path that is a link. */
function parentLink(path: string, known: ReadonlyMap<string, OwnedEntry>): string | undefined {
  for (let slash = path.lastIndexOf('/'); slash > FOLDER.length; slash = path.lastIndexOf('/', slash - 1)) {
    const folder = path.slice(0, slash);
    if (known.get(folder)?.entry.kind === 'symlink') return folder;
  }
  return undefined;
}

/** Where a path leads that is a link, or lies below one. */
function joined(link: Extract<CpioEntry, { kind: 'symlink' }>, path: string): string {
  const start = link.target.startsWith('/') ? '' : link.path.slice(0, link.path.lastIndexOf('/') + 1);
  const steps: string[] = [];
  for (const step of `${start}${link.target}${path.slice(link.path.length)}`.split('/')) {
    if (step === '..') steps.pop();
    else if (step !== '' && step !== '.') steps.push(step);
  }
  return mergedPath(steps.join('/'));
}

/**
 * What is missing, by module, in order.
 *
 * @param packages of the recipes, which do not hold it. @param without modules whose firmware they do without, and why.
 */
export function missingByModule(
  missing: readonly FirmwareName[],
  {
    packages: taken,
    without,
  }: { readonly packages: readonly string[]; readonly without: Readonly<Record<string, string>> },
): MissingFirmware[] {
  return [...Map.groupBy(missing, ({ module }) => module)]
    .map(([module, names]) => {
      const files = [...new Set(names.map(({ file }) => file))].sort();
      const known = new Set(files.flatMap(firmwarePackagesOf));
      const packages = [...known].filter((name) => !taken.includes(name));
      const accepted = without[module];
      return { module, files, packages, ...(accepted === undefined ? {} : { accepted }) };
    })
    .sort((a, b) => (a.module < b.module ? -1 : 1));
}

/** "bnx2/bnx2-mips-06-6.2.3.fw and 4 more". */
export function someOf(files: readonly string[]): string {
  const more = files.length === 1 ? '' : ` and ${files.length - 1} more`;
  return `${files[0] ?? ''}${more}`;
}

/** One line for each module whose firmware is missing and that no recipe does without. */
export function describeMissing(missing: readonly MissingFirmware[]): string[] {
  return missing
    .filter(({ accepted }) => accepted === undefined)
    .map(({ module, files, packages }) => {
      const todo = packages.length === 0 ? '' : `; add ${orOf(packages)} to firmware.packages`;
      return `module ${module} asks for firmware that is not in the image, ${someOf(files)}${todo}`;
    });
}
