// bin/servicecheck.ts - service directories looked at before anybody starts or builds them: a part of `rouse check`.
//
// Owns: which folders are looked at, and the place in each sentence. Does not own what a service directory may hold
// (supervise/servicedir.ts, supervise/logwriter/script.ts), recipes and their lowering (images/checkroles.io.ts). Nothing is
// made or changed.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Fault, reasonOf } from '../formats/errors.ts';
import { printable } from '../formats/printable.ts';
import { supervisorOf } from '../images/recipe.ts';
import { loadChain } from '../images/roles.io.ts';
import {
  exists,
  fileOf,
  readAccount,
  readEnv,
  readSettings,
  readSmallFile,
  scriptFacts,
} from '../supervise/directory.io.ts';
import { parseScript } from '../supervise/logwriter/script.ts';
import { refusalOf } from '../supervise/servicedir.ts';
import type { SettingsResult } from '../supervise/servicedir.ts';
import { cycleOf } from '../supervise/shutdown.ts';
import { isTemplate } from '../supervise/template.ts';

/** What keeps the services of this host, and those of the site's own roles, from being started; a line each. */
export async function checkServices(configDir: string, roleDirs: readonly string[]): Promise<string[]> {
  const services = foldersIn(join(configDir, 'services')).filter((name) => !isTemplate(name));
  const problems = problemsOfAll(join(configDir, 'services'), services, 'services', true);
  for (const role of foldersIn(join(configDir, 'roles'))) {
    const names = await rouseServices(roleDirs, role);
    problems.push(...problemsOfAll(join(configDir, 'roles', role), names, `roles/${role}`, false));
  }
  return problems;
}

/** Services of a role whose nodes have rouse: under svscan the builder lowers them, and refuses what it cannot. */
async function rouseServices(roleDirs: readonly string[], role: string): Promise<readonly string[]> {
  try {
    const chain = await loadChain(roleDirs, role);
    return supervisorOf(chain).supervisor === 'rouse' ? (chain.at(-1)?.recipe.services ?? []) : [];
  } catch (error) {
    // A folder with a profile alone makes no image; what is wrong with a recipe is told beside this.
    if (error instanceof Fault) return [];
    throw error;
  }
}

/** @param isHere whether they are started on this machine; else programs and accounts are those of a node. */
function problemsOfAll(folder: string, names: readonly string[], place: string, isHere: boolean): string[] {
  const read = new Map(names.map((name) => [name, readSettings(join(folder, name))]));
  const dependsOf = new Map([...read].map(([name, found]) => [name, found.ok ? found.settings.depends : []]));
  return [...read].flatMap(([name, settings]) => {
    const cycle = cycleOf(name, dependsOf);
    return [
      ...(cycle === undefined ? [] : [`file depends: it waits for itself, so it is never started (${cycle})`]),
      ...problemsOf(join(folder, name), settings, isHere),
      // Whoever may write there names the folders and their first lines.
    ].map((why) => printable(`${place}/${name}: ${why}`));
  });
}

function problemsOf(base: string, settings: SettingsResult, isHere: boolean): string[] {
  const problems: string[] = settings.ok ? [] : [...settings.problems];
  const run = refusalOf('run', scriptFacts(base, 'run'));
  if (run !== undefined && (isHere || !run.includes('in its first line'))) problems.push(run);
  if (isHere) {
    const looks = [() => readAccountIfRoot(settings.ok ? settings.settings.user : undefined), () => void readEnv(base)];
    for (const look of looks) {
      try {
        look();
      } catch (thrown) {
        problems.push(reasonOf(thrown));
      }
    }
  }
  if (exists(`${base}/log`)) problems.push(...logProblems(`${base}/log`).map((why) => `log/${why}`));
  return problems;
}

function logProblems(base: string): string[] {
  const script = readSmallFile(fileOf(base, 'multilog'));
  if (script.kind === 'refused') return [`multilog: ${script.why}`];
  if (script.kind === 'text') {
    const parsed = parseScript(script.text);
    return parsed.ok ? [] : [`multilog: ${parsed.why}`];
  }
  const run = refusalOf('run', scriptFacts(base, 'run'));
  return run === undefined ? [] : [run];
}

/** Who checks may be nobody of consequence; who starts the services is root. */
function readAccountIfRoot(user: string | undefined): void {
  if (user === undefined || process.getuid?.() === 0) return void readAccount(user);
  if (
    !readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .some((line) => line.startsWith(`${user}:`))
  ) {
    throw new Error(`file user: there is no '${user}' in /etc/passwd`);
  }
}

function foldersIn(folder: string): string[] {
  const names = exists(folder) ? readdirSync(folder).sort() : [];
  return names.filter((name) => {
    if (name.startsWith('.')) return false;
    try {
      return statSync(join(folder, name)).isDirectory();
    } catch {
      // A link to nothing is told by who supervises.
      return false;
    }
  });
}
