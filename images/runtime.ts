// images/runtime.ts - Node and rouse on a node: which files, where, and what Debian's packages add to them.
//
// Owns: the content of the layers `node`, `rouse-packages` and `rouse` of an image whose recipe says `supervisor: rouse`.
// Does not own: where Node and the programs come from (runtime.io.ts), how layers are made (makelayers.io.ts).
//
// Three layers, because they change at different times: Node with its version, Debian's libraries with theirs, rouse with
// every edit. Compressing Node takes most of a minute, so it is done once. Places are the Debian package's (pack/).
// No compile cache is shipped: it saved nothing that could be measured, and V8 never writes the same bytes twice. Pure.

import type { Content, FilePiece, Peek } from './content.ts';
import type { CpioEntry } from './cpio.ts';
import { withoutSections } from './elf.ts';
import type { LoadedRecipe } from './recipe.ts';

/** Names of the layers, and owners of what is in them. */
export const NODE_OWNER = 'node';
export const ROUSE_OWNER = 'rouse';

const LIB = 'usr/lib/rouse';
const NODE_PATH = `${LIB}/node/bin/node`;

/**
 * What a recipe would say: the libraries that Node needs are found by the rule that finds all libraries. Of util-linux what
 * the supervisor runs: locks (flock), limits and accounts (prlimit, setpriv); busybox's own setpriv can do neither.
 */
export const RUNTIME_PACKAGES = {
  packages: ['libstdc++6', 'libgcc-s1', 'util-linux'],
  leaveOut: ['/usr/bin/', '/usr/sbin/', '/etc/', '/usr/share/', '/usr/lib/mime/', '/var/'],
  keep: ['/usr/bin/flock', '/usr/bin/prlimit', '/usr/bin/setpriv'],
} as const satisfies Partial<Record<keyof LoadedRecipe['recipe'], readonly string[]>>;

/** Node and the programs of rouse, as this machine has them. */
export type Runtime = {
  readonly nodeVersion: string;
  readonly rouseVersion: string;
  readonly node: CpioEntry<Content>;
  /** Of the program as it was found. */
  readonly nodeSha256: string;
  readonly programs: ReadonlyMap<string, Uint8Array>;
};

/**
 * Node's program for a node without disk: without symbols, a seventh smaller in memory.
 *
 * @param whole where the program lies. @param peek a look into it.
 * @returns undefined where it is no program.
 */
export function nodeEntry(whole: FilePiece, peek: Peek): CpioEntry<Content> | undefined {
  const kept = withoutSections(peek);
  if (kept === undefined) return undefined;
  return { kind: 'file', path: NODE_PATH, mode: 0o755, uid: 0, gid: 0, data: { ...whole, ...kept } };
}

/**
 * A young generation of 1 MB: the supervisor forks once per start, and a fork costs by the memory of the process. The log
 * writer is started by the supervisor without this: its loops are hot.
 */
const LAUNCHER = `#!/bin/sh
# rouse - the supervisor's own commands on this node, and (supervise) the supervisor itself.
lib=/${LIB}
case \${1-} in
  supervise) exec "$lib/node/bin/node" --max-semi-space-size=1 "$lib/bin/rouse-supervise.cjs" "$@" ;;
esac
exec "$lib/node/bin/node" --disable-warning=ExperimentalWarning "$lib/bin/rouse-node.cjs" "$@"
`;

/** The files of rouse itself. @param programs by name of file. */
export function rouseEntries(programs: ReadonlyMap<string, Uint8Array>, version: string): CpioEntry[] {
  const utf8 = new TextEncoder();
  const file = (path: string, mode: number, data: Uint8Array): CpioEntry => ({
    kind: 'file',
    path,
    mode,
    uid: 0,
    gid: 0,
    data,
  });
  return [
    ...[...programs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, data]) => file(`${LIB}/bin/${name}`, 0o644, data)),
    // Also tells Node that what lies here is CommonJS.
    file(
      `${LIB}/package.json`,
      0o644,
      utf8.encode(`${JSON.stringify({ name: 'rouse', version, type: 'commonjs' })}\n`),
    ),
    file('usr/bin/rouse', 0o755, utf8.encode(LAUNCHER)),
  ];
}
