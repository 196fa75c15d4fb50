// images/modules.ts - which kernel modules an image carries, and in what order a node loads them.
//
// Owns: the table of machine classes, the closure over dependencies, the load list, and the files of the image: the modules,
// modules.dep, modules.alias and modules.softdep for busybox's modprobe, and what init reads.
// Does not own: reading a module (modinfo.ts), the kernel package (kernel.io.ts).
//
// To make another class of machines bootable, add a row to MODULE_CLASSES. `load` is loaded by init in that order;
// `coldplug` modules are carried, and loaded on the nodes that have a device which asks for them.
// Sources: modules.dep(5), depmod(8), modprobe(8); NIC list by size in Debian 12's linux-image-amd64. Pure.

import type { Content } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import { canonicalModuleName, type ModuleInfo } from './modinfo.ts';

type ModuleClass = {
  /** One sentence for people. */
  readonly text: string;
  /** Loaded on every node, in this order. */
  readonly load: readonly string[];
  /** Carried, and loaded where a device's modalias names them. */
  readonly coldplug: readonly string[];
  /** Modules of the two lists that a kernel may lack (another flavour has them) without the image being refused. */
  readonly optional: boolean;
};

const VIRTIO = [
  'virtio_pci',
  'virtio_net',
  'virtio_blk',
  'virtio_rng',
  'virtio_balloon',
  'virtio_console',
  'qemu_fw_cfg',
];
const CLOUD = ['ena', 'gve', 'vmxnet3', 'hv_netvsc', 'xen_netfront', 'mlx4_en', 'mlx5_core', 'nvme', 'nvme_tcp'];
const METAL = [
  ...['e1000', 'e1000e', 'igb', 'igc', 'ixgbe', 'i40e', 'ice', 'iavf'],
  ...['bnx2', 'bnx2x', 'bnxt_en', 'tg3', 'r8169', 'mlx4_en', 'mlx5_core', 'qede', 'sfc', 'atlantic', 'cxgb4', 'be2net'],
  ...['ahci', 'nvme', 'megaraid_sas', 'mpt3sas', 'sd_mod', 'usb_storage', 'uas', 'xhci_pci', 'ehci_pci'],
  // A USB keyboard needs both, and no driver depends on the second.
  ...['usbhid', 'hid_generic'],
  ...['ipmi_si', 'ipmi_devintf', 'ipmi_watchdog', 'iTCO_wdt', 'i6300esb', 'sp5100_tco'],
];

export const MODULE_CLASSES = {
  none: { text: 'no modules: everything is built into the kernel', load: [], coldplug: [], optional: false },
  virtio: { text: 'virtual machines of QEMU, KVM and their kin', load: VIRTIO, coldplug: [], optional: false },
  cloud: { text: 'virtual machines of the large clouds', load: VIRTIO, coldplug: CLOUD, optional: true },
  metal: { text: 'physical servers', load: [], coldplug: [...VIRTIO, ...METAL], optional: true },
  all: { text: 'anything', load: [], coldplug: [...new Set([...VIRTIO, ...CLOUD, ...METAL])], optional: true },
} as const satisfies Record<string, ModuleClass>;

export type ModuleClassName = keyof typeof MODULE_CLASSES;
export const MODULE_CLASS_NAMES = Object.keys(MODULE_CLASSES) as [ModuleClassName, ...ModuleClassName[]];

/** A module of the kernel package: where it lies and what it says. */
export type KernelModule = { readonly path: string; readonly info: ModuleInfo };

export type ModuleSelection = {
  /** Every carried module, each after all that it depends on. */
  readonly modules: readonly KernelModule[];
  /** Names that init loads on every node, in order, dependencies included. */
  readonly load: readonly string[];
  /** Wanted by the class but absent from this kernel, which is allowed by the class. */
  readonly absent: readonly string[];
  /** Firmware that a carried module may ask for. */
  readonly firmware: readonly { readonly module: string; readonly file: string }[];
};

export type SelectionResult =
  | { readonly ok: true; readonly selection: ModuleSelection }
  | { readonly ok: false; readonly problems: readonly { readonly module: string; readonly message: string }[] };

/**
 * Chooses modules and everything they depend on.
 *
 * @param wanted names by the class, and those that a recipe adds; the latter must exist.
 * @param find the module of that canonical name; undefined where the kernel package has none.
 * @param builtin whether the kernel has it compiled in.
 */
