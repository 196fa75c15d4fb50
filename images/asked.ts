// images/asked.ts - every Debian package that a chain of recipes asks for, and the line that asks.
//
// Owns: the list of them, and what apt or an older lock refuses, told at the line that asks for it. Does not own: what else a chain
// asks for and is refused (chain.ts), apt's own words (apt.ts). Pure.

import { Fault } from '../formats/errors.ts';
import { type ArchivePackage, reachable, UNREADABLE_LISTS } from './apt.ts';
import { archiveOf, isLeftOut, kernelOf } from './chain.ts';
import { microcodePackage } from './microcode.ts';
import { type LoadedRecipe, placeOf } from './recipe.ts';
import { RUNTIME_PACKAGES } from './runtime.ts';
import { unanswered, type VersionLock } from './versions.ts';

/** A chain of recipes, the lowest first. */
type Chain = readonly LoadedRecipe[];
type Asked = { readonly name: string; readonly place: string };

/** What the chain asks for, the lowest recipe first. Of kernels and supervisors only the highest recipe's counts. */
function wishesOf(chain: Chain): Asked[] {
  const kernelOwner = chain.findLast(({ recipe }) => recipe.kernel !== undefined);
  const supervisorOwner = chain.findLast(({ recipe }) => recipe.supervisor !== undefined);
  return chain.flatMap((found) => {
    const { packages, firmware, microcode, kernel, supervisor } = found.recipe;
    const at = (name: string, ...path: (string | number)[]): Asked => ({ name, place: placeOf(found, path) });
    const runtime = supervisor === 'rouse' && found === supervisorOwner ? RUNTIME_PACKAGES.packages : [];
    return [
      ...packages.map((name, index) => at(name, 'packages', index)),
      ...(firmware?.packages ?? []).map((name, index) => at(name, 'firmware', 'packages', index)),
      ...microcode.map((wish, index) => at(microcodePackage(wish), 'microcode', index)),
      ...(kernel !== undefined && found === kernelOwner ? [at(kernel.package, 'kernel', 'package')] : []),
      ...runtime.map((name) => at(name, 'supervisor')),
    ];
  });
}

/** Names of all packages that apt must choose, each once. @throws Fault E_CONFIG where no recipe names a kernel. */
export function askedPackages(chain: Chain): string[] {
  kernelOf(chain);
  return [...new Set(wishesOf(chain).map(({ name }) => name))];
}

const NON_FREE = /^(?:firmware-.*|(?:intel|amd64)-microcode)$/;

/** What apt refused, at the line that asks for it: apt names the package that it does not know. */
export function placedFault(chain: Chain, fault: Fault): Fault {
  const archive = archiveOf(chain);
  if (archive !== undefined && fault.message.startsWith(UNREADABLE_LISTS)) {
    const place = / component /.test(fault.message) ? archive.places.components : archive.places.mirror;
    const what = `${place ?? archive.places.all} ${fault.facts.what}`;
    return new Fault('E_ARCHIVE', { ...fault.facts, what }, { cause: fault });
  }
  const { why = fault.message } = fault.facts;
  // Only in what apt said: what we say of it names every package that was asked for.
  const unknown = / locate | candidate/.test(why) ? why.split(/[\s:']+/) : [];
  const wish = wishesOf(chain).find(({ name }) => unknown.includes(name));
  if (wish !== undefined) {
    const todo = 'most firmware is of another component: archive: {components: [non-free-firmware]}';
    const facts = { what: wish.place, why, ...(NON_FREE.test(wish.name) ? { todo } : {}) };
    return new Fault('E_ARCHIVE', facts, { cause: fault });
  }
  const asking = chain.findLast(({ recipe }) => recipe.packages.length > 0) ?? chain[0];
  const place = asking === undefined ? '' : `${placeOf(asking, ['packages'])} `;
  return new Fault('E_ARCHIVE', { ...fault.facts, what: `${place}${fault.facts.what}` }, { cause: fault });
}

/** What was thrown of one package, at the line that brings it: the lowest recipe that names it, or what depends on it. */
export function placedPackage(
  chain: Chain,
  solution: readonly ArchivePackage[],
  name: string,
  thrown: unknown,
): unknown {
  if (!(thrown instanceof Fault) || thrown.code !== 'E_ARCHIVE') return thrown;
  const wish = wishesOf(chain).find((one) =>
    reachable(solution, [one.name], isLeftOut).some((found) => found.name === name),
  );
  if (wish === undefined) return thrown;
  const what = `${wish.place} ${thrown.facts.what}`;
  return new Fault('E_ARCHIVE', { ...thrown.facts, what }, { cause: thrown });
}

/** @throws Fault E_BUILD where a recipe asks for what a generation of before did not have. */
export function refuseUnanswered(lock: VersionLock, chain: Chain, asked: readonly string[], generation: number): void {
  const [name] = unanswered(lock, asked);
  if (name === undefined) return;
  const owner = wishesOf(chain).find((one) => one.name === name);
  const place = owner === undefined ? '' : `${owner.place} `;
  throw new Fault('E_BUILD', {
    what: `${place}${name} is not among the packages of generation ${generation}`,
    todo: 'build without --locked',
  });
}
