// netboot/fleet/live.ts - live files: the templates of a boot that are rendered again while it runs, as one named archive.
//
// Owns: which templates are live, their archive, its revision.
// Does not own: rendering (../boots/templates.ts), the inputs (inputs.ts), what differs between two renderings (livediff.ts),
// carrying it to the node (fleet.io.ts).
// Source: ARCHITECTURE.md, "Live files". Pure.

import { concat, type CpioEntry, encodeChunks, encodeTrailer } from '../../images/cpio.ts';
import { MARKER_FOLDER, withParents } from '../../images/layers.ts';
import type { Template } from '../../images/manifest.ts';
import { type RenderedFile, renderTemplateProblems, renderTemplates, valuesOf } from '../boots/templates.ts';
import { siteVars } from '../site/plan.ts';
import type { Site } from '../site/site.ts';
import { inputsFor } from './inputs.ts';
import type { BegunBoot } from './nodestate.ts';
import type { PoolView, States } from './pools.ts';

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

export type LiveRendering =
  | { readonly kind: 'live'; readonly live: LiveFiles }
  | { readonly kind: 'problem'; readonly why: string };

/**
 * The live files that a running boot should have now.
 *
 * @param sha256 of the octets, as 64 lower-case hexadecimal digits.
 * @returns undefined where its image has none; a problem in one line where they do not render.
 */
export function renderLive(
  { site, states, pools }: { readonly site: Site; readonly states: States; readonly pools: readonly PoolView[] },
  node: string,
  { plan, image, address, id, startedAtMs }: BegunBoot,
  sha256: (octets: Uint8Array) => string,
): LiveRendering | undefined {
  const templates = liveTemplates(image.templates);
  if (templates.length === 0) return undefined;
  const file = site.nodes.get(node);
  let { vars } = plan;
  // Once its file says another profile, what it still runs stays as it was booted.
  if (file !== undefined && file.profile.name === plan.profile.name) {
    const imageName = plan.target.kind === 'linux' ? plan.target.image : '';
    const resolved = siteVars(site, plan.profile.name, file.effective, image.vars, imageName);
    const [problem] = resolved.problems;
    if (problem !== undefined) return { kind: 'problem', why: renderTemplateProblems([problem]) };
    vars = Object.fromEntries(Object.entries(resolved.vars).map(([name, { value }]) => [name, value]));
  }
  const labels = file?.labels ?? plan.node.labels;
  const inputs = inputsFor(site, states, { name: node, profile: plan.profile.name, labels, address }, pools);
  const described = { ...plan, vars, node: { ...plan.node, labels, note: file?.note ?? plan.node.note } };
  const rendered = renderTemplates(templates, valuesOf(described, { address, bootId: id, startedAtMs }, inputs));
  return rendered.ok
    ? { kind: 'live', live: liveFiles(rendered.files, sha256) }
    : { kind: 'problem', why: renderTemplateProblems(rendered.problems) };
}

/** The files of the boot's overlay that name its revision; none where nothing is live. */
export function revisionFile(live: LiveFiles | undefined): RenderedFile[] {
  if (live === undefined || live.files.length === 0) return [];
  return [{ path: LIVE_REVISION_FILE, mode: 0o644, content: new TextEncoder().encode(`${live.revision}\n`) }];
}
