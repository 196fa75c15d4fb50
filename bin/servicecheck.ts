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
import { isTemplate } from '../supervise/template.ts';

/** What keeps the services of this host, and those of the site's own roles, from being started; a line each. */
export async function checkServices(configDir: string, roleDirs: readonly string[]): Promise<string[]> {
  const problems = foldersIn(join(configDir, 'services')).flatMap((name) =>
    isTemplate(name) ? [] : problemsOf(join(configDir, 'services', name), `services/${name}`, true),
  );
  for (const role of foldersIn(join(configDir, 'roles'))) {
    for (const service of await rouseServices(roleDirs, role)) {
      problems.push(...problemsOf(join(configDir, 'roles', role, service), `roles/${role}/${service}`, false));
    }
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

/** @param isHere whether it is started on this machine; else programs and accounts are those of a node. */
function problemsOf(base: string, place: string, isHere: boolean): string[] {
  const problems: string[] = [];
  const settings = readSettings(base);
  if (!settings.ok) problems.push(settings.why);
  const run = refusalOf('run', scriptFacts(base, 'run'));
  if (run !== undefined && (isHere || !run.includes('in its first line'))) problems.push(run);
  if (isHere) {
    try {
      if (settings.ok) readAccountIfRoot(settings.settings.user);
      readEnv(base);
    } catch (thrown) {
      problems.push(reasonOf(thrown));
    }
  }
  if (exists(`${base}/log`)) problems.push(...logProblems(`${base}/log`).map((why) => `log/${why}`));
  // Whoever may write there names the folders and their first lines.
  return problems.map((why) => printable(`${place}: ${why}`));
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
