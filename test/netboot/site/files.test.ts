// Which names are files of a site, what a folder that is not as it was means, and what is watched.

import { expect, test } from 'vitest';
import { folderFault, isWatched, judgeEntry } from '../../../netboot/site/files.ts';

test.each([
  ['web1.yaml', { kind: 'file', name: 'web1' }],
  ['.web1.yaml.swp', { kind: 'ignored', why: 'hidden' }],
  ['.hidden.yaml', { kind: 'ignored', why: 'hidden' }],
  ['web1.yaml~', { kind: 'ignored', why: 'left by an editor' }],
  ['web1.yml', { kind: 'stray', problem: { file: 'nodes/web1.yml' } }],
  ['README', { kind: 'stray', problem: { message: 'is not read: expected a name that ends in .yaml' } }],
])('nodes/%s', (entry, want) => expect(judgeEntry('nodes', entry)).toMatchObject(want));

test.each([
  ['there', { kind: 'names' }, 3, undefined],
  ['never there', { kind: 'absent' }, 0, undefined],
  ['gone', { kind: 'absent' }, 3, 'is gone, and 3 nodes of it are in force; to have none, make it empty'],
  ['not readable', { kind: 'unreadable', why: 'EACCES' }, 0, 'cannot be read: EACCES'],
] as const)('a folder that is %s', (_what, reading, inForce, want) =>
  expect(folderFault('nodes', reading, inForce)?.message).toBe(want),
);

test.each([
  ['', true, true],
  ['rouse.yaml', true, true],
  ['nodes', true, true],
  ['nodes/web1.yaml', true, true],
  ['nodes/.web1.yaml.swp', true, false],
  ['services', true, false],
  ['services/web', true, false],
  ['roles/web', true, false],
  ['web/profile.yaml', false, true],
  ['web/recipe.yaml', false, false],
  ['../elsewhere', true, false],
])('%j is watched (of the configuration: %j): %j', (path, isConfig, want) =>
  expect(isWatched(path, isConfig)).toBe(want),
);
