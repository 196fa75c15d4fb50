// The overlay as a kernel would unpack it: what is in it, who may read the token, and the marker that names it.

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { MacAddress } from '../../../formats/mac.ts';
import { type CpioEntry } from '../../../images/cpio.ts';
import { decodeArchive } from '../../../images/cpioread.ts';
import { buildOverlay, type OverlayFacts } from '../../../netboot/boots/overlay.ts';

const TOKEN = '0123456789abcdef0123456789abcdef';
const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');
const text = (words: string): Uint8Array => new TextEncoder().encode(words);
const FACTS: OverlayFacts = {
  plan: {
    node: {
      name: 'web1',
      mac: '52:54:00:77:00:01' as MacAddress,
      address: undefined,
      labels: {},
      note: '',
      known: true,
    },
    profile: { name: 'web', chain: ['web'] },
    target: { kind: 'local' },
    cmdline: [],
    loader: 'auto',
    readyTimeoutS: 60,
    vars: {},
  },
  token: TOKEN,
  address: '10.0.0.11',
  files: [{ path: '/srv/www/index.html', mode: 0o640, content: text('page') }],
};

function unpack(facts: OverlayFacts): { files: Record<string, string>; entries: readonly CpioEntry[]; sha256: string } {
  const overlay = buildOverlay(facts, sha256);
  const archive = decodeArchive(overlay.archive);
  if (!archive.ok) throw new Error(archive.reason);
  const files = archive.entries.flatMap((entry) =>
    entry.kind === 'file' ? [[entry.path, `${entry.mode.toString(8)} ${new TextDecoder().decode(entry.data)}`]] : [],
  );
  return {
    files: Object.fromEntries(files) as Record<string, string>,
    entries: archive.entries,
    sha256: overlay.sha256,
  };
}

test('who the node is, its token for root alone, its rendered files, and the marker last', () => {
  const { files, entries, sha256: name } = unpack(FACTS);
  expect(files).toEqual({
    'etc/hostname': '644 web1\n',
    'etc/hosts': '644 127.0.0.1 localhost\n10.0.0.11 web1\n',
    'etc/rouse/boot': `600 token ${TOKEN}\nnode web1\nprofile web\n`,
    'srv/www/index.html': '640 page',
    [`.layers/${name}`]: '444 ',
  });
  expect(entries.at(-1)?.path).toBe(`.layers/${name}`);
  expect(entries.every(({ uid, gid }) => uid === 0 && gid === 0)).toBe(true);
});

test('its name is the hash of what comes before the marker', () => {
  const { archive, sha256: name } = buildOverlay(FACTS, sha256);
  const marker = Buffer.from(archive).indexOf(`.layers/${name}`);
  expect(sha256(archive.subarray(0, marker - 110))).toBe(name);
});

test('a template may replace /etc/hosts, and never the token', () => {
  const files = [
    { path: '/etc/hosts', mode: 0o644, content: text('mine') },
    { path: '/etc/rouse/boot', mode: 0o644, content: text('theirs') },
  ];
  expect(unpack({ ...FACTS, files }).files).toMatchObject({
    'etc/hosts': '644 mine',
    'etc/rouse/boot': `600 token ${TOKEN}\nnode web1\nprofile web\n`,
  });
});
