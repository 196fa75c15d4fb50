// A layer's form: its name is its content's, it says so from inside, it can be joined, and it is the same everywhere.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { peekOctets } from '../../images/content.ts';
import { concat, type CpioEntry, encodeEntries, encodeTrailer } from '../../images/cpio.ts';
import { sha256Of } from '../../images/files.io.ts';
import { zstdFrameBytes } from '../../images/inspect.ts';
import { describeStored, packLayer } from '../../images/layers.io.ts';
import { paddingBytes, withParents } from '../../images/layers.ts';
import { LAYER_FILE, layerFile } from '../../images/manifest.ts';
import { inspectOctets } from './inspected.ts';

const file = (path: string, text: string): CpioEntry => ({
  kind: 'file',
  path,
  mode: 0o644,
  uid: 0,
  gid: 0,
  data: new TextEncoder().encode(text),
});

/** 5000 digits that no compressor makes much smaller than half. */
const DIGITS = Array.from({ length: 5000 }, (_, index) =>
  (Math.imul(index + 1, 2_654_435_761) >>> 28).toString(16),
).join('');
const BASE = [
  file('etc/hostname', 'web1\n'),
  file('usr/share/a', createHash('sha512').update(DIGITS).digest('hex').padEnd(4000, DIGITS)),
];

test('the marker is the last entry and names the SHA-256 of everything before it', async () => {
  const { layer, octets } = await packLayer('base', BASE);
  const plain = zstdDecompressSync(octets);
  const listing = execFileSync('cpio', ['-it', '--quiet'], { input: plain, encoding: 'utf8' }).trim().split('\n');
  expect(listing.at(-1)).toBe(`.layers/${layer.sha256}`);
  expect(listing.slice(0, -1)).toEqual(['.layers', 'etc', 'etc/hostname', 'usr', 'usr/share', 'usr/share/a']);
  // The marker: a header of 110 octets and a name of 72 with its NUL, rounded up to 184; the trailer: 124.
  const before = plain.subarray(0, plain.length - 184 - 124);
  expect(createHash('sha256').update(before).digest('hex')).toBe(layer.sha256);
  expect(layer).toMatchObject({ files: 6, unpackedBytes: 4005, servedBytes: octets.length, compression: 'zstd' });
  expect(createHash('sha256').update(octets).digest('hex')).toBe(layer.servedSha256);
});

for (const compression of ['zstd', 'gzip'] as const) {
  test(`a ${compression} layer fills a multiple of 512 octets with NULs and unpacks with ${compression}`, async () => {
    const { octets } = await packLayer('base', BASE, compression);
    expect(octets.length % 512).toBe(0);
    const end = octets.findLastIndex((octet) => octet !== 0) + 1;
    expect(octets.length - end).toBeLessThan(512);
    // gzip takes trailing NULs for padding, as the kernel does; the zstd command does not.
    const input = octets.subarray(0, compression === 'zstd' ? zstdFrameBytes(peekOctets(octets), 0) : undefined);
    const listed = execFileSync('sh', ['-c', `${compression} -dc | cpio -it --quiet`], { input });
    expect(listed.toString()).toContain('etc/hostname');
  });
}

test('a layer of many blocks holds each of them once, however it is compressed', async () => {
  const data = new Uint8Array(1_500_000).map((_, index) => Math.imul(index, 2_654_435_761) >>> 24);
  const blob: CpioEntry = { kind: 'file', path: 'blob', mode: 0o644, uid: 0, gid: 0, data };
  for (const [compression, program] of [
    ['zstd', 'zstd -dcq'],
    ['gzip', 'gzip -dcq'],
    ['none', 'cat'],
  ] as const) {
    const { octets } = await packLayer('blob', [blob], compression, 'quick');
    const input = octets.subarray(0, compression === 'zstd' ? zstdFrameBytes(peekOctets(octets), 0) : undefined);
    const found = execFileSync('sh', ['-c', `${program} | cpio -i --to-stdout --quiet blob`], {
      input,
      maxBuffer: 4_000_000,
    });
    expect(Buffer.compare(found, data)).toBe(0);
  }
});

test('a layer without compression is the archive itself, and a damaged one is found out', async () => {
  const { layer, octets } = await packLayer('microcode', BASE, 'none');
  expect(octets.length % 512).toBe(0);
  const listed = execFileSync('cpio', ['-it', '--quiet'], { input: octets, encoding: 'utf8' }).trim().split('\n');
  expect(listed.at(-1)).toBe(`.layers/${layer.sha256}`);
  expect(await describeStored(layer, [octets])).toEqual(layer);
  for (const at of [300, octets.length - 1]) {
    const damaged = Buffer.from(octets);
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    expect(await describeStored(layer, [damaged])).toBeUndefined();
  }
  expect(layerFile(layer)).toBe(`${layer.sha256}.cpio`);
});

test('every name of a layer’s file is one that is looked for', () => {
  const looked = new RegExp(`^${LAYER_FILE}$`);
  for (const compression of ['zstd', 'gzip', 'none'] as const) {
    expect(layerFile({ sha256: 'a'.repeat(64), compression })).toMatch(looked);
  }
  for (const name of [`${'a'.repeat(64)}.bz2`, `${'a'.repeat(64)}xgz`, `${'a'.repeat(63)}.gz`])
    expect(name).not.toMatch(looked);
});

