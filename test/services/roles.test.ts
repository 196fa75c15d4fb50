// The roles that rouse ships: their recipes, profiles, scripts and templates are sound before any image is built.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseYaml } from '../../formats/yaml/document.ts';
import { layoutRole } from '../../images/role.ts';
import { loadChain, readRoleFiles } from '../../images/roles.io.ts';
import { ProfileSchema } from '../../netboot/site/schema.ts';
import { renderTemplates, type TemplateValues } from '../../netboot/boots/templates.ts';

const SERVICES = fileURLToPath(new URL('../../services/', import.meta.url));
const ROLES = readdirSync(SERVICES).filter((name) => existsSync(join(SERVICES, name, 'recipe.yaml')));

// Only what the roles' templates read: strict rendering finds what is missing.
const VALUES = {
  node: {
    name: 'n1',
    hostname: 'n1',
    mac: '52:54:00:77:00:01',
    address: '10.0.0.11',
    labels: {},
    note: 'spare <fan>',
    index: 0,
  },
  profile: { name: 'p1' },
  boot: { id: '0123456789abcdef', startedAt: '2026-01-02T03:04:05.000Z' },
  pools: {},
  peers: [{ name: 'n1', address: '10.0.0.11', index: 0, priority: 200 }],
  directVips: [],
};

const values = (vars: Record<string, unknown>): TemplateValues => {
  const all: unknown = { ...VALUES, vars };
  return all as TemplateValues;
};

for (const role of ROLES) {
  test(`${role}: the recipe validates, its services are complete, its templates render with its defaults`, async () => {
    const chain = await loadChain([SERVICES], role);
    const found = chain.at(-1);
    if (found === undefined) throw new Error('a chain');
    const files = layoutRole(chain, await readRoleFiles(found.folder));
    expect(files.problems).toEqual([]);
    const vars = Object.fromEntries(
      chain.flatMap(({ recipe }) => Object.entries(recipe.vars)).map(([key, { default: given }]) => [key, given]),
    );
    const rendered = renderTemplates(files.templates, values(vars));
    if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
    expect(rendered.files).toHaveLength(files.templates.length);
  });

  test(`${role}: every script parses under the shell that will run it, and can be run`, () => {
    const scripts = readdirSync(join(SERVICES, role), { recursive: true, encoding: 'utf8' })
      .map((name) => join(SERVICES, role, name))
      .filter((path) => statSync(path).isFile() && readFileSync(path, 'latin1').startsWith('#!'));
    for (const path of scripts) {
      expect(readFileSync(path, 'latin1').split('\n')[0]).toBe('#!/bin/sh');
      expect(statSync(path).mode & 0o100, path).toBe(0o100);
      execFileSync('sh', ['-n', path]);
    }
  });

  const profile = join(SERVICES, role, 'profile.yaml');
  if (existsSync(profile)) {
    test(`${role}: the profile validates`, () => {
      expect(parseYaml(profile, readFileSync(profile, 'utf8'), ProfileSchema)).toMatchObject({ ok: true });
    });
  }
}

test("web's page says who it is, and what an operator writes does not become markup", async () => {
  const chain = await loadChain([SERVICES], 'web');
  const { templates } = layoutRole(chain, await readRoleFiles(join(SERVICES, 'web')));
  const rendered = renderTemplates(templates, values({ greeting: '<b>hello</b>', upstreamPool: '' }));
  const found = rendered.ok ? rendered.files.find(({ path }) => path.endsWith('index.html')) : undefined;
  const page = new TextDecoder().decode(found?.content);
  for (const want of [
    '<dd>n1</dd>',
    '<dd>p1</dd>',
    '2026-01-02T03:04:05.000Z',
    '&lt;b&gt;hello',
    'spare &lt;fan&gt;',
  ]) {
    expect(page).toContain(want);
  }
});
