// images/elf.ts beside readelf, on this machine's own programs; images/modinfo.ts on a module made here.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { peekOctets } from '../../images/content.ts';
import { ELF_MACHINES, isElf, readElfNeeds, readElfSection, withoutSections } from '../../images/elf.ts';
import { readBuiltins, readModuleInfo } from '../../images/modinfo.ts';
import { elfWithSection } from './elf-fixture.ts';

const CANDIDATES = [
  '/bin/sh',
  '/bin/bash',
  '/usr/bin/apt-get',
  '/usr/bin/perl',
  '/usr/bin/openssl',
  '/usr/bin/busybox',
  '/bin/busybox',
];
const PROGRAMS = [process.execPath, ...CANDIDATES.filter((path) => existsSync(path))];

const dynamicValues = (path: string, tag: string): string[] =>
  execFileSync('readelf', ['-dW', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 64e6 })
    .split('\n')
    .filter((line) => line.includes(`(${tag})`))
    .flatMap((line) => /\[(.*)\]/.exec(line)?.[1] ?? []);

for (const program of PROGRAMS) {
  test(`needs of ${program} are what readelf says`, () => {
    const path = realpathSync(program);
    const needs = readElfNeeds(peekOctets(readFileSync(path)));
    const headers = execFileSync('readelf', ['-lW', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    expect(needs).toEqual({
      machine: process.arch === 'arm64' ? ELF_MACHINES.arm64 : ELF_MACHINES.amd64,
      interpreter: /interpreter: (.*)\]/.exec(headers)?.[1],
      needed: dynamicValues(path, 'NEEDED'),
      soname: undefined,
      runpath: [...dynamicValues(path, 'RUNPATH'), ...dynamicValues(path, 'RPATH')].flatMap((list) => list.split(':')),
    });
  });
}

test('a library tells its own name, and needs no interpreter unless it has one', () => {
  const libc = execFileSync('ldd', ['/bin/sh'], { encoding: 'utf8' });
  const path = /libc\.so\.6 => (\S+)/.exec(libc)?.[1] ?? '';
  expect(readElfNeeds(peekOctets(readFileSync(path)))).toMatchObject({
    soname: 'libc.so.6',
    needed: dynamicValues(path, 'NEEDED'),
  });
});

test('what is no ELF file is none', () => {
  expect(isElf(new TextEncoder().encode('#!/bin/sh\n'))).toBe(false);
  expect(readElfNeeds(peekOctets(new Uint8Array(0)))).toBeUndefined();
  expect(readElfSection(new TextEncoder().encode('x'.repeat(200)), '.modinfo')).toBeUndefined();
});

test('no damage makes the reader throw', () => {
  const whole = readFileSync(realpathSync('/bin/sh'));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(4096), fc.nat(255)), { maxLength: 8 }),
      fc.nat(whole.length),
      (changes, cut) => {
        const mutated = Uint8Array.from(whole.subarray(0, Math.max(cut, 64)));
        for (const [at, value] of changes) mutated[at % mutated.length] = value;
        readElfNeeds(peekOctets(mutated));
        readElfSection(mutated, '.dynstr');
      },
    ),
    { numRuns: 300 },
  );
});

test('a module says what it needs', () => {
  const words = [
    'license=GPL',
    'alias=virtio:d00000001v*',
    'depends=net_failover,crc32c-intel',
    'softdep=pre: failover crypto-x post: tail',
    'firmware=bnx2/bnx2-mips-09.fw',
    'name=virtio_net',
  ];
  const info = readModuleInfo(elfWithSection('.modinfo', `${words.join('\0')}\0`), 'virtio-net');
  expect(info).toEqual({
    name: 'virtio_net',
    depends: ['net_failover', 'crc32c_intel'],
    softBefore: ['failover', 'crypto_x'],
    softAfter: ['tail'],
    aliases: ['virtio:d00000001v*'],
    firmware: ['bnx2/bnx2-mips-09.fw'],
  });
});

test('a compressed module, which has no .modinfo to read, is not taken for one that needs nothing', () => {
  expect(readModuleInfo(new Uint8Array(1000).fill(0xfd), 'x')).toBeUndefined();
  expect(readModuleInfo(elfWithSection('.text', 'abc'), 'x')).toBeUndefined();
});

test('modules.builtin.modinfo names each module before its words', () => {
  const builtins = readBuiltins(
    new TextEncoder().encode('nvme.author=x\0nvme.alias=pci:v*\0crc32c-generic.depends=\0'),
  );
  expect([...builtins.keys()]).toEqual(['nvme', 'crc32c_generic']);
  expect(builtins.get('nvme')?.aliases).toEqual(['pci:v*']);
});

test('a program without its sections needs the same and runs the same; binutils finds no symbol in it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rouse-elf-'));
  try {
    const octets = readFileSync(process.execPath);
    const kept = withoutSections(peekOctets(octets));
    expect(kept).toBeDefined();
    if (kept === undefined) return;
    const cut = Buffer.concat([kept.head, octets.subarray(kept.head.length, kept.length)]);
    expect(cut.length).toBeLessThan(0.9 * octets.length);
    expect(readElfNeeds(peekOctets(cut))).toEqual(readElfNeeds(peekOctets(octets)));
    const path = join(folder, 'node');
    writeFileSync(path, cut, { mode: 0o755 });
    // What throws and is caught in C++ still unwinds: a JSON error comes from there.
    const script =
      'try { new Intl.DateTimeFormat("xx-invalid-locale-that-is-none") } catch (e) { console.log(e.name) }';
    expect(execFileSync(path, ['-e', script], { encoding: 'utf8' })).toBe('RangeError\n');
    expect(execFileSync('readelf', ['-S', path], { encoding: 'utf8' })).toContain('There are no sections in this file');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('what is no program, or is cut short, has no such copy', () => {
  expect(withoutSections(peekOctets(elfWithSection('.modinfo', 'x')))).toBeUndefined();
  const octets = readFileSync(realpathSync('/bin/sh'));
  expect(withoutSections(peekOctets(octets.subarray(0, octets.length / 2)))).toBeUndefined();
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      (tail) => void withoutSections(peekOctets(Buffer.from([...octets.subarray(0, 64), ...tail]))),
    ),
  );
});
