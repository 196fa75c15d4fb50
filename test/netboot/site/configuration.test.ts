// docs/configuration.md says of every key what the schema says. Rewrite it with UPDATE_GOLDEN=1.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { FILE_SCHEMAS, jsonSchemaOf } from '../../../netboot/site/schema.ts';

const PAGE = new URL('../../../docs/configuration.md', import.meta.url);

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
} satisfies Record<keyof typeof FILE_SCHEMAS, string>;
const KINDS = Object.keys(FILE_SCHEMAS) as (keyof typeof FILE_SCHEMAS)[];

function renderPage(): string {
  const sections = KINDS.map((kind) => {
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
  return `# Configuration

Every key of the boot server's files. \`rouse check\` validates them with line and column; \`rouse check --schema rouse|profile|node\`
prints the JSON Schema for editors. A value comes from the role, then the profile's chain, then groups, then the node file: maps merge,
all else is replaced. \`rouse node show NAME\` names the file and line that each value in force came from.

${sections.join('\n')}`;
}

test('docs/configuration.md lists exactly the keys of the schema', () => {
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(PAGE, renderPage());
  expect(readFileSync(PAGE, 'utf8')).toBe(renderPage());
});

test.each(KINDS)('every key of %s files says what it is', (kind) => {
  const mute = rowsOf(jsonSchemaOf(kind)).filter(({ schema }) => schema.description === undefined);
  expect(mute.map(({ key }) => key)).toEqual([]);
});
