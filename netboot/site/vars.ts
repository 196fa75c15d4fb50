// netboot/site/vars.ts - the vars of a node against those that its image declares.
//
// Owns: declared defaults, the type check, and what becomes of a var that no recipe declares: an error where a role,
// profile or node sets it, silence where a label group does (a group speaks to nodes of many images).
// Does not own: the declaration (images/manifest.ts), the precedence (settings.ts). Pure.

import { parseIpv4 } from '../../formats/ipv4.ts';
import { expectedOf, unknownName } from '../../formats/nearest.ts';
import type { ImageVar, VarField } from '../../images/manifest.ts';
import type { Problem } from '../../formats/yaml/document.ts';
import type { VarValue } from './schema.ts';
import type { Effective, Sourced } from './settings.ts';

export type ResolvedVars = {
  readonly vars: Readonly<Record<string, Sourced<VarValue>>>;
  readonly problems: readonly Problem[];
};

const TYPE_WORDS = {
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  ipv4: 'an IPv4 address such as 10.77.0.200',
  list: 'a list of texts',
  object: 'a map',
} satisfies Record<ImageVar['type'], string>;

/**
 * The value of every var that the image declares.
 *
 * @param image its name, for messages.
 * @returns each declared var with its value and source; problems name the file and line that set a wrong one.
 */
export function resolveVars(
  { vars }: Pick<Effective, 'vars'>,
  declared: Readonly<Record<string, ImageVar>>,
  image: string,
): ResolvedVars {
  const problems: Problem[] = [];
  const resolved: Record<string, Sourced<VarValue>> = {};
  for (const [name, { default: value }] of Object.entries(declared)) {
    resolved[name] = { value, source: { layer: 'image', position: undefined } };
  }
  for (const [name, set] of Object.entries(vars)) {
    const at = set.source.position ?? { file: image, line: 1, column: 1 };
    const declaration = Object.hasOwn(declared, name) ? declared[name] : undefined;
    if (declaration === undefined) {
      if (set.source.layer === 'group') continue;
      const known = Object.keys(declared);
      const hint = expectedOf(name, known, 'it declares none');
      problems.push({ ...at, message: `vars.${name}: image '${image}' declares no such var, ${hint}` });
      continue;
    }
    const checked = declaration.type === 'object' ? asObject(set.value, declaration) : asType(set.value, declaration);
    if (checked.ok) resolved[name] = { value: checked.value, source: set.source };
    else problems.push({ ...at, message: `vars.${name}${checked.where}: ${checked.why}` });
  }
  return { vars: resolved, problems };
}

type Checked =
  | { readonly ok: true; readonly value: VarValue }
  /** `where` leads to the wrong part: "[0].port". */
  | { readonly ok: false; readonly where: string; readonly why: string };

/** An object var is a list of maps where its default is a list. */
function asObject(value: VarValue, { default: example, fields }: ImageVar): Checked {
  if (!Array.isArray(example)) return asMap(value, fields, '');
  if (!Array.isArray(value)) return no('', `expected a list of maps, got ${JSON.stringify(value)}`);
  const items: VarValue[] = [];
  for (const [index, item] of (value as readonly VarValue[]).entries()) {
    const checked = asMap(item, fields, `[${index}]`);
    if (!checked.ok) return checked;
    items.push(checked.value);
  }
  return { ok: true, value: items };
}

function asMap(value: VarValue, fields: Readonly<Record<string, VarField>> | undefined, where: string): Checked {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return no(where, `expected a map, got ${JSON.stringify(value)}`);
  }
  const given = value as Readonly<Record<string, VarValue>>;
  if (fields === undefined) return { ok: true, value };
  for (const key of Object.keys(given)) {
    if (Object.hasOwn(fields, key)) continue;
    return no(where, unknownName('key', key, Object.keys(fields)));
  }
  const whole: Record<string, VarValue> = {};
  for (const [key, field] of Object.entries(fields)) {
    const part = Object.hasOwn(given, key) ? given[key] : undefined;
    if (part === undefined) {
      // Templates are strict: a key that may be left out must still be there to be asked for.
      if (field.default !== undefined) whole[key] = field.default;
      else if (field.optional === true) whole[key] = null;
      else return no(where, `missing key '${key}', expected ${TYPE_WORDS[field.type]}`);
      continue;
    }
    const checked = asField(part, field, `${where}.${key}`);
    if (!checked.ok) return checked;
    whole[key] = checked.value;
  }
  return { ok: true, value: whole };
}

function asField(value: VarValue, field: VarField, where: string): Checked {
  const checked =
    field.type !== 'object'
      ? asType(value, field)
      : Array.isArray(value)
        ? asObject(value, { type: 'object', default: [], text: '', fields: field.fields })
        : asMap(value, field.fields, '');
  if (!checked.ok) return { ...checked, where: `${where}${checked.where}` };
  if (field.values === undefined || field.values.some((one) => one === checked.value)) return checked;
  return no(where, `expected ${field.values.join(', ')}, got ${JSON.stringify(value)}`);
}

function no(where: string, why: string): Checked {
  return { ok: false, where, why };
}

/** The value as the declared type. A number where a text is wanted is its text: it reads back as it was written. */
function asType(value: VarValue, { type, default: given }: Pick<VarField, 'type' | 'default'>): Checked {
  const plain = ((): VarValue | undefined => {
    switch (type) {
      case 'string':
        return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined;
      case 'number':
        return typeof value === 'number' ? value : undefined;
      case 'boolean':
        return typeof value === 'boolean' ? value : undefined;
      case 'ipv4':
        // An empty text is "none", where that is what the recipe itself says by default.
        return typeof value === 'string' && (parseIpv4(value) !== undefined || (value === '' && given === ''))
          ? value
          : undefined;
      case 'list':
        return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined;
      case 'object':
        return typeof value === 'object' ? value : undefined;
    }
  })();
  return plain === undefined
    ? no('', `expected ${TYPE_WORDS[type]}, got ${JSON.stringify(value)}`)
    : { ok: true, value: plain };
}
