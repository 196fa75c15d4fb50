// docs/configuration.md and docs/recipe.md say of every key what the schema says. Rewrite them with UPDATE_GOLDEN=1.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EDITOR_SCHEMAS, jsonSchemaOf } from '../../../netboot/site/schema.ts';

type Schema = {
  type?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
};
type Row = { readonly key: string; readonly schema: Schema; readonly isRequired: boolean };

/** Every key, those of lists as subnets[].name, those of maps as pools.NAME.minimum. */
function rowsOf({ properties = {}, required = [] }: Schema, prefix = ''): Row[] {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const key = `${prefix}${name}`;
    const own = { key, schema, isRequired: required.includes(name) };
    const inner = schema.additionalProperties;
    return [
      own,
      ...rowsOf(schema, `${key}.`),
      ...rowsOf(schema.items ?? {}, `${key}[].`),
      ...(typeof inner === 'object' ? rowsOf(inner, `${key}.NAME.`) : []),
    ];
  });
}

function kindOf({ type, enum: choices, const: only, items }: Schema): string {
  if (only !== undefined) return JSON.stringify(only);
  if (choices !== undefined) return choices.join(', ');
  if (type === 'array') return `list of ${kindOf(items ?? {})}`;
  return type === 'object' ? 'map' : type === 'string' ? 'text' : (type ?? 'any');
}

const FILES = {
  rouse: 'rouse.yaml',
  profile: 'profiles/NAME.yaml',
  node: 'nodes/NAME.yaml',
  recipe: 'recipe.yaml',
} satisfies Record<keyof typeof EDITOR_SCHEMAS, string>;
const KINDS = Object.keys(EDITOR_SCHEMAS) as (keyof typeof EDITOR_SCHEMAS)[];

function sectionsOf(kinds: readonly (keyof typeof EDITOR_SCHEMAS)[]): string {
  const sections = kinds.map((kind) => {
    const rows = rowsOf(jsonSchemaOf(kind)).map(({ key, schema, isRequired }) => {
      const standard = isRequired
        ? 'required'
        : schema.default === undefined
          ? ''
          : `\`${JSON.stringify(schema.default)}\``;
      return `| \`${key}\` | ${kindOf(schema)} | ${standard} | ${schema.description ?? ''} |`;
    });
    return `## ${FILES[kind]}\n\n| key | value | default | what it says |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
  return sections.join('\n');
}

const PAGES = {
  'configuration.md': `# Configuration

Every key of the boot server's files. \`rouse check\` validates them with line and column; \`rouse check --schema rouse|profile|node|recipe\`
prints the JSON Schema for editors. A value comes from the role, then the profile's chain, then groups, then the node file: maps merge,
all else is replaced. \`rouse node show NAME\` names the file and line that each value in force came from.

${sectionsOf(['rouse', 'profile', 'node'])}`,
  'recipe.md': `# Recipes

Every key of \`ROLE/recipe.yaml\`, what an image is made of; [images.md](images.md) shows them at work. \`rouse check\` validates recipes with
line and column; \`rouse check --schema recipe\` prints the JSON Schema for editors.

${sectionsOf(['recipe'])}`,
};

test.each(Object.entries(PAGES))('docs/%s lists exactly the keys of the schema', (page, text) => {
  const path = new URL(`../../../docs/${page}`, import.meta.url);
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, text);
  expect(readFileSync(path, 'utf8')).toBe(text);
});

test.each(KINDS)('every key of %s files says what it is', (kind) => {
  const mute = rowsOf(jsonSchemaOf(kind)).filter(({ schema }) => schema.description === undefined);
  expect(mute.map(({ key }) => key)).toEqual([]);
});
