// images/describeimage.ts - what the manifest says of an image whose layers are made.
//
// Owns: bringing together what recipes, packages and layers say, and which of it makes another generation. Does not own: the manifest's shape (manifest.ts), its number and
// signature (store.io.ts, signature.ts). Pure.

import type { ArchivePackage } from './apt.ts';
import { chosenMemory } from './chain.ts';
import type { MissingFirmware } from './firmware.ts';
import type { LayerRecord } from './layerrecord.ts';
import type { Manifest } from './manifest.ts';
import { type ImagePlan, packagesUsed, templatesLeft } from './plan.ts';
import { NODE_OWNER, ROUSE_OWNER } from './runtime.ts';

type Draft = Omit<Manifest, 'generation'>;

/** @throws Fault E_BUILD where it does not fit the nodes that a recipe promises it to. */
export function describeImage(
  plan: ImagePlan,
  records: readonly LayerRecord[],
  missing: readonly MissingFirmware[],
  facts: Pick<Manifest, 'image' | 'builtAt' | 'lock' | 'kernel' | 'recipe'>,
): Draft {
  const { chain, stages, runtime } = plan;
  return {
    version: 1,
    lock: facts.lock,
    image: facts.image,
    builtAt: facts.builtAt,
    recipe: facts.recipe,
    kernel: facts.kernel,
    layers: records.map(({ layer }) => layer),
    memoryMb: chosenMemory(chain, records),
    packages: packagesOf(records, packagesUsed(plan)),
    vars: Object.assign({}, ...chain.map(({ recipe }) => recipe.vars)),
    templates: templatesLeft(stages, new Map(records.map(({ layer, paths }) => [layer.name, paths]))),
    services: chain.flatMap(({ recipe }) => recipe.services),
    ...(missing.length === 0 ? {} : { missingFirmware: [...missing] }),
    ...(runtime === undefined ? {} : { runtime: runtimeOf(records, runtime) }),
  };
}

/** Every package that has files in the image, by name. */
function packagesOf(records: readonly LayerRecord[], packages: readonly ArchivePackage[]): Manifest['packages'] {
  const bytes = new Map<string, number>();
  for (const record of records) {
    for (const [owner, sum] of Object.entries(record.bytesByOwner)) bytes.set(owner, (bytes.get(owner) ?? 0) + sum);
  }
  return packages
    .flatMap(({ name, version, architecture, sha256 }) => {
      const sum = bytes.get(name);
      return sum === undefined ? [] : [{ name, version, architecture, sha256, bytes: sum }];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Bytes of what is no Debian package, for the manifest. */
function runtimeOf(
  records: readonly LayerRecord[],
  { nodeVersion, rouseVersion }: { readonly nodeVersion: string; readonly rouseVersion: string },
): NonNullable<Manifest['runtime']> {
  const bytesOf = (owner: string): number => records.reduce((sum, one) => sum + (one.bytesByOwner[owner] ?? 0), 0);
  return {
    node: { version: nodeVersion, bytes: bytesOf(NODE_OWNER) },
    rouse: { version: rouseVersion, bytes: bytesOf(ROUSE_OWNER) },
  };
}

const IGNORED = (): undefined => undefined;

/** What of a manifest makes another generation. A new key must say so here. */
const CONTENT: Readonly<Record<keyof Draft, (draft: Draft) => unknown>> = {
  version: ({ version }) => version,
  image: ({ image }) => image,
  // A build that makes the same again publishes nothing, however late and of whichever list of versions it is.
  builtAt: IGNORED,
  lock: IGNORED,
  recipe: ({ recipe }) => recipe,
  kernel: ({ kernel }) => kernel,
  // Compressed in another way it holds the same.
  layers: ({ layers }) => layers.map(({ sha256 }) => sha256),
  // Licences are read when it is known that there is something to publish.
  packages: ({ packages }) => packages.map(({ name, version, bytes }) => [name, version, bytes]),
  memoryMb: ({ memoryMb }) => memoryMb,
  vars: ({ vars }) => vars,
  templates: ({ templates }) => templates,
  services: ({ services }) => services,
  missingFirmware: ({ missingFirmware }) => missingFirmware,
  runtime: ({ runtime }) => runtime,
};

/** Whether a generation says the same as what was built now. */
export function isSameImage(before: Manifest, draft: Draft): boolean {
  const contentOf = (one: Draft): string => JSON.stringify(Object.values(CONTENT).map((of) => of(one)));
  return contentOf(before) === contentOf(draft);
}
