// netboot/fleet/live.ts - live files: the templates of a boot that are rendered again while it runs, as one named archive.
//
// Owns: which templates are live, their archive, its revision.
// Does not own: rendering (../boots/templates.ts), the inputs (inputs.ts), what differs between two renderings (livediff.ts),
// carrying it to the node (fleet.io.ts).
// Source: ARCHITECTURE.md, "Live files". Pure.

import { concat, type CpioEntry, encodeChunks, encodeTrailer } from '../../images/cpio.ts';
import { MARKER_FOLDER, withParents } from '../../images/layers.ts';
import type { Template } from '../../images/manifest.ts';
import type { RenderedFile } from '../boots/templates.ts';

export type LiveFiles = {
  /** First 16 hexadecimal digits of the SHA-256 of the archive. */
  readonly revision: string;
  /** A cpio (newc), paths relative to /, uncompressed. */
  readonly archive: Uint8Array;
  readonly files: readonly RenderedFile[];
};

/** Where a node finds the revision that its overlay holds. */
const LIVE_REVISION_FILE = '/etc/rouse/live.revision';

export function liveTemplates(templates: readonly Template[]): Template[] {
  return templates.filter(({ live }) => live !== undefined);
}

/** @param sha256 of the octets, as 64 lower-case hexadecimal digits. */
export function liveFiles(files: readonly RenderedFile[], sha256: (octets: Uint8Array) => string): LiveFiles {
  const entries = files.map(
    ({ path, mode, content }): CpioEntry => ({
      kind: 'file',
      path: path.slice(1),
      mode,
      uid: 0,
      gid: 0,
      data: content,
    }),
  );
  const inOrder = withParents(entries).filter(({ path }) => path !== MARKER_FOLDER);
  const archive = concat([...encodeChunks(inOrder), encodeTrailer()]);
  return { revision: sha256(archive).slice(0, 16), archive, files };
}

/** The files of the boot's overlay that name its revision; none where nothing is live. */
export function revisionFile(live: LiveFiles | undefined): RenderedFile[] {
  if (live === undefined || live.files.length === 0) return [];
  return [{ path: LIVE_REVISION_FILE, mode: 0o644, content: new TextEncoder().encode(`${live.revision}\n`) }];
}
