// images/checkroles.io.ts - every role's recipe and folder, looked at without building anything: for `rouse check`.
//
// Owns: going through all roles. Does not own: what is wrong with one (recipe.ts, role.ts, chain.ts). What only an archive
// can tell, a package that is not there for example, is told by a build.

import { Fault } from '../formats/errors.ts';
import { readKeyring } from './archive.io.ts';
import { archiveOf, kernelOf } from './chain.ts';
import { planStages } from './plan.ts';
import { listRoles, loadChain, readRoleFiles } from './roles.io.ts';

/** One sentence with file:line:column for everything that a build of some role would refuse, each once. */
export async function roleProblems(roleDirs: readonly string[]): Promise<string[]> {
  const problems = new Set<string>();
  for (const role of await listRoles(roleDirs)) {
    try {
      const chain = await loadChain(roleDirs, role);
      kernelOf(chain);
      const archive = archiveOf(chain);
      if (archive !== undefined) await readKeyring(archive);
      const files = await Promise.all(chain.map(({ folder }) => readRoleFiles(folder)));
      planStages({ chain, files, solution: [], runtime: undefined });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const lines = Array.isArray(error.cause) ? error.cause.map(String) : [error.message];
      for (const line of lines) problems.add(line);
    }
  }
  return [...problems];
}
