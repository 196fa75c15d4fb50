// bin/commands/image.ts - rouse image: building, publishing and looking into images.
//
// Owns: arguments, progress and layout of the answers. Does not own any of the work (images/).

import { basename } from 'node:path';
import type { Command } from 'commander';
import { Fault } from '../../formats/errors.ts';
import type { OnBuildEvent } from '../../images/event.ts';
import type { Manifest } from '../../images/manifest.ts';
import type { Store } from '../../images/store.io.ts';
import type { CommandContext } from '../context.ts';
import { renderTable } from '../table.ts';

type Json = { json?: boolean };
type BuildWords = Json & { refresh?: boolean; locked?: string; flatten?: string };

/** Adds `rouse image …` to the program. */
export function registerImage(program: Command, context: CommandContext): void {
  const image = program.command('image').description('images that nodes without disks boot');
  for (const add of [
    addBuild,
    addLs,
    addShow,
    addDiff,
    addVerify,
    addOutdated,
    addPrune,
    addFlatten,
    addLoaders,
    addInspect,
    addPromote,
    addRollback,
  ]) {
    add(image, context);
  }
}

const openStore = async (context: CommandContext) =>
  (await import('../../images/store.io.ts')).openStore(context.places().libDir);

function addBuild(image: Command, context: CommandContext): void {
  image
    .command('build')
    .description('build the image of a role; the first build is what nodes boot, later ones wait for promote')
    .argument('<role>', 'a folder of the role folders: base, web, …')
    .option('--refresh', 'ask the archive for newer versions of the packages')
    .option('--locked <generation>', 'the versions of that generation, from the packages kept with it, offline')
    .option('--flatten <file>', 'write all layers into one file as well, for loaders that take one initrd')
    .option('--json', 'the manifest as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  rouse image build web\n  rouse image build web --refresh\n  rouse image build web --locked 3',
    )
    .action(async (role: string, { refresh = false, locked, flatten, json }: BuildWords) => {
      if (refresh && locked !== undefined)
        throw new Fault('E_USAGE', {
          what: '--refresh and --locked',
          why: 'one asks for newer versions, one for old ones',
        });
      const { buildImage } = await import('../../images/build.io.ts');
      const { runtimeSource } = await import('../runtime.ts');
      const { roleDirs, libDir, cacheDir } = context.places();
      const onProgress = await progress(context, json !== true);
      const { manifest, built } = await buildImage({
        runtime: await runtimeSource(cacheDir),
        roleDirs,
        role,
        libDir,
        cacheDir,
        refresh,
        locked: locked === undefined ? undefined : number(locked),
        onProgress: onProgress.event,
      });
      onProgress.end();
      const store = await openStore(context);
      const flattened = flatten === undefined ? undefined : await flattenTo(store, manifest, flatten);
      if (json === true) return context.print(JSON.stringify(manifest, undefined, 2));
      const { current } = await store.summary(role);
      const served = manifest.layers.reduce((sum, { servedBytes }) => sum + servedBytes, 0);
      const said = built
        ? `built generation ${manifest.generation}`
        : `generation ${manifest.generation} is up to date`;
      context.print(
        `${role}: ${said}, ${megabytes(served)} MB to load beside a kernel of ${megabytes(manifest.kernel.bytes)} MB`,
      );
      if (current !== manifest.generation) {
        context.print(
          `nodes boot generation ${current ?? 'none'}; make this one theirs with: rouse image promote ${role}`,
        );
      }
      if (flattened !== undefined) context.print(flattened);
    });
}

function addLs(image: Command, context: CommandContext): void {
  image
    .command('ls')
    .description('every image, its generations, and which one nodes boot')
    .option('--json', 'as JSON')
    .action(async ({ json }: Json) => {
      const all = await (await openStore(context)).list();
      if (json === true) return context.print(JSON.stringify(all, undefined, 2));
      const rows = all.map(({ image: name, generations, current, previous }) => [
        name,
        String(current ?? '-'),
        String(previous ?? '-'),
        generations.join(' '),
      ]);
      for (const line of renderTable(['IMAGE', 'CURRENT', 'PREVIOUS', 'GENERATIONS'], rows)) context.print(line);
    });
}

function addShow(image: Command, context: CommandContext): void {
  image
    .command('show')
    .description('what an image holds and what it weighs, by layer and by package')
    .argument('<image>')
    .option('--generation <n>', 'another generation than the current one')
    .option('--json', 'the manifest as JSON')
    .option('--sbom', 'its Debian packages as a CycloneDX document')
    .addHelpText('after', '\nExample:\n  rouse image show web')
    .action(async (name: string, { generation, json, sbom }: Json & { generation?: string; sbom?: boolean }) => {
      const manifest = await (await openStore(context)).manifest(
        name,
        generation === undefined ? undefined : number(generation),
      );
      if (json === true) return context.print(JSON.stringify(manifest, undefined, 2));
      if (sbom === true) {
        const { renderBillOfMaterials } = await import('../../images/compare.ts');
        return context.print(JSON.stringify(renderBillOfMaterials(manifest), undefined, 2));
      }
      const { renderManifest } = await import('../../images/report.ts');
      for (const { heading, rows } of renderManifest(manifest)) {
        for (const line of renderTable(heading, rows)) context.print(line);
        context.print('');
      }
    });
}

