// test/netboot/home.ts - a configuration folder and a small built image, for tests that serve them.
//
// The image is no system: its kernel and layers are a few bytes, named, compressed and published as the builder does.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { concat, type CpioEntry } from '../../images/cpio.ts';
import { layerChunks, markerChunks, paddingBytes } from '../../images/layers.ts';
import { signedBy } from '../../images/keys.io.ts';
import type { Manifest } from '../../images/manifest.ts';

const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

const KEYS = generateKeyPairSync('ed25519');

/** Writes files of a folder by their paths. */
export function writeTree(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

/** Publishes a generation of an image under lib/images and makes it current. */
export function publishImage(
  libDir: string,
  image: string,
  {
    generation = 1,
    ...over
  }: Partial<Pick<Manifest, 'generation' | 'vars' | 'templates'>> & { layerBytes?: number } = {},
): Manifest {
  const images = join(libDir, 'images');
  for (const folder of ['layers', 'kernels', image]) mkdirSync(join(images, folder), { recursive: true });
  const kernel = Buffer.from(`the kernel of ${image} ${generation}`.repeat(100));
  writeFileSync(join(images, 'kernels', sha256(kernel)), kernel);
  const entry: CpioEntry = {
    kind: 'file',
    path: 'etc/image',
    mode: 0o644,
    uid: 0,
    gid: 0,
    // Noise does not compress, so that the served size is about what was asked for.
    data: noise(over.layerBytes ?? 2000),
  };
  const before = concat(layerChunks([entry]));
  const name = sha256(before);
  const packed = gzipSync(concat([before, ...markerChunks(name)]));
  const served = Buffer.concat([packed, Buffer.alloc(paddingBytes(packed.length))]);
  writeFileSync(join(images, 'layers', `${name}.gz`), served);
  const manifest: Manifest = {
    version: 1,
    image,
    generation,
    builtAt: '2026-01-01T00:00:00Z',
    recipe: { file: `services/${image}/recipe.yaml`, sha256: '0'.repeat(64) },
    kernel: { release: '6.1.0', package: 'linux-image', sha256: sha256(kernel), bytes: kernel.length },
    layers: [
      {
        name: 'role',
        sha256: name,
        compression: 'gzip',
        servedSha256: sha256(served),
        servedBytes: served.length,
        unpackedBytes: entry.data.length,
        files: 1,
      },
    ],
    packages: [],
    vars: over.vars ?? { greeting: { type: 'string', default: 'hello', text: 'What the page says.' } },
    templates: over.templates ?? [
      {
        path: '/srv/www/index.html',
        mode: 0o644,
        source: '<h1>{{ node.name }}</h1> {{ vars.greeting }} {{ profile.name }}\n',
        origin: `services/${image}/files/srv/www/index.html.liquid`,
      },
    ],
    services: [image],
  };
  mkdirSync(join(libDir, 'keys'), { recursive: true });
  writeFileSync(join(libDir, 'keys', 'test.pub'), KEYS.publicKey.export({ type: 'spki', format: 'pem' }));
  writeFileSync(join(images, image, `${generation}.json`), signedBy(KEYS.privateKey, manifest));
  const current = join(images, image, 'current');
  try {
    unlinkSync(current);
  } catch {
    // The first generation.
  }
  symlinkSync(`${generation}.json`, current);
  return manifest;
}

function noise(bytes: number): Uint8Array {
  const octets = new Uint8Array(bytes);
  let state = 1;
  for (let index = 0; index < bytes; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    octets[index] = state >>> 16;
  }
  return octets;
}
