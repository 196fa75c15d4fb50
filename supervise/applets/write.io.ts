// supervise/applets/write.io.ts - writing the launchers into a folder.
//
// Owns: reading scripts/, replacing each file as a whole. Does not own: their text (table.ts).

import { mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fault, reasonOf } from '../../formats/errors.ts';
import { APPLETS, frontApplet, isAppletArch, perlApplet, scriptsOf } from './table.ts';
import type { AppletName } from './table.ts';

export type AppletSource = {
  /** The folder supervise/applets/scripts of this copy of rouse. */
  readonly scriptsDir: string;
  /** Absolute words that start front.io.ts: interpreter, flags, program. */
  readonly front: readonly string[];
};

/**
 * Writes every applet, mode 0755; one that is there is replaced at once, so that who runs it meanwhile is not disturbed.
 *
 * @returns the names written, in the table's order.
 * @throws Fault E_STORE where the folder cannot be written, E_MISSING_TOOL on an architecture without a row.
 */
export function writeApplets(directory: string, { scriptsDir, front }: AppletSource): AppletName[] {
  const { arch } = process;
  if (!isAppletArch(arch)) {
    throw new Fault('E_MISSING_TOOL', {
      what: 'cannot write the applets',
      why: `they are known for x64 and arm64, and this machine is ${arch}`,
    });
  }
  const names = Object.keys(APPLETS) as AppletName[];
  try {
    mkdirSync(directory, { recursive: true });
    for (const name of names) {
      const text =
        APPLETS[name].kind === 'front'
          ? frontApplet(name, front)
          : perlApplet(
              name,
              scriptsOf(name).map((script) => readFileSync(join(scriptsDir, script), 'utf8')),
              arch,
            );
      replaceProgram(join(directory, name), text);
    }
  } catch (thrown) {
    throw new Fault('E_STORE', { what: `cannot write the applets to ${directory}`, why: reasonOf(thrown) });
  }
  return names;
}

function replaceProgram(path: string, text: string): void {
  const beside = `${path}.new`;
  try {
    writeFileSync(beside, text, { mode: 0o755, flush: true });
    renameSync(beside, path);
  } catch (thrown) {
    try {
      unlinkSync(beside);
    } catch {
      // It was never written.
    }
    throw thrown;
  }
}
