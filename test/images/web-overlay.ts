// What a boot server makes for one boot of the web role, for tests that have none: the rendered page, hostname, token.

import type { CpioEntry } from '../../images/cpio.ts';
import { packLayer, type PackedLayer } from '../../images/layers.io.ts';
import type { Manifest } from '../../images/manifest.ts';
import { renderTemplates, type TemplateValues } from '../../netboot/boots/templates.ts';

export const BOOT_ID = '0123456789abcdef';
export const TOKEN = '00112233445566778899aabbccddeeff';

export async function webOverlay(manifest: Manifest): Promise<PackedLayer> {
  // Only what the role's template reads: strict rendering finds what is missing.
  const values: unknown = {
    node: { name: 'web1', hostname: 'web1', mac: '52:54:00:77:00:01', address: '10.0.2.15', labels: {}, note: '' },
    pools: {},
    directVips: [],
    profile: { name: 'web' },
    boot: { id: BOOT_ID, startedAt: '2026-01-02T03:04:05.000Z' },
    vars: { greeting: 'Good <morning>', gateway: '', upstreamPool: '' },
  };
  const rendered = renderTemplates(manifest.templates, values as TemplateValues);
  if (!rendered.ok) throw new Error(JSON.stringify(rendered.problems));
  const file = (path: string, mode: number, data: Uint8Array): CpioEntry => ({
    kind: 'file',
    path,
    mode,
    uid: 0,
    gid: 0,
    data,
  });
  const text = (content: string): Uint8Array => new TextEncoder().encode(content);
  return packLayer(
    'overlay',
    [
      file('etc/hostname', 0o644, text('web1\n')),
      file('etc/rouse/boot', 0o600, text(`token ${TOKEN}\nnode web1\nprofile web\n`)),
      ...rendered.files.map(({ path, mode, content }) => file(path.slice(1), mode, content)),
    ],
    'gzip',
    'quick',
  );
}
