// What `rouse image diff` says of the parts of a generation that are in no layer: nodes are told them at boot.

import { expect, test } from 'vitest';
import { compareImages, renderDifference } from '../../images/compare.ts';
import type { Manifest } from '../../images/manifest.ts';

const page = { path: '/srv/www/index.html', mode: 0o644, source: 'a', origin: 'web/files/srv/www/index.html.liquid' };
const port = { type: 'number', default: 80, text: 'where it listens' } as const;
const BEFORE: Manifest = {
  version: 1,
  image: 'web',
  generation: 1,
  builtAt: '2026-01-02T03:04:05.000Z',
  recipe: { file: 'web/recipe.yaml', sha256: '' },
  kernel: { release: '6.1', package: 'linux-image', sha256: '', bytes: 1 },
  layers: [],
  packages: [],
  memoryMb: 128,
  vars: { port },
  templates: [page],
  services: ['agent', 'nginx'],
};

const told = (change: Partial<Manifest>): string[] =>
  renderDifference(
    compareImages(
      { manifest: BEFORE, files: new Map() },
      { manifest: { ...BEFORE, generation: 2, ...change }, files: new Map() },
    ),
  );

const ROWS: [string, Partial<Manifest>, string][] = [
  ['the text of a template', { templates: [{ ...page, source: 'b' }] }, 'template /srv/www/index.html changed'],
  ['its mode', { templates: [{ ...page, mode: 0o600 }] }, 'template /srv/www/index.html changed'],
  [
    'how it is made live',
    { templates: [{ ...page, live: { check: '', reload: 'again' } }] },
    'template /srv/www/index.html changed',
  ],
  ['one less', { templates: [] }, 'template /srv/www/index.html removed'],
  ['one more', { templates: [{ ...page, path: '/etc/motd' }, page] }, 'template /etc/motd added'],
  ['the default of a var', { vars: { port: { ...port, default: 8080 } } }, 'var port changed'],
  ['a var more', { vars: { port, other: port } }, 'var other added'],
  ['a var less', { vars: {} }, 'var port removed'],
  ['memory', { memoryMb: 256 }, 'memoryMb 128 -> 256'],
  ['memory that is not said', { memoryMb: undefined }, 'memoryMb 128 -> not said'],
  ['a service', { services: ['agent'] }, 'services agent nginx -> agent'],
  ['no service', { services: [] }, 'services agent nginx -> none'],
];
for (const [what, change, line] of ROWS) {
  test(`a difference: ${what}`, () => expect(told(change)).toEqual([line, 'layers to load anew: none']));
}

test('the folder that a template was read from is none', () => {
  expect(told({ templates: [{ ...page, origin: 'st/files/srv/www/index.html.liquid' }] })).toEqual(['no difference']);
});
