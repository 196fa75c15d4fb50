// netboot/boots/grub.ts - what GRUB is given for a boot plan: the configuration that it looks for, and a machine's own.
//
// Owns: the text of both. Every GRUB asks for /grub/grub.cfg, whoever it runs on; that one is the same for all, holds
// nothing secret, and goes round for ever asking for /grub/MAC.cfg, which is the machine's own and made for each boot.
// Does not own: the plan (site/plan.ts), who may have it (http/route.ts), the iPXE script (script.ts).
//
// Paths have no device in front, so they are fetched as GRUB itself was: by TFTP, or by HTTP after UEFI HTTP boot. GRUB
// 2.06 (Debian 12) knows no other HTTP port than 80. `initrd` takes all layers and joins them.
// Single quotes keep every character; none can be in a word of the command line (schema.ts). There is no && in GRUB.
// Sources: GRUB manual, "Network" ($net_default_mac), "The Shell-like scripting". Pure.

import type { MacAddress } from '../../formats/mac.ts';
import { layerFile } from '../../images/manifest.ts';
import type { BootPlan } from '../site/plan.ts';
import { type BootIdentity, type BootServer, kernelCommandLine, onScreen } from './script.ts';

const RETRY_S = 10;

/** /grub/grub.cfg: the same for all machines. A MAC file that is not to be had leaves GRUB's own words on the screen. */
export const GRUB_ENTRY = `while true; do
  configfile /grub/\${net_default_mac}.cfg
  echo 'rouse: trying again in ${RETRY_S} s'
  sleep ${RETRY_S}
done
`;

/** A machine's own configuration. What fails returns to GRUB_ENTRY, which asks again. */
export function grubScript(plan: BootPlan, server: BootServer, identity: BootIdentity): string {
  const { node, profile, target } = plan;
  const title = `rouse: ${node.name} boots as ${profile.name}`;
  switch (target.kind) {
    case 'local':
      // GRUB ends, and the firmware goes on to its next boot entry.
      return lines(say(`${title} from its own disk`), 'exit');
    case 'chain':
      return grubRefusal(`${node.name} chains to ${target.url}, which is for iPXE: set loader: snponly, or ipxe`);
    case 'linux': {
      const words = kernelCommandLine(plan, server, identity).map((word) => `'${word}'`);
      const files = [...target.layers.map((layer) => `/layer/${layerFile(layer)}`), `/boot/${identity.bootId}/overlay`];
      return lines(
        say(`${title}, image ${target.image} generation ${target.generation}, boot ${identity.bootId}`),
        `if linux /kernel/${target.kernel.sha256} ${words.join(' ')}; then`,
        `  if initrd ${files.join(' ')}; then`,
        '    boot',
        '  fi',
        'fi',
        say(`rouse: ${node.name} could not load its boot files`),
      );
    }
  }
}

/** For a machine of ours that cannot boot now: the reason on its screen. */
export function grubRefusal(why: string, _server?: BootServer, _mac?: MacAddress): string {
  return lines(say(`rouse: ${why}`));
}

function say(text: string): string {
  return `echo '${onScreen(text).replaceAll("'", '`')}'`;
}

function lines(...all: string[]): string {
  return `${all.join('\n')}\n`;
}
