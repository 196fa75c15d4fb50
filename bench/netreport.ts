// bench/netreport.ts - figures of the boot servers into tables: rate and processor time, and ratios to rouse.
//
// Owns: what is shown. Does not own measuring (nettraffic.io.ts). Pure.

import { renderTable } from '../bin/table.ts';
import { median } from './report.ts';

export type NetRow = {
  readonly server: string;
  /** "TFTP", "HTTP". */
  readonly protocol: string;
  readonly clients: number;
  /** Undefined for HTTP. */
  readonly windowBlocks: number | undefined;
  readonly runs: readonly {
    readonly wallMs: number;
    readonly cpuMs: number;
    readonly bytes: number;
    readonly peakMiB: number;
  }[];
  /** Why there are no runs. */
  readonly why?: string;
};

/** Lines of text, one row per server and load; in brackets how many times rouse's figure it is. */
export function renderNetReport(rows: readonly NetRow[]): string[] {
  const key = ({ protocol, clients, windowBlocks }: NetRow): string => `${protocol} ${windowBlocks ?? ''} ${clients}`;
  const ours = new Map(rows.filter(({ server }) => server === 'rouse').map((row) => [key(row), row]));
  const heading = ['load', 'clients', 'server', 'wall s', 'MB/s', 'CPU s/GB', 'peak MiB'];
  const cells = rows.map((row) => {
    const load = row.windowBlocks === undefined ? row.protocol : `${row.protocol}, window ${row.windowBlocks}`;
    const own = ours.get(key(row));
    const figure = (of: (row: NetRow) => number, digits: number): string => {
      const value = of(row);
      if (!Number.isFinite(value)) return '-';
      const ratio = own === undefined || own === row ? NaN : value / of(own);
      return value.toFixed(digits) + (Number.isFinite(ratio) ? ` (${ratio.toFixed(2)})` : '');
    };
    const cost = [figure(wallS, 2), figure(rateMBs, 0), figure(cpuPerGb, 2), figure(peak, 0)];
    return [load, String(row.clients), row.server, ...cost];
  });
  const failed = rows.flatMap(({ server, protocol, clients, why }) =>
    why === undefined ? [] : [`${server}, ${protocol}, ${clients} clients: ${why}`],
  );
  return [...renderTable(heading, cells), ...failed];
}

function wallS({ runs }: NetRow): number {
  return median(runs.map(({ wallMs }) => wallMs / 1000));
}

function rateMBs({ runs }: NetRow): number {
  return median(runs.map(({ bytes, wallMs }) => bytes / wallMs / 1000));
}

function cpuPerGb({ runs }: NetRow): number {
  return median(runs.map(({ bytes, cpuMs }) => (cpuMs / bytes) * 1e6));
}

function peak({ runs }: NetRow): number {
  return median(runs.map(({ peakMiB }) => peakMiB));
}
