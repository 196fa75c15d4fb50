// netboot/site/watch.io.ts - when the configuration is to be read again: a watch on its folders, and a slow scan under it.
//
// Owns: waking up, and how soon after an edit. Does not own what is read (load.io.ts), which paths matter (files.ts).
//
// A watch event is only a wake-up: the folder is then read as it is, so that lost, doubled and half-written events end
// the same. A slow scan is the net under it. Measured: chokidar misses the atomic replacement of symbolic links.

import { watch } from 'chokidar';
import { relative } from 'node:path';
import { reasonOf } from '../../formats/errors.ts';
import { isWatched } from './files.ts';

const DEBOUNCE_MS = 100;
/** A steady stream of edits is read at least this often. */
const DEBOUNCE_LIMIT_MS = 1000;
const SCAN_MS = 10_000;

/**
 * Watches until closed.
 *
 * @param told.read reads what is there now. @param told.trouble a line for the log: what cannot be read or watched.
 */
export function watchFolders(
  { configDir, roleDirs }: { readonly configDir: string; readonly roleDirs: readonly string[] },
  told: { readonly read: () => Promise<unknown>; readonly trouble: (line: string) => void },
): { readonly close: () => Promise<void> } {
  let timer: NodeJS.Timeout | undefined;
  let firstEventAtMs = 0;
  const read = (): void => {
    told.read().catch((error: unknown) => told.trouble(`cannot read the configuration: ${reasonOf(error)}`));
  };
  const wake = (): void => {
    const nowMs = performance.now();
    if (timer === undefined) firstEventAtMs = nowMs;
    clearTimeout(timer);
    const delayMs = Math.max(0, Math.min(DEBOUNCE_MS, firstEventAtMs + DEBOUNCE_LIMIT_MS - nowMs));
    timer = setTimeout(() => {
      timer = undefined;
      read();
    }, delayMs);
  };
  const roots = [configDir, ...roleDirs];
  const watcher = watch(roots, {
    depth: 1,
    ignoreInitial: true,
    atomic: false,
    ignored: (path) => roots.every((root) => !isWatched(relative(root, path), root === configDir)),
    ignorePermissionErrors: true,
  });
  watcher.on('all', wake);
  // What changed while the watch was being set up was told to nobody.
  watcher.on('ready', wake);
  watcher.on('error', (error) =>
    told.trouble(`watching the configuration failed, it is read every ${SCAN_MS / 1000} s: ${reasonOf(error)}`),
  );
  const scan = setInterval(read, SCAN_MS);
  return {
    close: async () => {
      clearTimeout(timer);
      clearInterval(scan);
      await watcher.close();
    },
  };
}
