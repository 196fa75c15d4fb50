// images/manifest.ts - what a built image generation says of itself.
//
// Written by the builder as lib/images/IMAGE/N.json, read by the boot server. Owns the shape and its validation; does
// not own the files that it names (store.io.ts). Pure.

import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');

export const LayerSchema = z.strictObject({
  /** What it holds: base, modules, role, …; for people. */
  name: z.string(),
  /** SHA-256 of the uncompressed cpio entries before the marker: the layer's name everywhere. */
  sha256,
  compression: z.enum(['zstd', 'gzip']),
  /** SHA-256 and length of the file as stored and served (compressed, padded). */
  servedSha256: sha256,
  servedBytes: z.int().positive(),
  /** Sum of the files' sizes as they lie in the node's memory. */
  unpackedBytes: z.int().nonnegative(),
  files: z.int().nonnegative(),
});

export const TemplateSchema = z.strictObject({
  /** Absolute path on the node. */
  path: z.string().startsWith('/'),
  mode: z.int().min(0).max(0o7777),
  /** Liquid source. */
  source: z.string(),
  /** Where it was read from, for messages: "services/web/files/srv/index.html.liquid". */
  origin: z.string(),
});

export const VarSchema = z.strictObject({
  type: z.enum(['string', 'number', 'boolean', 'list']),
  default: z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]),
  /** One sentence for people. */
  text: z.string(),
});

export const ManifestSchema = z.strictObject({
  version: z.literal(1),
  image: z.string(),
  generation: z.int().positive(),
  /** ISO 8601, UTC. Not part of any layer. */
  builtAt: z.string(),
  recipe: z.strictObject({ file: z.string(), sha256 }),
  kernel: z.strictObject({ release: z.string(), package: z.string(), sha256, bytes: z.int().positive() }),
  /** In the order in which they are loaded; a later one wins. The node's overlay is not among them. */
  layers: z.array(LayerSchema).min(1),
  packages: z.array(
    z.strictObject({
      name: z.string(),
      version: z.string(),
      architecture: z.string(),
      /** What its kept files take unpacked. */
      bytes: z.int().nonnegative(),
    }),
  ),
  vars: z.record(z.string(), VarSchema),
  templates: z.array(TemplateSchema),
  /** Names of the service directories under /service, in order. */
  services: z.array(z.string()),
});

export type Layer = z.infer<typeof LayerSchema>;
export type Template = z.infer<typeof TemplateSchema>;
export type ImageVar = z.infer<typeof VarSchema>;
export type Manifest = z.infer<typeof ManifestSchema>;
