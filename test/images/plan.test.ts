// What the cache goes by: all that a layer is made from, the rows of our own tables included.

import { expect, test } from 'vitest';
import { MODULE_CLASSES } from '../../images/modules.ts';
import { modulesInputs } from '../../images/plan.ts';
import { parseRecipe } from '../../images/recipe.ts';

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
