// bench/imagereport.ts - figures of the image builders into a table: times, size, first answer, and ratios to rouse.
//
// Owns: what is shown. Does not own measuring (images.io.ts). Pure.

import { renderTable } from '../bin/table.ts';
import { median } from './report.ts';

/** From power-on to nginx's first answer. */
export type BootTime = {
  /** Of the whole machine, by QEMU's processor time. */
  readonly cpuMs: number;
  readonly wallMs: number;
};

export type BuilderResult = {
  readonly name: string;
  /** What the builder makes and what its image starts. */
  readonly text: string;
  /** Whether it copies from an installed system, as dracut and initramfs-tools do. */
  readonly copies: boolean;
  /** From nothing: lists and packages are fetched, and what the builder copies from is made. */
  readonly coldMs: number;
  /** Packages, or the system that the builder copies from, are at hand; nothing of the image is. */
  readonly warmMs: readonly number[];
  /** One file of the role was edited since the last build. */
  readonly editMs: readonly number[];
  readonly compressedBytes: number;
  /** Started by the shortest script that can serve the page, the same one for all. */
  readonly scriptBoots: readonly BootTime[];
  /** Started by the init that the builder puts in; none where it puts in none. */
  readonly ownBoots: readonly BootTime[];
  /** Why there are none. */
  readonly why?: string;
};

/** The least: what else the machine does only adds to a boot. NaN for none. */
const least = (values: readonly number[]): number => (values.length === 0 ? Number.NaN : Math.min(...values));

/** Lines of text, one row per builder; in brackets how many times rouse's figure it is. */
export function renderImageReport(results: readonly BuilderResult[]): string[] {
  const ours = results.find(({ name }) => name === 'rouse');
  const cell =
    (of: (result: BuilderResult) => number, digits: number) =>
    (result: BuilderResult): string => {
      const value = of(result);
      if (!Number.isFinite(value)) return '-';
      const ratio = ours === undefined || ours === result ? Number.NaN : value / of(ours);
      return `${value.toFixed(digits)}${Number.isFinite(ratio) ? ` (${ratio.toPrecision(2)})` : ''}`;
    };
  const columns = [
    cell(({ coldMs }) => coldMs / 1000, 1),
    cell(({ warmMs }) => median(warmMs) / 1000, 1),
    cell(({ editMs }) => median(editMs) / 1000, 2),
    cell(({ compressedBytes }) => compressedBytes / 1e6, 2),
    cell(({ scriptBoots }) => least(scriptBoots.map(({ cpuMs }) => cpuMs / 1000)), 2),
    cell(({ ownBoots }) => least(ownBoots.map(({ cpuMs }) => cpuMs / 1000)), 2),
    cell(({ ownBoots }) => least(ownBoots.map(({ wallMs }) => wallMs / 1000)), 2),
  ];
  const heading = ['BUILDER', 'COLD s', 'WARM s', 'ONE FILE s', 'MB', 'SCRIPT CPU s', 'OWN INIT CPU s', 'OWN INIT s'];
  const rows = results.map((result) => [result.name, ...columns.map((each) => each(result))]);
  const failed = results.flatMap(({ name, why }) => (why === undefined ? [] : [`${name}: ${why}`]));
  const how =
    'CPU s: of QEMU, power-on to the first answer, least of the boots; SCRIPT: started by one script of ten lines, for all';
  const told = results.map(({ name, text }) => `${name}: ${text}`);
  const copying = results.filter(({ copies }) => copies).map(({ name }) => name);
  const copies =
    copying.length === 0
      ? []
      : [`copying from an installed system, which only their COLD has the time of making: ${copying.join(', ')}`];
  return [...renderTable(heading, rows), ...failed, '', how, ...told, ...copies];
}
