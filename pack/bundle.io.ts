// pack/bundle.io.ts - rouse as CommonJS programs, each one file: the command, the supervisor alone, the command of nodes.
//
// Owns: how sources become bundles. Does not own: where they lie in the package (tree.io.ts), or on nodes (images/runtime.ts).
//
// CommonJS starts 60 ms sooner than an ESM bundle. A file that is named by `new URL('./x.ts', import.meta.url)` (a worker,
// a program of its own) becomes a bundle beside the others, and its name in the code follows. A program in perl that is read
// by such a name becomes a text in the bundle.
// Source: esbuild's API, https://esbuild.github.io/api/

import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';

const OWN_FILE = /new URL\('(\.\/[^']+)\.ts', import\.meta\.url\)/g;

const OWN_TEXT = /readFileSync\(new URL\('(\.\/[^']+\.pl)', import\.meta\.url\), 'utf8'\)/g;

const PROGRAMS = ['rouse', 'rouse-supervise', 'rouse-node'] as const;

/** @param root the clone. @param out folder for NAME.cjs. @param programs of bin/. @returns names of the files written. */
export async function bundle(
  root: string,
  out: string,
  programs: readonly (typeof PROGRAMS)[number][] = PROGRAMS,
): Promise<string[]> {
  const entries = new Map<string, string>(programs.map((name) => [name, join(root, 'bin', `${name}.ts`)]));
  const done = new Set<string>();
  // Bundles found while bundling are bundled in the next round.
  for (let round = [...entries]; round.length > 0; round = [...entries].filter(([name]) => !done.has(name))) {
    for (const [name] of round) done.add(name);
    await build({
      entryPoints: Object.fromEntries(round),
      outdir: out,
      // Names of files are in the bundles: those of the clone, wherever it lies, whoever bundles from which folder.
      absWorkingDir: root,
      preserveSymlinks: true,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      platform: 'node',
      target: 'node24',
      format: 'cjs',
      minifyWhitespace: true,
      minifySyntax: true,
      legalComments: 'none',
      banner: { js: "const __rouseUrl=require('node:url').pathToFileURL(__filename).href;" },
      define: { 'import.meta.url': '__rouseUrl' },
      logLevel: 'warning',
      plugins: [
        ownFiles(root, (name, path) => {
          const known = entries.get(name);
          if (known !== undefined && known !== path)
            throw new Error(`${known} and ${path} would be one bundle, ${name}`);
          entries.set(name, path);
        }),
      ],
    });
  }
  return [...done].map((name) => `${name}.cjs`);
}

function ownFiles(root: string, found: (name: string, path: string) => void): Plugin {
  return {
    name: 'files of their own',
    setup(builder) {
      builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!path.startsWith(root) || path.includes('/node_modules/')) return undefined;
        const text = await readFile(path, 'utf8');
        const contents = text.replaceAll(OWN_FILE, (_, relative: string) => {
          const name = relative.slice(2).replaceAll('/', '-');
          found(name, resolve(dirname(path), `${relative}.ts`));
          return `new URL('./${name}.cjs', import.meta.url)`;
        });
        const texts = new Map<string, string>();
        for (const [, name = ''] of text.matchAll(OWN_TEXT)) {
          texts.set(name, JSON.stringify(await readFile(resolve(dirname(path), name), 'utf8')));
        }
        return { contents: contents.replaceAll(OWN_TEXT, (_, name: string) => texts.get(name) ?? ''), loader: 'ts' };
      });
    },
  };
}
