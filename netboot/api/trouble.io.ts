// netboot/api/trouble.io.ts - what an operator must know of the boot server before anything else: the first line of his lists.
//
// Owns: asking it, and the sentence. Small, for `rouse status` asks it too: nothing of the site is loaded for it.

import { askHealth } from './client.io.ts';

/**
 * What an operator must know before anything else: the last good configuration is in force instead of the files, or
 * another DHCP server keeps this one silent. Undefined where all is well, or no boot server runs.
 */
export async function askTrouble({ runDir }: { readonly runDir: string }): Promise<string | undefined> {
  try {
    const health = await askHealth(runDir);
    const silent = health.serving.find(({ isHeld }) => isHeld);
    if (silent !== undefined) return `on ${silent.name}: ${silent.dhcp}`;
    if (health.config === 'good') return undefined;
    return `an edit was refused, and the last good configuration is in force: ${health.problems[0] ?? ''}; see all with: rouse check`;
  } catch {
    return undefined;
  }
}
