// netboot/site/vars.ts - the vars of a node against those that its image declares.
//
// Owns: declared defaults, the type check, and what becomes of a var that no recipe declares: an error where a role,
// profile or node sets it, silence where a label group does (a group speaks to nodes of many images).
// Does not own: the declaration (images/manifest.ts), the precedence (settings.ts). Pure.

import type { ImageVar } from '../../images/manifest.ts';
import { nearest, type Problem } from '../../formats/yaml/document.ts';
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
  list: 'a list of texts',
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
      const near = nearest(name, known);
      const hint =
        near !== undefined
          ? `did you mean '${near}'?`
          : known.length === 0
            ? 'it declares none'
            : `expected ${known.join(', ')}`;
      problems.push({ ...at, message: `vars.${name}: image '${image}' declares no such var, ${hint}` });
      continue;
    }
    const value = asType(set.value, declaration.type);
    if (value === undefined) {
      problems.push({
        ...at,
        message: `vars.${name}: expected ${TYPE_WORDS[declaration.type]}, got ${JSON.stringify(set.value)}`,
      });
    } else resolved[name] = { value, source: set.source };
  }
  return { vars: resolved, problems };
}

/** The value as the declared type. A number where a text is wanted is its text: it reads back as it was written. */
function asType(value: VarValue, type: ImageVar['type']): VarValue | undefined {
  switch (type) {
    case 'string':
      return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined;
    case 'number':
      return typeof value === 'number' ? value : undefined;
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'list':
      return Array.isArray(value) ? value : undefined;
  }
}
