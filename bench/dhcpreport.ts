// bench/dhcpreport.ts - figures of DHCP servers into a table, with ratios to rouse.
//
// Owns: what is shown. Does not own measuring (dhcp.io.ts). Pure.

import { renderTable } from '../bin/table.ts';
import type { DhcpRow } from './dhcp.io.ts';

/** Lines of text, one row per server and number of leases; in brackets how many times rouse's figure it is. */
export function renderDhcpReport(rows: readonly DhcpRow[]): string[] {
  if (rows.length === 0) return [];
  const cells = [...rows]
    .sort((a, b) => a.leases - b.leases)
    .map((row) => {
      const own = rows.find(({ server, leases }) => server === 'rouse' && leases === row.leases);
      const figure = (of: (each: DhcpRow) => number, digits: number): string => {
        const value = of(row);
        if (!Number.isFinite(value)) return '-';
        const ratio = own === undefined || own === row ? Number.NaN : value / of(own);
        return value.toFixed(digits) + (Number.isFinite(ratio) ? ` (${ratio.toFixed(2)})` : '');
      };
      const delays = [figure(({ offerMs }) => offerMs, 1), figure(({ ackMs }) => ackMs, 1)];
      return [String(row.leases), row.server, figure(({ cpuUs }) => cpuUs, 0), ...delays, String(row.exchanges)];
    });
  const failed = rows.flatMap(({ server, leases, why }) =>
    why === undefined ? [] : [`${server}, ${leases} leases: ${why}`],
  );
  const heading = ['leases', 'server', 'CPU us/exchange', 'OFFER ms', 'ACK ms', 'exchanges'];
  return [...renderTable(heading, cells), ...failed];
}
