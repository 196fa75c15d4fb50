// images/describeimage.ts - what the manifest says of an image whose layers are made.
//
// Owns: bringing together what recipes, packages and layers say. Does not own: the manifest's shape (manifest.ts), its number and
// signature (store.io.ts, signature.ts). Pure.

import { chosenMemory } from './chain.ts';
import type { MissingFirmware } from './firmware.ts';
import type { Manifest } from './manifest.ts';
import { type LayerRecord, packagesOf, runtimeOf } from './plan.ts';
import { type ImagePlan, packagesUsed } from './stages.ts';

/** @throws Fault E_BUILD where it does not fit the nodes that a recipe promises it to. */
export function describeImage(
  plan: ImagePlan,
  records: readonly LayerRecord[],
  missing: readonly MissingFirmware[],
  facts: Pick<Manifest, 'image' | 'builtAt' | 'lock' | 'kernel' | 'recipe'>,
): Omit<Manifest, 'generation'> {
  const { chain, stages, runtime } = plan;
  const templates = stages.flatMap(({ own }) => own.templates);
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
    templates: [...new Map(templates.map((template) => [template.path, template])).values()],
    services: chain.flatMap(({ recipe }) => recipe.services),
    ...(missing.length === 0 ? {} : { missingFirmware: [...missing] }),
    ...(runtime === undefined ? {} : { runtime: runtimeOf(records, runtime) }),
  };
}
