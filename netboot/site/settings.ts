// netboot/site/settings.ts - what a node's profile comes to once role, chain, groups and node file are laid over each other.
//
// Owns: the precedence (default < role < profile chain < label group < node), the merging (maps merge, lists and
// scalars replace), and for every effective value the file and line that it came from.
// Does not own: the shapes (schema.ts), which profile a node has (site.ts), the vars an image declares (vars.ts).
//
// To let profiles set one more thing: the key in schema.ts, a row in Effective, DEFAULTS and overlaySettings. Pure.

import type { KeyPath, Position, Positions } from '../../formats/yaml/document.ts';
import type { LoaderSetting } from '../dhcp/loaders.ts';
import type { BootKind, ProfileFile, VarValue } from './schema.ts';

/** Which layer of the precedence set a value. */
export type LayerKind = 'default' | 'image' | 'role' | 'profile' | 'group' | 'node';

/** Where a value came from; `position` is undefined for a default of rouse or of an image's recipe. */
export type Source = { readonly layer: LayerKind; readonly position: Position | undefined };

export type Sourced<T> = { readonly value: T; readonly source: Source };

export type Effective = {
  readonly boot: Sourced<BootKind>;
  readonly image: Sourced<string> | undefined;
  readonly url: Sourced<string> | undefined;
  readonly cmdline: Sourced<readonly string[]>;
  readonly loader: Sourced<LoaderSetting>;
  readonly readyTimeoutS: Sourced<number>;
  readonly rollback: Sourced<boolean>;
  /** What the machine has, in MiB, where that is known. */
  readonly memoryMb: Sourced<number> | undefined;
  readonly vars: Readonly<Record<string, Sourced<VarValue>>>;
};

const byDefault = <T>(value: T): Sourced<T> => ({ value, source: { layer: 'default', position: undefined } });

export const DEFAULTS: Effective = {
  boot: byDefault('linux'),
  image: undefined,
  url: undefined,
  cmdline: byDefault([]),
  loader: byDefault('auto'),
  readyTimeoutS: byDefault(300),
  rollback: byDefault(true),
  memoryMb: undefined,
  vars: {},
};

/**
 * Lays what one file says over what is known so far.
 *
 * @param settings the keys that the file sets; undefined ones leave the base alone.
 * @param at where those keys stand in the file, for provenance; `prefix` leads to them.
 */
export function overlaySettings(
  base: Effective,
  settings: Omit<ProfileFile, 'extends'>,
  layer: LayerKind,
  at: Positions,
  prefix: KeyPath = [],
): Effective {
  const over = <K extends Exclude<keyof Effective, 'vars'>>(
    key: K,
    value: NonNullable<Effective[K]>['value'] | undefined,
  ): Effective[K] =>
    value === undefined ? base[key] : ({ value, source: { layer, position: at.of([...prefix, key]) } } as Effective[K]);
  const vars: Record<string, Sourced<VarValue>> = { ...base.vars };
  for (const [name, value] of Object.entries(settings.vars ?? {})) {
    vars[name] = { value, source: { layer, position: at.of([...prefix, 'vars', name]) } };
  }
  return {
    boot: over('boot', settings.boot),
    image: over('image', settings.image),
    url: over('url', settings.url),
    cmdline: over('cmdline', settings.cmdline),
    loader: over('loader', settings.loader),
    readyTimeoutS: over('readyTimeoutS', settings.readyTimeoutS),
    rollback: over('rollback', settings.rollback),
    memoryMb: over('memoryMb', settings.memoryMb),
    vars,
  };
}

/** "profiles/web.yaml:3", or the words for a default. */
export function renderSource({ layer, position }: Source): string {
  if (position !== undefined) return `${position.file}:${position.line}`;
  return layer === 'image' ? "the image's default" : "rouse's default";
}
