// bench/report.ts - figures into rows: medians, and ratios to rouse.
//
// Owns: what is shown. Does not own: measuring (measure.io.ts). Pure.

import { renderTable } from '../bin/table.ts';

export type CrowdResult =
  | {
      readonly count: number;
      /** From the start of the supervisor to the first line of the last service. */
      readonly upMs: number;
      /** Supervisors, loggers and helpers; the services themselves are the same for all and left out. */
      readonly processes: number;
      readonly pssMiB: number;
      /** Of one core. */
      readonly idlePercent: number;
    }
  | { readonly count: number; readonly why: string };

export type RestartResult = { readonly latenciesMs: readonly number[] };

export type LogResult =
  | { readonly linesPerWrite: number; readonly cpuMs: number; readonly megabytes: number; readonly lines: number }
  | { readonly linesPerWrite: number; readonly why: string };

export type PeerResult = {
  readonly name: string;
  readonly crowds: readonly CrowdResult[];
  readonly restart?: RestartResult;
  readonly logs: readonly LogResult[];
};

/** The middle one; of an even number the lower. NaN for none. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}

/** Lines of text: one row per supervisor; in brackets how many times rouse's figure it is. */
export function renderReport(results: readonly PeerResult[], counts: readonly number[]): string[] {
  const ours = results.find(({ name }) => name === 'rouse');
  const heading = [
    'SUPERVISOR',
    ...counts.flatMap((count) => [`${count} UP s`, `${count} PSS MiB`, `${count} IDLE %`]),
    'RESTART ms',
    'LOG BULK MB/CPU s',
    'LOG SINGLE us/line',
  ];
  const cell = (of: (result: PeerResult) => number | undefined, digits: number) => (result: PeerResult) => {
    const value = of(result);
    if (value === undefined || !Number.isFinite(value)) return '-';
    const own = ours === undefined ? undefined : of(ours);
    const ratio = own === undefined || result === ours || !(own > 0) ? '' : ` (${(value / own).toPrecision(2)})`;
    return `${value.toFixed(digits)}${ratio}`;
  };
  const crowd = (result: PeerResult, count: number) =>
    result.crowds.find((each) => each.count === count && 'upMs' in each);
  const cells = [
    ...counts.flatMap((count) => [
      cell((result) => figure(crowd(result, count), 'upMs') / 1000, 2),
      cell((result) => figure(crowd(result, count), 'pssMiB'), 1),
      cell((result) => figure(crowd(result, count), 'idlePercent'), 2),
    ]),
    cell(({ restart }) => (restart === undefined ? undefined : median(restart.latenciesMs)), 1),
    cell((result) => {
      const log = result.logs.find((each) => each.linesPerWrite > 1);
      return log !== undefined && 'cpuMs' in log ? (1000 * log.megabytes) / log.cpuMs : undefined;
    }, 0),
    cell((result) => {
      const log = result.logs.find((each) => each.linesPerWrite === 1);
      return log !== undefined && 'cpuMs' in log ? (1000 * log.cpuMs) / log.lines : undefined;
    }, 1),
  ];
  const rows = results.map((result) => [result.name, ...cells.map((each) => each(result))]);
  const missing = results.flatMap(({ name, crowds, logs }) =>
    [...crowds, ...logs].flatMap((each) => ('why' in each ? [`${name}: ${each.why}`] : [])),
  );
  return [...renderTable(heading, rows), ...missing];
}

function figure(result: CrowdResult | undefined, key: 'upMs' | 'pssMiB' | 'idlePercent'): number {
  return result !== undefined && 'upMs' in result ? result[key] : Number.NaN;
}
