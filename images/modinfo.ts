// images/modinfo.ts - what a kernel module says of itself.
//
// Owns: the words of the .modinfo section, and of modules.builtin.modinfo, which has the same form with the module's
// name before each word. Does not own: ordering and choosing modules (modules.ts).
//
// Debian's kernel package ships no modules.dep (depmod runs in its postinst), so dependencies are read here. To read
// another word, add it to ModuleInfo and to the switch. Sources: Linux include/linux/module.h, modinfo(8). Pure.

import { readElfSection } from './elf.ts';

export type ModuleInfo = {
  /** As the kernel knows it: underscores, never dashes. */
  readonly name: string;
  /** Modules that must be loaded before. */
  readonly depends: readonly string[];
  /** Modules that should be loaded before and after, where they exist (softdep). */
  readonly softBefore: readonly string[];
  readonly softAfter: readonly string[];
  /** Patterns of devices that it drives ("virtio:d00000001v*"), and further names. */
  readonly aliases: readonly string[];
  /** Files that it may ask for, below /lib/firmware. */
  readonly firmware: readonly string[];
};

/** The kernel treats - and _ in module names as the same. */
export function canonicalModuleName(name: string): string {
  return name.trim().replaceAll('-', '_');
}

/**
 * Reads a module file.
 *
 * @param fallbackName its file name without .ko, for modules that do not name themselves.
 * @returns undefined where it is no ELF file with a .modinfo section (a compressed module, for example).
 * @throws never.
 */
export function readModuleInfo(octets: Uint8Array, fallbackName: string): ModuleInfo | undefined {
  const section = readElfSection(octets, '.modinfo');
  if (section === undefined) return undefined;
  return moduleInfoFrom(words(section), fallbackName);
}

/** Reads modules.builtin.modinfo: what is compiled into the kernel, by name. */
export function readBuiltins(octets: Uint8Array): Map<string, ModuleInfo> {
  const byName = new Map<string, [string, string][]>();
  for (const [key, value] of words(octets)) {
    const dot = key.indexOf('.');
    if (dot < 1) continue;
    const name = canonicalModuleName(key.slice(0, dot));
    const list = byName.get(name) ?? [];
    list.push([key.slice(dot + 1), value]);
    byName.set(name, list);
  }
  return new Map([...byName].map(([name, list]) => [name, moduleInfoFrom(list, name)]));
}

/** NUL-terminated key=value words. */
function words(octets: Uint8Array): [string, string][] {
  return new TextDecoder('latin1')
    .decode(octets)
    .split('\0')
    .flatMap((word): [string, string][] => {
      const equals = word.indexOf('=');
      return equals < 1 ? [] : [[word.slice(0, equals), word.slice(equals + 1)]];
    });
}

function moduleInfoFrom(list: readonly [string, string][], fallbackName: string): ModuleInfo {
  let name = canonicalModuleName(fallbackName);
  const depends: string[] = [];
  const softBefore: string[] = [];
  const softAfter: string[] = [];
  const aliases: string[] = [];
  const firmware: string[] = [];
  for (const [key, value] of list) {
    switch (key) {
      case 'name':
        name = canonicalModuleName(value);
        break;
      case 'depends':
        depends.push(
          ...value
            .split(',')
            .map(canonicalModuleName)
            .filter((module) => module !== ''),
        );
        break;
      case 'softdep': {
        let side = softBefore;
        for (const word of value.split(/\s+/)) {
          if (word === 'pre:') side = softBefore;
          else if (word === 'post:') side = softAfter;
          else if (word !== '') side.push(canonicalModuleName(word));
        }
        break;
      }
      case 'alias':
        aliases.push(value);
        break;
      case 'firmware':
        firmware.push(value);
        break;
      default:
        break;
    }
  }
  return { name, depends, softBefore, softAfter, aliases, firmware };
}
