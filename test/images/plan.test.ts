// What the cache goes by: all that a layer is made from, the rows of our own tables included. Whose file or template nodes have.

import { expect, test } from 'vitest';
import { refuseConflicts } from '../../images/chain.ts';
import { MODULE_CLASSES } from '../../images/modules.ts';
import { modulesInputs, ownPaths, planStages, type Stage, templatesLeft } from '../../images/plan.ts';
import { parseRecipe } from '../../images/recipe.ts';
import type { RoleFile } from '../../images/role.ts';

test('a kernel’s modules are made anew where the package, the recipe or the row of the class of machines is another', () => {
  const inputsOf = (modules: string, sha256: string): string => {
    const parsed = parseRecipe('base/recipe.yaml', `version: 1\nkernel: {package: linux, modules: ${modules}}\n`);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
    const { value: recipe, positions } = parsed;
    const owner = { role: 'base', file: 'base/recipe.yaml', recipe, positions };
    const one = { name: 'linux', version: '1', architecture: 'amd64', sha256, bytes: 1, depends: [], provides: [] };
    return JSON.stringify(modulesInputs({ owner, package: one }).inputs);
  };
  const cloud = inputsOf('cloud', 'a');
  for (const name of [...MODULE_CLASSES.cloud.load, ...MODULE_CLASSES.cloud.coldplug])
    expect(cloud).toContain(`"${name}"`);
  expect(new Set([cloud, inputsOf('cloud', 'b'), inputsOf('metal', 'a')]).size).toBe(3);
});

const PAGE = 'srv/www/index.html';
const STATIC = `files/${PAGE}`;
const TEMPLATE = `${STATIC}.liquid`;

/** The stages of a recipe `st` over `web`, each with one file. */
function stagesOf(web: string, st: string, override = ''): [Stage, Stage] {
  const file = (path: string, text: string): RoleFile[] => [
    { kind: 'file', path, executable: false, data: new TextEncoder().encode(text) },
  ];
  const chain = ['web', 'st'].map((role) => {
    const parsed = parseRecipe(`${role}/recipe.yaml`, `version: 1\n${role === 'st' ? override : ''}`);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
    return { role, file: `${role}/recipe.yaml`, recipe: parsed.value, positions: parsed.positions };
  });
  const files = [file(web, 'lower'), file(st, 'higher')];
  const [lower, higher] = planStages({ chain, files, solution: [], runtime: undefined });
  if (lower === undefined || higher === undefined) throw new Error('a stage for each');
  return [lower, higher];
}

const layersOf = (stages: readonly Stage[]): Map<string, string[]> =>
  new Map(stages.map(({ found, own }) => [found.role, own.entries.map(({ path }) => path)]));

const OVER: [string, string, string, string[]][] = [
  ['a file over a template', TEMPLATE, STATIC, []],
  ['a template over a template', TEMPLATE, TEMPLATE, ['higher']],
  ['a template over a file', STATIC, TEMPLATE, ['higher']],
];
for (const [what, web, st, sources] of OVER) {
  test(`${what} of the recipe below: refused unless it is said, and then nodes have the higher one`, () => {
    const replace = (override: string): Stage[] => {
      const stages = stagesOf(web, st, override);
      const [lower, higher] = stages;
      refuseConflicts(higher.found, ownPaths(higher), new Map(ownPaths(lower).map((path) => [path, lower.found.role])));
      return stages;
    };
    expect(() => replace('')).toThrow(
      `st/recipe.yaml:1:1 st replaces /${PAGE} of the layer web: two layers of one image hold it; ` +
        `leave one of them out, or allow it with override: [/${PAGE}]`,
    );
    const stages = replace(`override: [/${PAGE}]\n`);
    expect(templatesLeft(stages, layersOf(stages)).map(({ source }) => source)).toEqual(sources);
  });
}

test('a file of a higher recipe’s package takes the place of a template too; one of the same recipe’s does not', () => {
  const stages = stagesOf(TEMPLATE, 'files/etc/other');
  const left = (layer: string) => templatesLeft(stages, layersOf(stages).set(layer, [PAGE])).length;
  expect([left('st-packages'), left('web-packages')]).toEqual([0, 1]);
});
