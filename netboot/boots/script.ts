// netboot/boots/script.ts - the iPXE script that a machine is given for its boot plan.
//
// Owns: the text of the script: what is loaded, with which command line, and what happens when something fails (it is
// said on the screen, and tried again for ever: a rack that powers up before its boot server must still come up).
// Does not own: the plan (site/plan.ts), who may have the script (http/route.ts).
//
// Debian 12's iPXE is of 2019: `initrd=` must name each file for the kernel's EFI stub (BIOS ignores it), and
// images are given plain names with --name, because the stub splits its command line at blanks only.
// Everything that a user wrote has passed schema.ts (no blanks, no quotes, no ${…}); free text goes through onScreen.
// Sources: https://ipxe.org/cmd, https://ipxe.org/scripting; kernel Documentation/admin-guide/efi-stub.rst. Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import { type MacAddress, macToBootif } from '../../formats/mac.ts';
import { layerFile } from '../../images/manifest.ts';
import { scriptUrl } from '../dhcp/loaders.ts';
import type { BootPlan } from '../site/plan.ts';

export type BootServer = { readonly address: Ipv4Address; readonly port: number };

/** What the script of a linux boot needs beyond its plan: made when the boot is. */
export type BootIdentity = {
  /** 16 hexadecimal digits. */
  readonly bootId: string;
  /** The overlay's name: SHA-256 of its uncompressed entries before the marker. */
  readonly overlaySha256: string;
};

const RETRY_S = 10;
/** For the node itself to go on working while it loads. */
const KEXEC_RESERVE_KB = 16_384;

/** "http://10.77.0.1:8080". */
function serverUrl({ address, port }: BootServer): string {
  return `http://${address}:${port}`;
}

/**
 * The kernel command line of a linux boot, without the loader's own initrd= words.
 *
 * @returns parameters in order: what rouse sets, then the profile's. No secret is among them.
 */
export function kernelCommandLine(plan: BootPlan, server: BootServer, identity: BootIdentity): string[] {
  const layers = plan.target.kind === 'linux' ? plan.target.layers.map(({ sha256 }) => sha256) : [];
  return [
    `BOOTIF=${macToBootif(plan.node.mac)}`,
    `rouse.server=${server.address}:${server.port}`,
    `rouse.boot=${identity.bootId}`,
    `rouse.layers=${[...layers, identity.overlaySha256].join(',')}`,
    `rouse.readyTimeoutS=${plan.readyTimeoutS}`,
    ...plan.cmdline,
  ];
}

/** The script of a plan. `identity` is used by linux boots only. */
export function bootScript(plan: BootPlan, server: BootServer, identity: BootIdentity): string {
  const { node, profile, target } = plan;
  const title = `echo rouse: ${node.name} boots as ${profile.name}`;
  const tail = retry(`${node.name} could not load its boot files`, server, node.mac);
  switch (target.kind) {
    case 'local':
      return lines(
        '#!ipxe',
        `${title} from its own disk`,
        // EFI firmware goes on to its next boot entry when the loader ends; a BIOS is handed its first disk.
        'iseq ${platform} efi && exit 0 ||',
        'sanboot --no-describe --drive 0x80 || goto again',
        ...tail,
      );
    case 'chain':
      return lines('#!ipxe', `${title} from ${target.url}`, `chain ${target.url} || goto again`, ...tail);
    case 'linux': {
      const base = serverUrl(server);
      const files = [
        ...target.layers.map((layer, index) => ({
          name: `layer${index}`,
          url: `${base}/layer/${layerFile(layer)}`,
        })),
        { name: 'overlay', url: `${base}/boot/${identity.bootId}/overlay` },
      ];
      const parameters = [
        ...files.map(({ name }) => `initrd=${name}`),
        ...kernelCommandLine(plan, server, identity),
      ].join(' ');
      return lines(
        '#!ipxe',
        `${title}, image ${target.image} generation ${target.generation}, boot ${identity.bootId}`,
        'imgfree ||',
        `kernel --name vmlinuz ${base}/kernel/${target.kernel.sha256} ${parameters} || goto again`,
        ...files.map(({ name, url }) => `initrd --name ${name} ${url} || goto again`),
        'boot || goto again',
        ...tail,
      );
    }
  }
}

/** What a node must have free beside its own system: the new one is held twice while it is checked and handed over. */
export function kexecMemoryKb({ target }: BootPlan, overlayBytes: number): number {
  if (target.kind !== 'linux') return 0;
  const bytes = target.kernel.bytes + target.layers.reduce((sum, { servedBytes }) => sum + servedBytes, overlayBytes);
  return Math.ceil((2 * bytes) / 1024) + KEXEC_RESERVE_KB;
}

/** The body of GET …/switch/ID: what a running node fetches, checks and starts by kexec. Paths are of this server. */
export function switchText(
  plan: BootPlan,
  server: BootServer,
  bootId: string,
  overlay: { readonly sha256: string; readonly servedSha256: string; readonly servedBytes: number },
): string {
  const { target } = plan;
  if (target.kind !== 'linux') return '';
  return lines(
    `kernel ${target.kernel.sha256} ${target.kernel.bytes} /kernel/${target.kernel.sha256}`,
    ...target.layers.map((layer) => `initrd ${layer.servedSha256} ${layer.servedBytes} /layer/${layerFile(layer)}`),
    `initrd ${overlay.servedSha256} ${overlay.servedBytes} /boot/${bootId}/overlay`,
    `cmdline ${kernelCommandLine(plan, server, { bootId, overlaySha256: overlay.sha256 }).join(' ')}`,
    `memoryKb ${kexecMemoryKb(plan, overlay.servedBytes)}`,
  );
}

/** The script for a machine of ours that cannot boot now: the reason on its screen, and another try later. */
export function refusalScript(why: string, server: BootServer, mac: MacAddress): string {
  return lines('#!ipxe', `echo rouse: ${onScreen(why)}`, ...retry('no boot for this machine yet', server, mac));
}

/** From label `again` on: say it, wait, ask for a fresh script; while the server is away, go round. */
function retry(what: string, server: BootServer, mac: MacAddress): string[] {
  return [
    ':again',
    `echo rouse: ${what} \${errno}; trying again in ${RETRY_S} s`,
    'imgfree ||',
    `sleep ${RETRY_S}`,
    `chain --replace --autofree ${scriptUrl(serverUrl(server), mac)} || goto again`,
  ];
}

function lines(...all: string[]): string {
  return `${all.join('\n')}\n`;
}

/** Free text as iPXE may echo it: printable ASCII, nothing that it would expand or take for an operator. */
export function onScreen(text: string): string {
  return text
    .replace(/[^ -~]/g, '?')
    .replaceAll('${', '$(')
    .replaceAll('&&', 'and')
    .replaceAll('||', 'or')
    .replaceAll(';', ',')
    .slice(0, 700);
}
