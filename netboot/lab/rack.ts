// netboot/lab/rack.ts - a virtual rack: its names, its site files, its services and its machines' QEMU arguments.
//
// Owns: everything about a lab that can be known without touching the machine.
// Does not own: namespaces, taps and processes (rack.io.ts), the accelerator probe (accel.io.ts).
//
// A rack is one network namespace with one bridge, rack0, to which each QEMU machine is tapped. The boot server runs
// inside it, so that real DHCP crosses a real (virtual) wire and nothing leaves this machine. Pure.

import { type MacAddress, parseMac } from '../../formats/mac.ts';
import { expandNoderange } from '../site/noderange.ts';

/** The bridge of every rack; it lives in a namespace of its own, so racks do not collide. */
export const RACK_INTERFACE = 'rack0';
export const RACK_SERVER = '10.77.0.1';
export const RACK_PREFIX_LENGTH = 24;
/** What the load balancers of a lab offer to clients. */
const RACK_VIP = '10.77.0.200';

/** How a virtual machine starts: which firmware, and so which way through DHCP, TFTP and HTTP. */
type Firmware = 'bios' | 'uefi';

export type LabNode = {
  readonly name: string;
  readonly mac: MacAddress;
  readonly address: string;
  readonly memoryMiB: number;
  readonly firmware: Firmware;
  /** The profile that its node file starts with. */
  readonly profile: LabProfile;
};

/** The profiles of a lab, each with the image that it boots. */
export type LabProfile = 'web' | 'lb';

/** The accelerators of QEMU that a lab may use. */
export type Accelerator = 'kvm' | 'tcg';

/** The files of one machine below the run folder. */
export type NodePaths = { readonly qmp: string; readonly console: string; readonly consoleLog: string };

/** Interface names in Linux have at most 15 characters, so the tap is named by number and not by node. */
export function tapName(index: number): string {
  return `tap${index}`;
}

/** How the machines of a profile are numbered: MACs end in macBase + N, addresses in addressBase + N. */
const NUMBERING = {
  web: { macBase: 0x00, addressBase: 10 },
  lb: { macBase: 0x80, addressBase: 1 },
} as const satisfies Record<LabProfile, { macBase: number; addressBase: number }>;

/** Machines of one profile in a lab. */
const LAB_PROFILE_MAX = 80;

/**
 * The Nth machine that starts as this profile: web1, lb2.
 *
 * Its MAC and address follow from its name alone, so that labs of different sizes share their node files. The MAC is
 * locally administered, in QEMU's own range 52:54:00.
 */
export function labNode(profile: LabProfile, number: number): LabNode {
  const { macBase, addressBase } = NUMBERING[profile];
  const mac = parseMac(`52:54:00:77:00:${(macBase + number).toString(16).padStart(2, '0')}`);
  if (mac === undefined || number < 1 || number > LAB_PROFILE_MAX) {
    throw new RangeError(`a lab has at most ${LAB_PROFILE_MAX} machines of a profile, not ${number}`);
  }
  const address = `10.77.0.${addressBase + number}`;
  return { name: `${profile}${number}`, mac, address, memoryMiB: 256, firmware: 'bios', profile };
}

/** Each machine takes 256 MiB and, while it boots, a processor. */
const RACK_MAX = 16;

/**
 * The rack of `rouse lab up --nodes WHAT`.
 *
 * @param what how many, see rackNodes; or which by name: lb1,web[1-2].
 * @returns undefined where it is neither, or too many.
 */
export function rackOf(what: string): readonly LabNode[] | undefined {
  if (/^\d{1,2}$/.test(what)) {
    const count = Number(what);
    return count >= 1 && count <= RACK_MAX ? rackNodes(count) : undefined;
  }
  const named = expandNoderange(what);
  if (!named.ok || named.names.length > RACK_MAX) return undefined;
  const nodes = named.names.flatMap((name): LabNode[] => {
    const [, profile, number] = /^(web|lb)([1-9]\d?)$/.exec(name) ?? [];
    return profile === undefined || Number(number) > LAB_PROFILE_MAX
      ? []
      : [labNode(profile as LabProfile, Number(number))];
  });
  return nodes.length === named.names.length ? nodes : undefined;
}

/** One web server alone; from two on, balancers before web servers. */
function rackNodes(count: number): readonly LabNode[] {
  const balancers = count < 2 ? 0 : Math.min(2, Math.floor(count / 2));
  return Array.from({ length: count }, (_, index) =>
    index < balancers ? labNode('lb', index + 1) : labNode('web', index - balancers + 1),
  );
}

/**
 * Where the lab's page is: the load balancers' virtual address where there are any, else the first node.
 * @param booted the address that the first node has got: its file may have been edited since the lab wrote it.
 */
export function pageAddress(nodes: readonly LabNode[], booted: string | undefined): string {
  return nodes.some(({ profile }) => profile === 'lb') ? RACK_VIP : (booted ?? nodes[0]?.address ?? RACK_SERVER);
}

/**
 * QEMU's arguments for one diskless machine.
 *
 * -nodefaults: no user network of QEMU's, which would answer DHCP itself. The ROM of BIOS machines is iPXE; the boot
 * order makes it the only device. The UUID is fixed by the MAC, as a real board's is by its factory.
 */
