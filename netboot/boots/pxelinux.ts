// netboot/boots/pxelinux.ts - what PXELINUX is given for a boot plan: its configuration file pxelinux.cfg/01-MAC.
//
// Owns: its text. The file comes by TFTP, as lpxelinux.0 itself did; what it names comes by HTTP, which lpxelinux speaks.
// Does not own: the plan (site/plan.ts), who may have it (http/route.ts), the iPXE script (script.ts).
//
// What fails ends at PXELINUX's prompt, which after TIMEOUT takes the default again: CONFIG, which asks for a fresh file.
// INITRD takes all layers and joins them; the names go on the command line too, of which the kernel keeps 2048 characters.
// Source: https://wiki.syslinux.org/wiki/index.php?title=Config. Pure.

import { type MacAddress, macToBootif } from '../../formats/mac.ts';
import { layerFile } from '../../images/manifest.ts';
import type { BootPlan } from '../site/plan.ts';
import { type BootIdentity, type BootServer, kernelCommandLine, onScreen } from './script.ts';

const RETRY_TENTHS_S = 100;

/** A machine's own configuration. */
export function pxelinuxScript(plan: BootPlan, server: BootServer, identity: BootIdentity): string {
  const { node, profile, target } = plan;
  const title = `rouse: ${node.name} boots as ${profile.name}`;
  switch (target.kind) {
    case 'local':
      return lines(`SAY ${onScreen(title)} from its own disk`, 'DEFAULT disk', 'LABEL disk', '  LOCALBOOT 0');
    case 'chain':
      return pxelinuxRefusal(
        `${node.name} chains to ${target.url}, which is for iPXE: set loader: undionly, or ipxe`,
        server,
        node.mac,
      );
    case 'linux': {
      const base = `http://${server.address}:${server.port}`;
      const files = [
        ...target.layers.map((layer) => `${base}/layer/${layerFile(layer)}`),
        `${base}/boot/${identity.bootId}/overlay`,
      ];
      return lines(
        `SAY ${onScreen(`${title}, image ${target.image} generation ${target.generation}, boot ${identity.bootId}`)}`,
        'DEFAULT rouse',
        'ONERROR again',
        'LABEL rouse',
        `  KERNEL ${base}/kernel/${target.kernel.sha256}`,
        `  INITRD ${files.join(',')}`,
        `  APPEND ${kernelCommandLine(plan, server, identity).join(' ')}`,
        ...again(node.mac),
      );
    }
  }
}

/** For a machine of ours that cannot boot now: the reason on its screen, and another try. */
export function pxelinuxRefusal(why: string, _server: BootServer, mac: MacAddress): string {
  return lines(`SAY rouse: ${onScreen(why)}; trying again in 10 s`, 'DEFAULT again', 'PROMPT 1', ...again(mac));
}

function again(mac: MacAddress): string[] {
  return [`TIMEOUT ${RETRY_TENTHS_S}`, 'LABEL again', `  CONFIG pxelinux.cfg/${macToBootif(mac)}`];
}

function lines(...all: string[]): string {
  return `${all.join('\n')}\n`;
}