export function selectModules({
  className,
  extra,
  find,
  builtin,
}: {
  readonly className: ModuleClassName;
  readonly extra: readonly string[];
  readonly find: (name: string) => KernelModule | undefined;
  readonly builtin: (name: string) => boolean;
}): SelectionResult {
  const { load, coldplug, optional }: ModuleClass = MODULE_CLASSES[className];
  const problems: { module: string; message: string }[] = [];
  const absent: string[] = [];
  const ordered = new Map<string, KernelModule>();
  const visiting = new Set<string>();

  const add = (raw: string, askedBy: string | undefined, required: boolean): void => {
    const name = canonicalModuleName(raw);
    if (ordered.has(name) || visiting.has(name) || builtin(name)) return;
    const module = find(name);
    if (module === undefined) {
      if (!required) absent.push(name);
      else {
        const why =
          askedBy === undefined
            ? 'the kernel package has no such module'
            : `${askedBy} depends on it, and the kernel package lacks it`;
        problems.push({ module: name, message: why });
      }
      return;
    }
    visiting.add(name);
    for (const before of module.info.depends) add(before, name, true);
    for (const soft of module.info.softBefore) if (find(soft) !== undefined) add(soft, name, false);
    ordered.set(name, module);
    visiting.delete(name);
    for (const soft of module.info.softAfter) if (find(soft) !== undefined) add(soft, name, false);
  };

  for (const name of load) add(name, undefined, !optional);
  for (const name of extra) add(name, undefined, true);
  const loadList = [...ordered.keys()];
  for (const name of coldplug) add(name, undefined, !optional);
  if (problems.length > 0) return { ok: false, problems };
  const modules = [...ordered.values()];
  const firmware = modules.flatMap(({ info }) => info.firmware.map((file) => ({ module: info.name, file })));
  return { ok: true, selection: { modules, load: loadList, absent: [...new Set(absent)], firmware } };
}

/**
 * What a recipe asks for and the image lacks.
 *
 * @param paths of the modules' layer, such as "usr/lib/modules/6.1.0/kernel/net/netfilter/ipvs/ip_vs.ko".
 * @returns indices into `wanted`.
 */
export function missingModules(
  wanted: readonly string[],
  paths: readonly string[],
  builtins: ReadonlySet<string>,
): number[] {
  const carried = new Set(
    paths.flatMap((path) => {
      const file = /([^/]+)\.ko$/.exec(path)?.[1];
      return file === undefined ? [] : [canonicalModuleName(file)];
    }),
  );
  return wanted.flatMap((name, index) => {
    const canonical = canonicalModuleName(name);
    return carried.has(canonical) || builtins.has(canonical) ? [] : [index];
  });
}

/** The files that modprobe reads, below /usr/lib/modules/RELEASE; paths in them are relative to that folder. */
export function renderModuleIndex(modules: readonly KernelModule[]): { dep: string; alias: string; softdep: string } {
  const byName = new Map(modules.map((module) => [module.info.name, module]));
  /** Each behind all that it depends on. */
  const closure = (name: string, seen: Set<string>): string[] => {
    const module = byName.get(name);
    if (module === undefined || seen.has(name)) return [];
    seen.add(name);
    return [...module.info.depends.flatMap((before) => closure(before, seen)), module.path];
  };
  const lines = (list: readonly string[]): string => (list.length === 0 ? '' : `${[...list].sort().join('\n')}\n`);
  return {
    dep: lines(
      modules.map(({ path, info }) => {
        const seen = new Set([info.name]);
        // modprobe loads from the end of the line: a module that two others need must stand behind both.
        return `${path}:${info.depends
          .flatMap((before) => closure(before, seen))
          .reverse()
          .map((file) => ` ${file}`)
          .join('')}`;
      }),
    ),
    alias: lines(modules.flatMap(({ info }) => info.aliases.map((alias) => `alias ${alias} ${info.name}`))),
    softdep: lines(
      modules.flatMap(({ info }) => {
        const before = info.softBefore.filter((name) => byName.has(name));
        const after = info.softAfter.filter((name) => byName.has(name));
        if (before.length + after.length === 0) return [];
        const words = [
          ...(before.length > 0 ? ['pre:', ...before] : []),
          ...(after.length > 0 ? ['post:', ...after] : []),
        ];
        return [`softdep ${info.name} ${words.join(' ')}`];
      }),
    ),
  };
}

/**
 * Modules as files of an image, what modprobe needs, and what init reads: the modules that it loads on every node, and whether
 * there are more, which devices ask for.
 *
 * @param contentOf a module of the package, by its path below /usr/lib/modules/RELEASE.
 */
export function moduleEntries(
  release: string,
  { modules, load }: Pick<ModuleSelection, 'modules' | 'load'>,
  contentOf: (path: string) => Content,
): CpioEntry<Content>[] {
  const folder = `usr/lib/modules/${release}`;
  const utf8 = new TextEncoder();
  const file = (path: string, data: Content): CpioEntry<Content> => ({
    kind: 'file',
    path,
    mode: 0o644,
    uid: 0,
    gid: 0,
    data,
  });
  const index = renderModuleIndex(modules);
  const filesByName = new Map(modules.map(({ path, info }) => [info.name, path]));
  const list = load.map((name) => `/${folder}/${filesByName.get(name) ?? ''}\n`).join('');
  return [
    ...modules.map(({ path }) => file(`${folder}/${path}`, contentOf(path))),
    file(`${folder}/modules.dep`, utf8.encode(index.dep)),
    file(`${folder}/modules.alias`, utf8.encode(index.alias)),
    file(`${folder}/modules.softdep`, utf8.encode(index.softdep)),
    file('etc/rouse/modules', utf8.encode(list)),
    ...(modules.length > load.length ? [file('etc/rouse/coldplug', new Uint8Array(0))] : []),
  ];
}
