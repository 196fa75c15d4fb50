// images/outdated.io.ts - what the archive has in other versions than an image that nodes boot.
//
// Owns: asking apt. Does not own: the comparison (versions.ts).

import { Fault } from '../formats/errors.ts';
import { aptFolder, openApt } from './apt.io.ts';
import type { OnBuildEvent } from './event.ts';
import { withBuildLock } from './buildlock.io.ts';
import type { Store } from './store.io.ts';
import { type Outdated, outdatedOf } from './versions.ts';

export type OutdatedImage = {
  readonly image: string;
  readonly generation: number;
  readonly packages: readonly Outdated[];
};

/**
 * Compares the current generation of each image with the archive of now. Nothing that is kept changes: a build without
 * --refresh still has the versions that it had.
 *
 * @throws Fault E_ARCHIVE where the archive does not answer; E_NOT_FOUND where an image has no lock.
 */
export async function findOutdated(
  store: Store,
  images: readonly string[],
  cacheDir: string,
  onEvent: OnBuildEvent,
): Promise<OutdatedImage[]> {
  return withBuildLock(cacheDir, onEvent, async () => {
    const found: OutdatedImage[] = [];
    const updated = new Set<string>();
    for (const image of images) {
      const manifest = await store.manifest(image);
      const lock = await store.lockOf(manifest);
      if (lock === undefined) {
        const what = `cannot tell what of ${image} is outdated`;
        throw new Fault('E_NOT_FOUND', {
          what,
          why: 'its versions were not written down',
          todo: `build ${image} again`,
        });
      }
      const { architecture, archive } = lock;
      const placed = archive === undefined ? undefined : { archive, places: { all: `image ${image}` } };
      const apt = await openApt(aptFolder(cacheDir, architecture), architecture, onEvent, () => undefined, placed);
      const asked = JSON.stringify([architecture, archive]);
      if (!updated.has(asked)) await apt.update();
      updated.add(asked);
      const names = new Set(manifest.packages.map(({ name }) => name));
      const packages = outdatedOf(lock, names, await apt.candidates(lock.asked));
      found.push({ image, generation: manifest.generation, packages });
    }
    return found;
  });
}