export function qemuArguments(node: LabNode, index: number, accelerator: Accelerator, paths: NodePaths): string[] {
  const firmware: Readonly<Record<Firmware, readonly string[]>> = {
    bios: [],
    uefi: ['-drive', 'if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd'],
  };
  const uuid = `77000000-0000-4000-8000-${node.mac.replaceAll(':', '')}`;
  return [
    ...['-name', node.name],
    ...['-machine', 'pc,graphics=off'],
    ...['-accel', accelerator],
    ...['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-m', String(node.memoryMiB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-uuid', uuid],
    ...firmware[node.firmware],
    ...['-boot', 'n'],
    ...['-netdev', `tap,id=net0,ifname=${tapName(index)},script=no,downscript=no`],
    // With QEMU's ROM iPXE would take the place of UEFI's own PXE too.
    ...['-device', `virtio-net-pci,netdev=net0,mac=${node.mac}${node.firmware === 'uefi' ? ',romfile=' : ''}`],
    ...['-device', 'virtio-rng-pci'],
    ...['-chardev', `socket,id=con,path=${paths.console},server=on,wait=off,logfile=${paths.consoleLog},logappend=off`],
    ...['-serial', 'chardev:con'],
    ...['-qmp', `unix:${paths.qmp},server=on,wait=off`],
  ];
}

/** A POSIX shell word, whatever the text. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_/.:=,+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The run script of the boot server's service directory in a lab.
 *
 * It enters the rack's namespace and keeps two capabilities, those that `rouse netboot` needs to open port 67 and a
 * packet socket; where the clone belongs to a user, it also becomes that user.
 */
export function netbootRunScript(facts: {
  namespace: string;
  rouse: string;
  home: string;
  owner: { uid: number; gid: number };
}): string {
  const { namespace, rouse, home, owner } = facts;
  const capabilities = '+net_bind_service,+net_raw';
  const identity =
    owner.uid === 0
      ? ''
      : ` --reuid ${owner.uid} --regid ${owner.gid} --clear-groups --ambient-caps -all,${capabilities}`;
  return `#!/bin/sh
# The boot server of this lab: inside the rack's network namespace, with the two capabilities it needs and no other.
exec 2>&1
ROUSE_HOME=${shellWord(home)}
export ROUSE_HOME
exec ip netns exec ${shellWord(namespace)} setpriv${identity} --inh-caps -all,${capabilities} --bounding-set -all,${capabilities} --no-new-privs ${shellWord(rouse)} netboot
`;
}

/** The run script of a log service that keeps ten files of a megabyte. */
export const LOG_RUN_SCRIPT = `#!/bin/sh
exec multilog t s1000000 n10 ./main
`;

/** The files that a new lab starts from; they are the operator's from then on and never overwritten. */
export function siteFiles(nodes: readonly LabNode[]): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const hasBalancers = nodes.some(({ profile }) => profile === 'lb');
  files.set(
    'rouse.yaml',
    `# The boot server of this lab. Edit and save: it is read again at once; \`rouse check\` says what is wrong.
version: 1
subnets:
  - name: rack
    interface: ${RACK_INTERFACE}
    network: 10.77.0.0/${RACK_PREFIX_LENGTH}
    mode: dhcp
    pools: [10.77.0.100-10.77.0.199]
    router: ${RACK_SERVER}
    dns: [${RACK_SERVER}]
    leaseTimeS: 3600
    unknown: ignore
http: {port: 8080}
# Load balancers fill themselves from this: every node whose profile is web.
pools:
  web: {match: {profile: web}, minimum: 1}
`,
  );
  if (hasBalancers) {
    files.set(
      'profiles/lb.yaml',
      `# What a load balancer of this lab is. Its pool is named in rouse.yaml.
extends: role/lb
image: lb
cmdline: [console=ttyS0, rouse.console=shell]
loader: undionly
vars:
  advertIntervalS: 4      # emulated machines stall for seconds; on real ones leave it at 1
  virtualServices:
    - {vip: ${RACK_VIP}, port: 80, mode: dr, scheduler: rr, pool: web, check: {kind: http, path: /healthz}}
`,
    );
  }
  files.set(
    'profiles/web.yaml',
    `# What a web server of this lab is. Change the greeting, then: rouse lab reboot web1
extends: role/web
image: web
cmdline: [console=ttyS0, rouse.console=shell]   # a root shell on the console: right for a lab, wrong for a rack
loader: undionly      # QEMU's network card holds iPXE already; this makes it fetch ours by TFTP, as real BIOSes do
vars:
  greeting: Hello from a machine without a disk
`,
  );
  for (const node of nodes) {
    files.set(
      `nodes/${node.name}.yaml`,
      `macs: [${node.mac}]
profile: ${node.profile}
address: ${node.address}
labels: {rack: lab}
`,
    );
  }
  return files;
}

/** What is remembered of a running lab, so that any later command can find or remove it. */
export type LabState = {
  readonly version: 1;
  readonly namespace: string;
  readonly nodes: readonly LabNode[];
  readonly accelerator: Accelerator;
  /** The URL on localhost that reaches the first node; absent until the forwarder listens. */
  readonly url?: string;
  /** Every process of the lab by its part: "up", "supervise", "forward", "node:web1". */
  readonly processes: Readonly<Record<string, ProcessMark>>;
};

/** A process that cannot be confused with a later one of the same number (proc(5), /proc/PID/stat field 22). */
export type ProcessMark = { readonly pid: number; readonly startTicks: string; readonly bootId: string };

/** The namespace's name: two clones on one machine do not meet. @param digest hexadecimal hash of the run folder. */
export function namespaceName(digest: string): string {
  return `rouse-${digest.slice(0, 8)}`;
}
