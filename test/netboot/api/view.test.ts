// What `rouse check` says of a site in which nothing is wrong.

import { expect, test } from 'vitest';
import { configView } from '../../../netboot/api/view.ts';
import { site } from '../fleet/fleet-site.ts';

const notes = (files: Record<string, string>) =>
  configView(site(files), { isGood: true, problems: [], warnings: [], sinceMs: 0 }).notes;

test('a site without a maintenance profile is told what that means; one with it is told nothing', () => {
  expect(notes({})).toEqual([
    "there is no profile 'maintenance': a node that fails three boots in a row goes on trying; " +
      'for a rescue shell then, write profiles/maintenance.yaml with: extends: role/maintenance',
  ]);
  expect(notes({ 'profiles/maintenance.yaml': 'extends: role/web\n' })).toEqual([]);
});
