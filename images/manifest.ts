// images/manifest.ts - what a built image generation says of itself.
//
// Written by the builder as lib/images/IMAGE/N.json, read by the boot server. Owns the shape, its validation and the name
// of a layer's file; does not own the files themselves (store.io.ts). Pure.

import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');

export const LayerSchema = z.strictObject({
  /** What it holds: ROLE-packages, ROLE, modules, firmware, microcode, node; for people. */
  name: z.string(),
  /** SHA-256 of the uncompressed cpio entries before the marker: the layer's name everywhere. */
  sha256,
  /** none: what a kernel reads before it can unpack anything. */
  compression: z.enum(['zstd', 'gzip', 'none']),
  /** SHA-256 and length of the file as stored and served (compressed, padded). */
  servedSha256: sha256,
  servedBytes: z.int().positive(),
  /** Sum of the files' sizes as they lie in the node's memory. */
  unpackedBytes: z.int().nonnegative(),
  files: z.int().nonnegative(),
});

const TemplateSchema = z.strictObject({
  /** Absolute path on the node. */
  path: z.string().startsWith('/'),
  mode: z.int().min(0).max(0o7777),
  /** Liquid source. */
  source: z.string(),
  /** Where it was read from, for messages: "services/web/files/srv/index.html.liquid". */
  origin: z.string(),
  /** Rendered again on running nodes when an input changes. Commands of the node's shell; `check` is given the candidate's path. */
  live: z.strictObject({ check: z.string(), reload: z.string() }).optional(),
});

/** A value of a var as YAML and JSON know it. */
export type PlainValue =
  | string
  | number
  | boolean
  | null
  | readonly PlainValue[]
  | { readonly [key: string]: PlainValue };

const plainValue: z.ZodType<PlainValue> = z.json();

/** A key of an `object` var. One that is left out takes its default; without one it must be given, unless optional (then null). */
export type VarField = {
  readonly type: 'string' | 'number' | 'boolean' | 'ipv4' | 'list' | 'object';
  readonly default?: PlainValue | undefined;
  readonly optional?: boolean | undefined;
  /** The only values that it may have. */
  readonly values?: readonly (string | number)[] | undefined;
  /** For type object: its keys; without them any are taken. */
  readonly fields?: Readonly<Record<string, VarField>> | undefined;
};

const varField: z.ZodType<VarField> = z.lazy(() =>
  z.strictObject({
    type: z.enum(['string', 'number', 'boolean', 'ipv4', 'list', 'object']),
    default: plainValue.optional(),
    optional: z.boolean().optional(),
    values: z.array(z.union([z.string(), z.number()])).optional(),
    fields: z.record(z.string(), varField).optional(),
  }),
);

export const VarSchema = z.strictObject({
  type: z
    .enum(['string', 'number', 'boolean', 'ipv4', 'list', 'object'])
    .describe('list: of texts; object: a map, or a list of maps where the default is a list'),
  default: plainValue.describe('its value where nobody sets it'),
  text: z.string().describe('one sentence for people'),
  fields: z
    .record(z.string(), varField)
    .optional()
    .describe('for type object: the keys of the map, or of each map of the list; without them any are taken'),
});

const runtimePart = z.strictObject({ version: z.string(), bytes: z.int().nonnegative() });

export const ManifestSchema = z.strictObject({
  version: z.literal(1),
  image: z.string(),
  generation: z.int().positive(),
  /** ISO 8601, UTC. Not part of any layer. */
  builtAt: z.string(),
  recipe: z.strictObject({ file: z.string(), sha256 }),
  /** SHA-256 of lib/images/locks/SHA256.json: the versions that it was built from. */
  lock: sha256.optional(),
  kernel: z.strictObject({ release: z.string(), package: z.string(), sha256, bytes: z.int().positive() }),
  /** In the order in which they are loaded; a later one wins. The node's overlay is not among them. */
  layers: z.array(LayerSchema).min(1),
  packages: z.array(
    z.strictObject({
      name: z.string(),
      version: z.string(),
      architecture: z.string(),
      /** Of the .deb. */
      sha256: sha256.optional(),
      /** Everything that its copyright file names, by SPDX's identifiers where they are known. */
      licences: z.array(z.string()).optional(),
      /** What its kept files take unpacked. */
      bytes: z.int().nonnegative(),
    }),
  ),
  /** The least memory of a node that boots it, in MiB: what its recipe says, or what its files need where that is more. */
  memoryMb: z.int().positive().optional(),
  vars: z.record(z.string(), VarSchema),
  templates: z.array(TemplateSchema),
  /** Names of the service directories under /service, in order. */
  services: z.array(z.string()),
  /** Firmware that modules of the image may ask for and it does not hold. `packages` of Debian would bring it; `accepted`: why not. */
  missingFirmware: z
    .array(
      z.strictObject({
        module: z.string(),
        files: z.array(z.string()),
        packages: z.array(z.string()),
        accepted: z.string().optional(),
      }),
    )
    .optional(),
  /** There where rouse supervises them, and not Debian's svscan: what of the image is no Debian package. */
  runtime: z.strictObject({ node: runtimePart, rouse: runtimePart }).optional(),
});

/** An image with its generations. */
export type ImageSummary = {
  readonly image: string;
  /** Ascending. */
  readonly generations: readonly number[];
  /** What nodes boot; undefined before the first build. */
  readonly current: number | undefined;
  readonly previous: number | undefined;
};

export type Layer = z.infer<typeof LayerSchema>;
export type Template = z.infer<typeof TemplateSchema>;
export type ImageVar = z.infer<typeof VarSchema>;
export type Manifest = z.infer<typeof ManifestSchema>;

/** Endings of layers' files. */
const SUFFIXES = { zstd: 'zst', gzip: 'gz', none: 'cpio' } as const satisfies Record<Layer['compression'], string>;

/** What layerFile makes, as a regular expression's source: for who finds layers by their paths. */
export const LAYER_FILE = `[0-9a-f]{64}\\.(?:${Object.values(SUFFIXES).join('|')})`;

/** "SHA256.zst": the file of a layer in the store, and the last word of its URL. */
export function layerFile(layer: Pick<Layer, 'sha256' | 'compression'>): string {
  return `${layer.sha256}.${SUFFIXES[layer.compression]}`;
}
