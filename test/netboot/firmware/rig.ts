// test/netboot/firmware/rig.ts - one real machine before one whole boot server, for the tests of what firmware does.
//
// Owns: a namespace with a bridge and a tap, `rouse netboot` in it on a real image, a QEMU guest of any firmware, and what
// both said. Machines are emulated: a boot takes a minute or more, so tests wait for lines and time out late.
// Needs root, QEMU and the firmware's Debian package (the table below; the tests fail without it).

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeTree } from '../home.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const RUN = fileURLToPath(new URL('../run-netboot.ts', import.meta.url));

export const MAC = '52:54:00:77:00:01';
export const SERVER = '10.77.0.1';
export const ADDRESS = '10.77.0.11';
/** An emulated machine that has not said what is waited for in this time never will. */
const STUCK_MS = 900_000;

/** OVMF tries PXE before HTTP boot unless it is told to leave PXE out. Source: edk2 OvmfPkg/PlatformDxe. */
const without = (name: string): string[] => ['-fw_cfg', `name=opt/org.tianocore/${name},string=n`];
const WITHOUT_PXE = [...without('IPv4PXESupport'), ...without('IPv6PXESupport')];
const X64 = ['qemu-system-x86_64', '-machine', 'pc,graphics=off', '-cpu', 'max', '-m', '512', '-boot', 'n'];
const OVMF = ['-drive', 'if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd'];
const AAVMF = '/usr/share/AAVMF/AAVMF_CODE.fd';
const ARM64 = ['qemu-system-aarch64', '-machine', 'virt', '-cpu', 'cortex-a57', '-m', '512', '-bios', AAVMF];

type Machine = {
  readonly package: string;
  readonly needs: string;
  readonly rom: boolean;
  readonly qemu: readonly string[];
  /** The firmware's variables, with the keys of Secure Boot; each machine has a copy. */
  readonly keys?: string;
};

/**
 * QEMU for each kind of machine, and the Debian package that must be there. `rom`: the card has QEMU's own ROM, which is
 * iPXE; without it UEFI boots with its own drivers.
 */
export const MACHINES = {
  bios: { package: 'ipxe-qemu', needs: '/usr/lib/ipxe/qemu/pxe-virtio.rom', rom: true, qemu: X64 },
  'uefi-pxe': { package: 'ovmf', needs: '/usr/share/OVMF/OVMF_CODE.fd', rom: false, qemu: [...X64, ...OVMF] },
  'uefi-http': {
    package: 'ovmf',
    needs: '/usr/share/OVMF/OVMF_CODE.fd',
    rom: false,
    qemu: [...X64, ...OVMF, ...WITHOUT_PXE],
  },
  'uefi-secure': {
    package: 'ovmf',
    needs: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd',
    rom: false,
    qemu: [
      ...['qemu-system-x86_64', '-machine', 'q35,graphics=off,smm=on', '-cpu', 'max', '-m', '512', '-boot', 'n'],
      ...['-global', 'driver=cfi.pflash01,property=secure,value=on'],
      // A minute of its own between PXE and HTTP boot, for which there is nobody to answer.
      ...without('IPv6PXESupport'),
      ...['-drive', 'if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.ms.fd'],
    ],
    keys: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd',
  },
  'arm64-pxe': { package: 'qemu-efi-aarch64', needs: AAVMF, rom: false, qemu: ARM64 },
  'arm64-http': { package: 'qemu-efi-aarch64', needs: AAVMF, rom: false, qemu: [...ARM64, ...WITHOUT_PXE] },
} as const satisfies Record<string, Machine>;

