// The recipes of docs/images.md are recipes: whoever copies one is not refused.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderProblem } from '../../formats/yaml/document.ts';
import { firmwarePackagesOf } from '../../images/firmware.ts';
import { MODULE_CLASSES } from '../../images/modules.ts';
import { parseRecipe } from '../../images/recipe.ts';

const page = readFileSync(new URL('../../docs/images.md', import.meta.url), 'utf8');

test('every recipe of the page, and every part of one, validates', () => {
  const blocks = page.split(/\n(?! {4}|$)/m).flatMap((part) => part.match(/(?:^ {4}.*\n?)+/gm) ?? []);
  const recipes = blocks
    .map((block) => block.replaceAll(/^ {4}/gm, ''))
    .filter((text) => /^(?:#|version:|archive:)/.test(text));
  expect(recipes.length).toBe(3);
  for (const text of recipes) {
    const parsed = parseRecipe('docs/images.md', text.includes('version:') ? text : `version: 1\n${text}`);
    expect(parsed.ok ? [] : parsed.problems.map(renderProblem)).toEqual([]);
  }
});

test('the table of cards names modules of the class metal, and packages that the builder would name', () => {
  const rows = [...page.matchAll(/^\| [^|]+ \| (\w+) \| (firmware-[\w-]+) \|/gm)].map(([, module, name]) => [
    module,
    name,
  ]);
  expect(rows.length).toBeGreaterThan(6);
  const known = new Set(
    ['bnx2/x', 'bnx2x/x', 'qed/x', 'intel/ice/ddp/x', 'cxgb4/x', 'tigon/x', 'rtl_nic/x'].flatMap(firmwarePackagesOf),
  );
  for (const [module = '', name] of rows) {
    expect(known).toContain(name);
    if (module !== 'qla2xxx')
      expect([...MODULE_CLASSES.metal.coldplug, ...MODULE_CLASSES.metal.load]).toContain(module);
  }
});
