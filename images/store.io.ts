// images/store.io.ts - the images of this machine: layers, kernels, generations, and which of them nodes boot.
//
// Owns: lib/images as ARCHITECTURE.md "Places" draws it: atomic publication, promotion. Does not own: files by their hash
// (storedfiles.io.ts), reading generations (generations.io.ts), building one (build.io.ts).
//
//   layers/SHA256.zst|.gz|.cpio   kernels/SHA256   packages/SHA256.deb   locks/SHA256.json
//   IMAGE/N.json   IMAGE/current -> N.json   IMAGE/previous -> M.json
//
// What is named by its content is never written twice. `previous` is what was current before the last
// promotion: rollback swaps the two.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import { publishLink, publishNew } from './files.io.ts';
import {
  generationPath,
  type Generations,
  generationsOf,
  MOST_GENERATIONS,
  openGenerations,
} from './generations.io.ts';
import { readTrusted, signManifest } from './keys.io.ts';
import type { Manifest } from './manifest.ts';
import { openSigned } from './signature.ts';
import { openStoredFiles, type StoredFiles } from './storedfiles.io.ts';

export type Store = StoredFiles & Generations & Publication;

const refusal = (image: string, why: string): Fault =>
  new Fault('E_STORE', {
    what: `cannot publish ${image}`,
    why,
    todo: `what nodes boot is unchanged; build it again with: rouse image build ${image}`,
  });

type Publication = {
  /**
   * Signs and writes the next generation. It becomes current where nodes could boot none otherwise: it is the first, or
   * the current one is not signed by a trusted key or not whole. @returns it with its number.
   * @throws Fault E_STORE, and nothing is published, where a file that it names is not whole.
   */
  readonly publish: (draft: Omit<Manifest, 'generation'>) => Promise<Manifest>;
  /** Makes a generation what nodes boot. @returns the one that was current. @throws Fault E_UNTRUSTED where no node should. */
  readonly promote: (image: string, generation: number) => Promise<number | undefined>;
  /** Makes current what was current before. @returns the generation that is current now. */
  readonly rollback: (image: string) => Promise<number>;
};

/** @param libDir lib/ of ARCHITECTURE.md; lib/images is made where it is missing. */
export function openStore(libDir: string): Store {
  const files = openStoredFiles(join(libDir, 'images'));
  const generations = openGenerations(libDir, files);
  return { ...files, ...generations, ...openPublication(libDir, files, generations) };
}

function openPublication(
  libDir: string,
  { fileProblems }: StoredFiles,
  { summary, pointers, problems }: Generations,
): Publication {
  const root = join(libDir, 'images');
  const promote: Publication['promote'] = async (image, generation) => {
    const { generations, current } = await summary(image);
    if (!generations.includes(generation)) {
      throw new Fault('E_NOT_FOUND', {
        what: `there is no generation ${generation} of ${image}`,
        why: `there are: ${generations.join(', ')}`,
      });
    }
    if (current === generation) return current;
    const [problem] = await problems(image, generation);
    if (problem !== undefined) {
      throw new Fault('E_UNTRUSTED', {
        what: `nodes do not boot generation ${generation} of ${image}`,
        why: problem,
        todo: `what they boot is unchanged; build it again with: rouse image build ${image}`,
      });
    }
    if (current !== undefined) await publishLink(join(root, image, 'previous'), `${current}.json`);
    await publishLink(join(root, image, 'current'), `${generation}.json`);
    if ((await generationsOf(root, image)).includes(generation)) return current;
    // A prune at the same moment, which looks at the pointers again before it takes anything away for good.
    if (current !== undefined) await publishLink(join(root, image, 'current'), `${current}.json`);
    throw new Fault('E_NO', { what: `generation ${generation} of ${image} was pruned meanwhile` });
  };
  return {
    async publish(draft) {
      const [problem] = await fileProblems(draft);
      if (problem !== undefined) throw refusal(draft.image, problem);
      await mkdir(join(root, draft.image), { recursive: true });
      for (;;) {
        const generation = ((await generationsOf(root, draft.image)).at(-1) ?? 0) + 1;
        if (generation > MOST_GENERATIONS) {
          throw new Fault('E_STORE', {
            what: `cannot publish ${draft.image}`,
            why: `no number is left behind generation ${generation - 1}`,
            todo: `remove ${generationPath(root, draft.image, generation - 1)}, which no build has written`,
          });
        }
        const whole: Manifest = { ...draft, generation };
        const text = await signManifest(libDir, whole);
        const opened = openSigned(text, whole, await readTrusted(libDir));
        if (opened.kind !== 'trusted') throw refusal(draft.image, `its manifest cannot be trusted: ${opened.why}`);
        if (!(await publishNew(generationPath(root, draft.image, generation), text))) continue;
        const { current } = await pointers(draft.image);
        const isBootable = current !== undefined && (await problems(draft.image, current)).length === 0;
        if (!isBootable) await promote(draft.image, generation);
        return whole;
      }
    },
    promote,
    async rollback(image) {
      const { previous, generations } = await summary(image);
      if (previous === undefined || !generations.includes(previous)) {
        throw new Fault('E_NO', {
          what: `cannot roll ${image} back`,
          why: 'no other generation has been promoted before',
        });
      }
      await promote(image, previous);
      return previous;
    },
  };
}