function addDiff(image: Command, context: CommandContext): void {
  image
    .command('diff')
    .description('what changes for nodes from one generation to another (the current and the newest, unless told)')
    .argument('<image>')
    .argument('[before]')
    .argument('[after]')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse image diff web 3 4')
    .action(async (name: string, before: string | undefined, after: string | undefined, { json }: Json) => {
      const { diffImages } = await import('../../images/compare.io.ts');
      const { renderDifference } = await import('../../images/compare.ts');
      const store = await openStore(context);
      const newest = (await store.summary(name)).generations.at(-1);
      const old = await store.manifest(name, before === undefined ? undefined : number(before));
      const difference = await diffImages(
        store,
        old,
        await store.manifest(name, after === undefined ? newest : number(after)),
      );
      if (json === true) return context.print(JSON.stringify(difference, undefined, 2));
      for (const line of renderDifference(difference)) context.print(line);
    });
}

function addVerify(image: Command, context: CommandContext): void {
  image
    .command('verify')
    .description('ask every signature and read every published file again; exit 1 where one is wrong, gone or damaged')
    .argument('[image]')
    .option('--json', 'as JSON')
    .action(async (name: string | undefined, { json }: Json) => {
      const { verifyImage } = await import('../../images/verify.io.ts');
      const store = await openStore(context);
      const names = name === undefined ? (await store.list()).map((one) => one.image) : [name];
      const problems = (await Promise.all(names.map((one) => verifyImage(store, one)))).flat();
      if (json === true) context.print(JSON.stringify({ images: names, problems }, undefined, 2));
      else for (const problem of problems) context.warn(`rouse: ${problem}`);
      if (problems.length > 0) return context.exit(1);
      if (json === true) return;
      context.print(
        names.length === 0
          ? 'no image is built'
          : `${names.join(', ')}: signed by a trusted key, and every file is whole`,
      );
    });
}

function addOutdated(image: Command, context: CommandContext): void {
  image
    .command('outdated')
    .description('packages that the archive has in other versions now; exit 1 where one of them is a security update')
    .argument('[image]')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nTake them with: rouse image build IMAGE --refresh')
    .action(async (name: string | undefined, { json }: Json) => {
      const { findOutdated } = await import('../../images/outdated.io.ts');
      const store = await openStore(context);
      const names = name === undefined ? (await store.list()).map((one) => one.image) : [name];
      const onProgress = await progress(context, json !== true);
      const found = await findOutdated(store, names, context.places().cacheDir, onProgress.event);
      onProgress.end();
      if (json === true) context.print(JSON.stringify(found, undefined, 2));
      else {
        const rows = found.flatMap(({ image: of, packages }) =>
          packages.map((one) => [of, one.name, one.version, one.candidate, one.isSecurity ? 'security' : '']),
        );
        if (rows.length === 0) context.print('every package is as the archive has it');
        else for (const line of renderTable(['IMAGE', 'PACKAGE', 'VERSION', 'NOW', ''], rows)) context.print(line);
      }
      if (found.some(({ packages }) => packages.some(({ isSecurity }) => isSecurity))) context.exit(1);
    });
}

function addPrune(image: Command, context: CommandContext): void {
  image
    .command('prune')
    .description('remove generations that no node boots, runs or would go back to, and what only they need')
    .option('--keep <n>', 'how many of the newest generations of each image stay in any case', '1')
    .option('--dry-run', 'say what would be removed')
    .option('--json', 'as JSON')
    .action(async ({ keep, dryRun = false, json }: Json & { keep: string; dryRun?: boolean }) => {
      const { pruneStore } = await import('../../images/prune.io.ts');
      const { askInUse } = await import('../../netboot/api/inuse.io.ts');
      const { libDir, runDir } = context.places();
      const onProgress = await progress(context, json !== true);
      const newest = number(keep);
      const result = await pruneStore({
        libDir,
        askInUse: () => askInUse({ libDir, runDir }),
        newest,
        isDryRun: dryRun,
        onEvent: onProgress.event,
      });
      onProgress.end();
      if (json === true) return context.print(JSON.stringify(result, undefined, 2));
      const removed = dryRun ? 'would go' : 'removed';
      const rows = result.verdicts.map(({ image: of, generation, reasons }) => [
        of,
        String(generation),
        reasons.length === 0 ? removed : `stays: ${reasons.join(', ')}`,
      ]);
      if (rows.length > 0) for (const line of renderTable(['IMAGE', 'GENERATION', ''], rows)) context.print(line);
      context.print(`${removed}: ${result.files} files, ${megabytes(result.bytes)} MB`);
    });
}

