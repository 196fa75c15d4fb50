// What is said of a name that there is not: the one that was meant, those that there are, or how to make the first.

import { expect, test } from 'vitest';
import { missing } from '../../../netboot/site/missing.ts';

test('a name that there is not is answered with what there is, or what to do', () => {
  const many = Array.from({ length: 9 }, (_, index) => `r1n0${index}`);
  const rows: [...Parameters<typeof missing>, string][] = [
    ['node', 'wbe1', ['web1', 'lb1'], "there is no node 'wbe1'; did you mean 'web1'?"],
    ['node', 'storage', ['web1', 'lb1'], "there is no node 'storage'; there are lb1, web1"],
    ['profile', 'web', many, "there is no profile 'web'; see all with: rouse profile ls"],
    [
      'node',
      'web1',
      [],
      "there is no node 'web1'; there is none yet: write nodes/NAME.yaml, or take a machine that was heard: rouse node ls --new",
    ],
    ['pool', 'web', [], "there is no pool 'web'; there is none yet: write pools: in rouse.yaml"],
  ];
  for (const [kind, name, known, says] of rows) expect(missing(kind, name, known).message).toBe(says);
});