/** Builds the image `web` and fetches the loaders, with the cache of the clone; a home that tests link to. */
export function buildHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'rouse-firmware-'));
  const env = {
    ...process.env,
    ROUSE_HOME: home,
    ROUSE_CACHE: process.env['ROUSE_CACHE'] ?? join(ROOT, '.rouse', 'cache'),
  };
  for (const words of [
    ['image', 'build', 'web'],
    ['image', 'loaders'],
  ]) {
    execFileSync(join(ROOT, 'bin', 'rouse'), words, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return home;
}

export type RigOptions = {
  readonly machine: keyof typeof MACHINES;
  readonly loader: string;
  readonly mode?: 'dhcp' | 'proxy';
  /** Files put into lib/loaders. */
  readonly loaders?: Readonly<Record<string, string>>;
};

export class Rig {
  readonly space = `rouse-fw${process.pid}`;
  readonly #folder = mkdtempSync(join(tmpdir(), 'rouse-rig-'));
  readonly #children: ChildProcess[] = [];
  readonly #options: RigOptions;
  readonly #spaces: string[] = [];

  /** @param home of buildHome; undefined where nothing is to be booted. */
  constructor(home: string | undefined, options: RigOptions) {
    this.#options = options;
    const { machine, loader, mode = 'dhcp', loaders = {} } = options;
    const { needs, package: from } = MACHINES[machine];
    if (!existsSync(needs)) throw new Error(`${needs} is not there: apt-get install ${from}`);
    mkdirSync(join(this.#folder, 'lib'), { recursive: true });
    if (home !== undefined) {
      for (const name of ['images', 'loaders', 'keys'])
        symlinkSync(join(home, 'lib', name), join(this.#folder, 'lib', name));
    }
    symlinkSync(join(ROOT, 'services'), join(this.#folder, 'services'));
    const pools = mode === 'dhcp' ? 'pools: [10.77.0.100-10.77.0.199], ' : '';
    writeTree(this.#folder, {
      'etc/rouse.yaml': `version: 1\nsubnets:\n  - {name: rack, interface: rack0, network: 10.77.0.0/24, mode: ${mode}, ${pools}router: ${SERVER}}\n`,
      'etc/profiles/web.yaml': `extends: role/web\nimage: web\nloader: ${loader}\ncmdline: [console=ttyS0]\n`,
      'etc/nodes/web1.yaml': `macs: ["${MAC}"]\nprofile: web\n${mode === 'dhcp' ? `address: ${ADDRESS}\n` : ''}`,
      ...Object.fromEntries(Object.entries(loaders).map(([name, text]) => [`lib/loaders/${name}`, text])),
    });
    for (const words of [
      ['netns', 'add', this.space],
      ['-n', this.space, 'link', 'set', 'lo', 'up'],
      ['-n', this.space, 'link', 'add', 'rack0', 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0'],
      ['-n', this.space, 'address', 'add', `${SERVER}/24`, 'dev', 'rack0'],
      ['-n', this.space, 'link', 'set', 'rack0', 'up'],
      ['-n', this.space, 'tuntap', 'add', 'tap0', 'mode', 'tap'],
      ['-n', this.space, 'link', 'set', 'tap0', 'master', 'rack0', 'up'],
    ]) {
      execFileSync('ip', words);
    }
  }

  get folder(): string {
    return this.#folder;
  }

  /** Starts a program in the namespace; its output goes to NAME.log of the folder. */
  start(name: string, program: string, args: readonly string[], space = this.space): void {
    const log = openSync(join(this.#folder, `${name}.log`), 'a');
    const child = spawn('ip', ['netns', 'exec', space, program, ...args], { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#children.push(child);
  }

  /** A bridge on which no machine is on has no carrier, and is no interface to serve: power() comes first. */
  async serve(): Promise<void> {
    this.start('netboot', process.execPath, ['--disable-warning=ExperimentalWarning', RUN, this.#folder]);
    await this.said('netboot', /serving DHCP, TFTP and HTTP/);
  }

  /** dnsmasq as the DHCP server that is there already, on a wire of its own; it knows nothing of booting. */
  otherDhcp(): void {
    const space = `${this.space}d`;
    this.#spaces.push(space);
    for (const words of [
      ['netns', 'add', space],
      ['-n', space, 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'other', 'netns', this.space],
      ['-n', space, 'address', 'add', '10.77.0.2/24', 'dev', 'd0'],
      ['-n', space, 'link', 'set', 'd0', 'up'],
      ['-n', this.space, 'link', 'set', 'other', 'master', 'rack0', 'up'],
    ]) {
      execFileSync('ip', words);
    }
    const words = ['--keep-in-foreground', '--conf-file=/dev/null', '--port=0', '--user=root', '--log-facility=-'];
    const dhcp = ['--log-dhcp', '--dhcp-authoritative', `--dhcp-leasefile=${this.#folder}/leases`];
    const range = ['--dhcp-range=10.77.0.11,10.77.0.60,1h', `--dhcp-host=${MAC},${ADDRESS}`];
    this.start('dnsmasq', 'dnsmasq', [...words, ...dhcp, ...range], space);
  }

  /** Switches the machine on. */
  power(): void {
    const { qemu, rom, keys }: Machine = MACHINES[this.#options.machine];
    const vars = join(this.#folder, 'vars.fd');
    if (keys !== undefined && !existsSync(vars)) copyFileSync(keys, vars);
    const [program = '', ...args] = qemu;
    // What the machine said before is not to be taken for what it says now.
    rmSync(join(this.#folder, 'console.log'), { force: true });
    this.start('qemu', program, [
      ...args,
      ...(keys === undefined ? [] : ['-drive', `if=pflash,format=raw,unit=1,file=${vars}`]),
      ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-uuid', '11223344-5566-7788-99aa-bbccddeeff00'],
      ...['-netdev', 'tap,id=net0,ifname=tap0,script=no,downscript=no'],
      ...['-device', `virtio-net-pci,netdev=net0,mac=${MAC}${rom ? '' : ',romfile='}`],
      ...['-device', 'virtio-rng-pci'],
      ...['-serial', `file:${join(this.#folder, 'console.log')}`],
    ]);
  }

  /** Pulls the plug; power() may follow. */
  async cut(): Promise<void> {
    const machine = this.#children.findLast(({ spawnargs }) =>
      spawnargs.some((word) => word.startsWith('qemu-system-')),
    );
    if (machine === undefined) return;
    this.#children.splice(this.#children.indexOf(machine), 1);
    machine.kill('SIGKILL');
    if (machine.exitCode === null && machine.signalCode === null) await once(machine, 'exit');
  }

  text(name: string): string {
    const file = join(this.#folder, `${name}.log`);
    return existsSync(file) ? readFileSync(file, 'latin1') : '';
  }

  /** Waits for a line of NAME.log. @throws Error with the ends of all logs. */
  async said(name: string, what: RegExp): Promise<void> {
    const untilMs = performance.now() + STUCK_MS;
    while (!what.test(this.text(name))) {
      const ended = this.#children.find(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null);
      if (ended !== undefined || performance.now() > untilMs) {
        throw new Error(`${name} did not say ${what}\n${this.evidence()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  evidence(): string {
    return ['netboot', 'qemu', 'console', 'dnsmasq']
      .map(
        (name) =>
          `--- ${name}\n${this.text(name)
            .replaceAll(/[^\n -~]/g, '')
            .slice(-3000)}`,
      )
      .join('\n');
  }

  async take(): Promise<void> {
    for (const child of this.#children.splice(0).reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    for (const space of [this.space, ...this.#spaces]) execFileSync('ip', ['netns', 'del', space]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