function addFlatten(image: Command, context: CommandContext): void {
  image
    .command('flatten')
    .description('write all layers of an image into one file, for loaders that take one initrd')
    .argument('<image>')
    .argument('<file>')
    .option('--generation <n>', 'another generation than the current one')
    .action(async (name: string, file: string, { generation }: { generation?: string }) => {
      const store = await openStore(context);
      const manifest = await store.manifest(name, generation === undefined ? undefined : number(generation));
      context.print(await flattenTo(store, manifest, file));
    });
}

function addLoaders(image: Command, context: CommandContext): void {
  image
    .command('loaders')
    .description("fill lib/loaders with the boot programs of Debian's packages; files that are there are left")
    .action(async () => {
      const { fetchLoaders } = await import('../../images/loaders.io.ts');
      const { libDir, cacheDir } = context.places();
      const onProgress = await progress(context, true);
      const written = await fetchLoaders({ libDir, cacheDir, onProgress: onProgress.event });
      onProgress.end();
      context.print(written.length === 0 ? 'all loaders are there' : `wrote ${written.join(', ')}`);
    });
}

function addInspect(image: Command, context: CommandContext): void {
  image
    .command('inspect')
    .description('take a file of joined layers apart as the kernel would, and say what is wrong with it')
    .argument('<file>', 'an initrd, a layer, an overlay')
    .option('--files', 'every file of every layer')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  rouse image inspect .rouse/lib/images/layers/*.zst')
    .action(async (file: string, { files, json }: Json & { files?: boolean }) => {
      const { inspectFile } = await import('../../images/inspect.io.ts');
      const { renderInspection, summariseInspection } = await import('../../images/report.ts');
      const inspection = await inspectFile(file);
      if (json === true) context.print(JSON.stringify(summariseInspection(inspection), undefined, 2));
      else for (const line of renderInspection(inspection, files === true)) context.print(line);
      if (inspection.problems.length > 0) {
        for (const problem of inspection.problems) context.warn(`rouse: ${basename(file)}: ${problem}`);
        context.exit(1);
      }
    });
}

function addPromote(image: Command, context: CommandContext): void {
  image
    .command('promote')
    .description('make a generation (the newest, unless told) what nodes boot from now on')
    .argument('<image>')
    .argument('[generation]')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  rouse image promote web\n  rouse image promote web 3')
    .action(async (name: string, generation: string | undefined, { json }: Json) => {
      const store = await openStore(context);
      const newest = (await store.summary(name)).generations.at(-1);
      const chosen = generation === undefined ? newest : number(generation);
      if (chosen === undefined) throw new Fault('E_NOT_FOUND', { what: `${name} has no generation` });
      const before = await store.promote(name, chosen);
      if (json === true) return context.print(JSON.stringify(await store.summary(name), undefined, 2));
      context.print(
        before === chosen
          ? `nodes boot generation ${chosen} of ${name} already`
          : `nodes boot generation ${chosen} of ${name} from their next boot on`,
      );
    });
}

function addRollback(image: Command, context: CommandContext): void {
  image
    .command('rollback')
    .description('make what nodes booted before the last promotion theirs again')
    .argument('<image>')
    .option('--json', 'as JSON')
    .action(async (name: string, { json }: Json) => {
      const store = await openStore(context);
      const now = await store.rollback(name);
      if (json === true) return context.print(JSON.stringify(await store.summary(name), undefined, 2));
      context.print(`nodes boot generation ${now} of ${name} from their next boot on`);
    });
}

/** @returns the sentence about it. */
async function flattenTo(store: Store, manifest: Manifest, file: string): Promise<string> {
  const { flattenImage } = await import('../../images/flatten.io.ts');
  const bytes = await flattenImage(store, manifest, file);
  return `${file}: ${bytes} bytes; boot it with rouse.layers=${manifest.layers.map(({ sha256 }) => sha256).join(',')}`;
}

function number(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Fault('E_USAGE', { what: `'${text}'`, why: 'expected a number from 1 on' });
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

/** One line per step; on a terminal the line of a download is written over as it goes on. */
async function progress(context: CommandContext, wanted: boolean): Promise<{ event: OnBuildEvent; end: () => void }> {
  const { describeBuildEvent, withoutCount } = await import('../../images/event.ts');
  const live = process.stderr.isTTY;
  let open = false;
  let last = '';
  const end = (): void => {
    if (open) process.stderr.write('\n');
    open = false;
  };
  return {
    end,
    event(event) {
      if (!wanted) return;
      const counted = event.kind === 'step' && event.doneBytes !== undefined;
      const line = describeBuildEvent(event);
      if (live && counted) {
        process.stderr.write(`\r\x1b[K${line}`);
        open = true;
        return;
      }
      // Without a terminal a download is told once, when it begins.
      const title = counted ? withoutCount(line) : line;
      if (title === last) return;
      last = title;
      end();
      context.warn(title);
    },
  };
}