test('compression and effort do not change the name', async () => {
  const names = await Promise.all([
    packLayer('d', BASE, 'none'),
    packLayer('a', BASE, 'zstd', 'smallest'),
    packLayer('b', BASE.toReversed(), 'zstd', 'quick'),
    packLayer('c', BASE, 'gzip', 'quick'),
  ]);
  expect(new Set(names.map(({ layer }) => layer.sha256)).size).toBe(1);
});

test('several layers packed at once come out whole', async () => {
  const noise = (seed: number): Uint8Array => {
    const octets = new Uint8Array(400_000);
    let state = seed;
    for (let index = 0; index < octets.length; index += 1) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      octets[index] = state >>> 24;
    }
    return octets;
  };
  const packed = await Promise.all(
    [1, 2, 3, 4].map((seed) => packLayer(`n${seed}`, [{ ...file('noise', ''), data: noise(seed) } as CpioEntry])),
  );
  for (const [index, { layer, octets }] of packed.entries()) {
    expect(await describeStored(layer, [octets])).toEqual(layer);
    const [inspected] = (await inspectOctets(octets)).layers;
    expect(inspected?.entries.find(({ path }) => path === 'noise')).toMatchObject({
      data: { length: 400_000, sha256: sha256Of(noise(index + 1)) },
    });
  }
});

test('joined layers of different forms are taken apart, each with its marker', async () => {
  const parts = [
    await packLayer('one', BASE),
    await packLayer('two', [file('etc/two', '2')], 'gzip'),
    await packLayer('three', [file('etc/three', '3')]),
  ];
  const joined = Buffer.concat(parts.map(({ octets }) => octets));
  const { layers, problems } = await inspectOctets(joined);
  expect(problems).toEqual([]);
  expect(layers.map(({ marker }) => marker)).toEqual(parts.map(({ layer }) => layer.sha256));
  expect(layers.map(({ sha256 }) => sha256)).toEqual(parts.map(({ layer }) => layer.sha256));
  expect(layers.map(({ compression }) => compression)).toEqual(['zstd', 'gzip', 'zstd']);
});

test('what a kernel would pass over in silence is said', async () => {
  const one = await packLayer('one', BASE);
  const two = await packLayer('two', [file('etc/hostname', 'other\n')]);
  expect((await inspectOctets(Buffer.concat([one.octets, two.octets]))).problems).toEqual([
    '/etc/hostname of layer 1 is replaced by layer 2',
  ]);
  const plain = zstdDecompressSync(two.octets);
  const misplaced = await inspectOctets(Buffer.concat([one.octets, Buffer.from([0]), plain]));
  expect(misplaced.problems[0]).toContain('does not start at a multiple of 4');
  const cut = await inspectOctets(one.octets.subarray(0, 300));
  expect(cut.problems).toHaveLength(1);
  const twice = concat([encodeEntries([file('a', '1')]), encodeEntries([file('a', '2')]), encodeTrailer()]);
  expect((await inspectOctets(twice)).problems).toEqual(['/a is twice in layer 1']);
  const garbage = await inspectOctets(Buffer.concat([one.octets, Buffer.from('<html>404')]));
  expect(garbage.problems[0]).toContain('neither cpio, zstd nor gzip');
  const damaged = Buffer.from(one.octets);
  damaged[200] = (damaged[200] ?? 0) ^ 0xff;
  expect((await inspectOctets(damaged)).problems).toHaveLength(1);
});

test('a layer whose marker lies is found out', async () => {
  const one = await packLayer('one', BASE);
  const plain = Buffer.from(zstdDecompressSync(one.octets));
  plain.write('web2', plain.indexOf('web1'));
  expect((await inspectOctets(plain)).problems[0]).toContain('is marked');
});

test('the length of a zstd frame is read from its headers, checksum and all', async () => {
  const { octets } = await packLayer('one', BASE);
  const length = zstdFrameBytes(peekOctets(octets), 0);
  const end = octets.findLastIndex((octet) => octet !== 0) + 1;
  expect(length).toBe(end);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
      const bytes = zstdFrameBytes(peekOctets(Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, ...tail])), 0);
      expect(bytes === undefined || bytes <= tail.length + 4).toBe(true);
    }),
  );
});

test('a stored layer of another compressor is kept, a damaged one is not', async () => {
  const { layer, octets } = await packLayer('one', BASE, 'zstd', 'smallest');
  const other = await packLayer('one', BASE, 'zstd', 'quick');
  expect(await describeStored(layer, [other.octets])).toEqual(other.layer);
  const damaged = Buffer.from(octets);
  damaged[200] = (damaged[200] ?? 0) ^ 0x55;
  expect(await describeStored(layer, [damaged])).toBeUndefined();
  expect(await describeStored(layer, [(await packLayer('x', [file('y', 'z')])).octets])).toBeUndefined();
});

test('every parent folder is there once, 0755 of root unless it is given', () => {
  const given: CpioEntry = { kind: 'directory', path: 'var', mode: 0o700, uid: 5, gid: 6 };
  const all = withParents([file('var/lib/x/y', ''), file('var/lib/z', ''), given]);
  expect(all.map(({ path }) => path)).toEqual(['.layers', 'var', 'var/lib', 'var/lib/x', 'var/lib/x/y', 'var/lib/z']);
  expect(all[1]).toEqual(given);
  expect(all[2]).toMatchObject({ kind: 'directory', mode: 0o755, uid: 0, gid: 0 });
});

test('padding reaches the next multiple of 512 and never a whole one', () => {
  fc.assert(
    fc.property(fc.nat(10_000_000), (length) => {
      expect((length + paddingBytes(length)) % 512).toBe(0);
      expect(paddingBytes(length)).toBeLessThan(512);
    }),
  );
});
