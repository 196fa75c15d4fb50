// images/microcode.ts - processors' microcode as the first archive of an initrd, which a kernel reads before all else.
//
// Owns: the recipe's words for it, which files of Debian's packages those mean, joining them into one file for each maker,
// and the alignment. Does not own: reading the packages (deb.io.ts), order and form of layers (build.io.ts, layers.ts).
//
// The kernel looks for kernel/x86/microcode/… in the octets of the initrd as they lie in memory: the archive must be
// uncompressed and come first. Intel's processors read an update from where it lies, at a multiple of 16; the empty file
// early_cpio, which dracut has too, is made as long as that takes.
//
// Sources: Linux Documentation/x86/microcode.rst, lib/earlycpio.c, arch/x86/kernel/cpu/microcode/{intel,amd}.c; Intel SDM
// volume 3, "Microcode Update Facilities"; iucode_tool(8) --write-earlyfw. Pure.

import type { CpioEntry } from './cpio.ts';
import { mergedPath, type PackageContent } from './layout.ts';
import { withParents } from './layers.ts';

type Maker = {
  readonly package: string;
  /** Files of the package, named by processor; those that the kernel must not load late have an ending. */
  readonly files: RegExp;
  /** Where the kernel looks for the joined file. */
  readonly path: string;
  readonly problem: (octets: Uint8Array) => string | undefined;
};

/** How a recipe names them: the maker, and processors as the package's file names begin ("intel/06-4f", "amd/fam17h"). */
const MICROCODE = {
  intel: {
    package: 'intel-microcode',
    files: /^usr\/lib\/firmware\/intel-ucode\/([0-9a-f]{2}-[0-9a-f]{2}-[0-9a-f]{2})(?:\.initramfs)?$/,
    path: 'kernel/x86/microcode/GenuineIntel.bin',
    problem: intelProblem,
  },
  amd: {
    package: 'amd64-microcode',
    files: /^usr\/lib\/firmware\/amd-ucode\/microcode_amd(?:_(fam[0-9a-f]+h))?\.bin$/,
    path: 'kernel/x86/microcode/AuthenticAMD.bin',
    problem: (octets) =>
      view(octets).byteLength >= 12 && view(octets).getUint32(0, true) === 0x0041_4d44
        ? undefined
        : 'is no container of AMD microcode',
  },
} as const satisfies Record<string, Maker>;

type MakerName = keyof typeof MICROCODE;

/** Whether a file of a package is microcode: all else of it need not be looked at. */
export function isMicrocode(path: string): boolean {
  return Object.values(MICROCODE).some(({ files }) => files.test(mergedPath(path)));
}

/** What a recipe may say. */
export const MICROCODE_WISH = /^(?:intel(?:\/[0-9a-f]{2}(?:-[0-9a-f]{2}){0,2})?|amd(?:\/fam[0-9a-f]{2}h)?)$/;

/** The package that answers a wish. */
export function microcodePackage(wish: string): string {
  return MICROCODE[makerOf(wish)].package;
}

function makerOf(wish: string): MakerName {
  return wish.startsWith('intel') ? 'intel' : 'amd';
}

export type MicrocodeLayer =
  | { readonly ok: true; readonly files: readonly { readonly entry: CpioEntry; readonly owner: string }[] }
  /** `wish` that cannot be answered; undefined where a file is damaged. */
  | { readonly ok: false; readonly wish: string | undefined; readonly why: string };

/** The files of the layer: for each maker that a wish names, its updates in the order of their names, one after the other. */
export function layoutMicrocode(
  wishes: readonly string[],
  packages: readonly PackageContent<Uint8Array>[],
): MicrocodeLayer {
  const joined: { entry: Extract<CpioEntry, { kind: 'file' }>; owner: string }[] = [];
  for (const [name, maker] of Object.entries(MICROCODE) as [MakerName, Maker][]) {
    const own = wishes.filter((wish) => makerOf(wish) === name);
    if (own.length === 0) continue;
    const files = (packages.find((one) => one.name === maker.package)?.entries ?? [])
      .flatMap((entry) => {
        const path = mergedPath(entry.path);
        const processor = maker.files.exec(path);
        return entry.kind === 'file' && processor !== null
          ? [{ path, processor: processor[1] ?? '', data: entry.data }]
          : [];
      })
      .sort((a, b) => (a.path < b.path ? -1 : 1));
    const isWanted = (wish: string, processor: string): boolean => processor.startsWith(wish.split('/')[1] ?? '');
    for (const wish of own) {
      if (files.some(({ processor }) => isWanted(wish, processor))) continue;
      return { ok: false, wish, why: `${maker.package} holds no microcode for ${wish}` };
    }
    const wanted = files.filter(({ processor }) => own.some((wish) => isWanted(wish, processor)));
    for (const { path, data } of wanted) {
      const problem = maker.problem(data);
      if (problem !== undefined) return { ok: false, wish: undefined, why: `/${path} of ${maker.package} ${problem}` };
    }
    joined.push({ entry: file(maker.path, joinOctets(wanted.map(({ data }) => data))), owner: maker.package });
  }
  const entries = joined.map(({ entry }) => entry);
  const filler = [0, 4, 8, 12]
    .map((bytes) => file('early_cpio', new Uint8Array(bytes)))
    .find((one) => offsetOf([one, ...entries], MICROCODE.intel.path) % 16 === 0);
  const [first] = joined;
  if (filler === undefined || first === undefined)
    return { ok: false, wish: undefined, why: 'no microcode is asked for' };
  return { ok: true, files: [{ entry: filler, owner: first.owner }, ...joined] };
}

function file(path: string, data: Uint8Array): Extract<CpioEntry, { kind: 'file' }> {
  return { kind: 'file', path, mode: 0o644, uid: 0, gid: 0, data };
}

function joinOctets(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Where the data of a file begin in the archive of these entries: 110 octets of header, name with its NUL, both rounded up to 4. */
function offsetOf(entries: readonly CpioEntry[], path: string): number {
  let at = 0;
  for (const entry of withParents(entries)) {
    at += roundUp4(110 + entry.path.length + 1);
    if (entry.path === path) return at;
    if (entry.kind === 'file') at = roundUp4(at + entry.data.length);
  }
  return 0;
}

function roundUp4(length: number): number {
  return (length + 3) & ~3;
}

function view(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.length);
}

/** Updates follow each other; each is 48 octets of header and data, and its 32-bit words sum to 0. */
function intelProblem(octets: Uint8Array): string | undefined {
  const words = view(octets);
  if (octets.length === 0) return 'is empty';
  for (let at = 0; at < octets.length; ) {
    if (at + 48 > octets.length) return 'ends in the middle of an update';
    if (words.getUint32(at, true) !== 1 || words.getUint32(at + 20, true) !== 1) return 'is no Intel microcode';
    const dataBytes = words.getUint32(at + 28, true);
    // Data of 2000 octets are the form of the oldest processors, which do not say it.
    const totalBytes = dataBytes === 0 ? 2048 : words.getUint32(at + 32, true);
    if (totalBytes < 48 || totalBytes % 4 !== 0 || at + totalBytes > octets.length)
      return 'ends in the middle of an update';
    let sum = 0;
    for (let word = at; word < at + totalBytes; word += 4) sum = (sum + words.getUint32(word, true)) >>> 0;
    if (sum !== 0) return 'is damaged: the sum of an update is not 0';
    at += totalBytes;
  }
  return undefined;
}
