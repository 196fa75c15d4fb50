// images/report.ts - images and initrd files told to people: every megabyte by layer and by package.
//
// Owns: the tables' content. Does not own: their alignment (bin/table.ts), the facts (manifest.ts, inspect.ts). Pure.

import type { CpioEntry } from './cpio.ts';
import { orOf, someOf } from './firmware.ts';
import type { InspectedLayer, Inspection } from './inspect.ts';
import type { Manifest } from './manifest.ts';

type Table = { readonly heading: readonly string[]; readonly rows: readonly (readonly string[])[] };

/** Tables of `rouse image show`; sizes in bytes as they are, so that sums can be checked. */
export function renderManifest(manifest: Manifest): Table[] {
  const { image, generation, builtAt, kernel, layers, packages, memoryMb, vars, templates, services } = manifest;
  const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);
  const served = sum(layers.map(({ servedBytes }) => servedBytes));
  const unpacked = sum(layers.map(({ unpackedBytes }) => unpackedBytes));
  const runtime = Object.entries(manifest.runtime ?? {}).map(([name, part]) => ({ name, ...part }));
  const parts = [...packages, ...runtime];
  const inPackages = sum(parts.map(({ bytes }) => bytes));
  return [
    { heading: [], rows: [[`${image} generation ${generation}, built ${builtAt}, kernel ${kernel.release}`]] },
    {
      heading: ['LAYER', 'SERVED', 'UNPACKED', 'FILES', 'SHA256'],
      rows: [
        ...layers.map(({ name, servedBytes, unpackedBytes, files, sha256 }) => [
          name,
          String(servedBytes),
          String(unpackedBytes),
          String(files),
          sha256.slice(0, 16),
        ]),
        ['kernel', String(kernel.bytes), '', '1', kernel.sha256.slice(0, 16)],
        ['all', String(served + kernel.bytes), String(unpacked), '', ''],
      ],
    },
    {
      heading: ['PACKAGE', 'VERSION', 'UNPACKED'],
      rows: [
        ...parts
          .toSorted((a, b) => b.bytes - a.bytes)
          .map(({ name, version, bytes }) => [name, version, String(bytes)]),
        ['the recipes themselves', '', String(unpacked - inPackages)],
        ['all', '', String(unpacked)],
      ],
    },
    {
      heading: ['MISSING FIRMWARE', 'FILES', 'DEBIAN PACKAGE', ''],
      rows: (manifest.missingFirmware ?? []).map(({ module, files, packages: from, accepted = '' }) => [
        module,
        someOf(files),
        orOf(from),
        accepted,
      ]),
    },
    {
      heading: ['VAR', 'TYPE', 'DEFAULT', 'MEANING'],
      rows: Object.entries(vars).map(([key, { type, default: given, text }]) => [
        key,
        type,
        JSON.stringify(given),
        text,
      ]),
    },
    {
      heading: [],
      rows: [
        [`memory of a node, at least: ${memoryMb === undefined ? 'unknown' : `${memoryMb} MiB`}`],
        [`services, under ${manifest.runtime === undefined ? 'svscan' : 'rouse'}: ${services.join(' ') || 'none'}`],
        [`templates, rendered at boot: ${templates.map(({ path }) => path).join(' ') || 'none'}`],
      ],
    },
  ].filter(({ rows }) => rows.length > 0);
}

/** Lines of `rouse image inspect`. */
export function renderInspection({ layers }: Inspection, withFiles: boolean): string[] {
  return layers.flatMap((layer, index) => {
    const { offset, storedBytes, compression, entries } = layer;
    const name = layer.marker === undefined ? 'no marker' : `layer ${layer.marker.slice(0, 16)}`;
    const files = entries.length === 1 ? '1 file' : `${entries.length} files`;
    const head = `${index + 1}  at ${offset}  ${compression}  ${storedBytes} bytes  ${unpackedOf(layer)} unpacked  ${files}  ${name}`;
    return withFiles ? [head, ...entries.map((entry) => `   ${renderEntry(entry)}`)] : [head];
  });
}

/** The same for --json, without the files' data. */
export function summariseInspection({ layers, problems }: Inspection): unknown {
  return {
    problems,
    layers: layers.map(({ entries, ...layer }) => ({
      ...layer,
      files: entries.map((entry) => {
        if (entry.kind !== 'file') return entry;
        const { data, ...rest } = entry;
        return { ...rest, bytes: data.length };
      }),
    })),
  };
}

function unpackedOf({ entries }: InspectedLayer): number {
  return entries.reduce((total, entry) => total + (entry.kind === 'file' ? entry.data.length : 0), 0);
}

const LETTERS = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  link: 'h',
  character: 'c',
  block: 'b',
  fifo: 'p',
} as const satisfies Record<CpioEntry['kind'], string>;

function renderEntry(entry: InspectedLayer['entries'][number]): string {
  const head = `${LETTERS[entry.kind]}${entry.mode.toString(8).padStart(4, '0')} ${entry.uid}:${entry.gid}`;
  const size = entry.kind === 'file' ? String(entry.data.length) : '';
  const target = entry.kind === 'symlink' || entry.kind === 'link' ? ` -> ${entry.target}` : '';
  return `${head} ${size.padStart(9)} ${entry.path}${target}`;
}
