// bin/nodestatus.ts - the services of nodes, as the boot server heard of them last: `rouse status NODE`, `rouse node show`.
//
// Owns: the words NODE, NODE:SERVICE and ranges of nodes, and the layout. Does not own what nodes report (netboot/fleet).

import { join } from 'node:path';
import { Fault } from '../formats/errors.ts';
import { printable } from '../formats/printable.ts';
import { askFleet } from '../netboot/api/ask.io.ts';
import { askNetboot } from '../netboot/api/client.io.ts';
import type { NodeView, ReportView } from '../netboot/api/nodeview.ts';
import { expandNoderange } from '../netboot/site/noderange.ts';
import { renderAge } from '../supervise/view.ts';
import type { Places } from './context.ts';
import { renderTable } from './table.ts';

/** Whether a word can only mean nodes. */
export function isNodeWord(word: string): boolean {
  return /[[\],:]/.test(word);
}

/** Whether a boot server answers here. */
export async function hasBootServer(runDir: string): Promise<boolean> {
  try {
    await askNetboot(join(runDir, 'netboot.sock'), '/v1/health');
    return true;
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.code === 'E_UNREACHABLE') return false;
    throw thrown;
  }
}

type Asked = { readonly node: string; readonly service: string | undefined };

/** "web[1-2]:nginx" as its nodes. @throws Fault E_USAGE. */
function readWord(word: string): Asked[] {
  const [range = '', service] = word.split(':', 2);
  const expanded = expandNoderange(range);
  if (expanded.ok) return expanded.names.map((node) => ({ node, service }));
  throw new Fault('E_USAGE', { what: `rouse status ${word}`, why: expanded.why });
}

/**
 * What the boot server knows of the services of nodes, as lines to print.
 *
 * @throws Fault E_UNREACHABLE without a boot server, E_NOT_FOUND for an unknown node or service.
 */
export async function nodeLines(places: Places, words: readonly string[], isJson: boolean): Promise<string[]> {
  const shown = await Promise.all(
    words.flatMap(readWord).map(async ({ node, service }) => {
      const { report } = await askFleet<NodeView>(places, `/v1/nodes/${encodeURIComponent(node)}`);
      const services = report?.services.filter(({ name }) => service === undefined || name === service);
      if (service !== undefined && report !== undefined && services?.length === 0) {
        throw new Fault('E_NOT_FOUND', {
          what: `${node} reports no service '${service}'`,
          why: `it reports ${report.services.map(({ name }) => name).join(', ') || 'none'}`,
        });
      }
      return { node, report: report === undefined ? undefined : { ...report, services: services ?? [] } };
    }),
  );
  if (isJson) return [JSON.stringify({ nodes: shown })];
  const rows = shown.flatMap(({ node, report }) =>
    report === undefined ? [[node, '-', '-', '-', '-', '-', 'no report yet', '']] : serviceRows(node, report),
  );
  return renderTable(['NODE', 'SERVICE', 'STATE', 'PID', 'SINCE', 'READY', 'REPORTED', 'NOTES'], rows);
}

function serviceRows(node: string, report: ReportView): string[][] {
  const { ageMs, isSilent, supervisor, services } = report;
  const by = supervisor === undefined ? '' : `, by ${supervisor}`;
  const reported = `${renderAge(ageMs)} ago${by}${isSilent ? ', nothing since' : ''}`;
  if (services.length === 0) return [[node, 'none', '-', '-', '-', '-', reported, '']];
  return services.map(({ name, isUp, pid, forS, isReady, why = '' }) => [
    node,
    printable(name),
    isUp ? 'up' : 'down',
    pid === 0 ? '-' : String(pid),
    renderAge(forS * 1000 + ageMs),
    isReady ? 'yes' : 'no',
    reported,
    printable(why),
  ]);
}

/** Lines of `rouse node show` about the last report. */
export function renderReport(report: ReportView): string[] {
  const { ageMs, isSilent, uptimeMs, load, memoryFreeKb, isReady, supervisor = 'its supervisor' } = report;
  const when = isSilent ? `its last report, ${renderAge(ageMs)} ago` : `reported ${renderAge(ageMs)} ago`;
  const head = `${when}: ${isReady ? 'ready' : 'not ready'}, up ${renderAge(uptimeMs)}, load ${load}, ${Math.round(memoryFreeKb / 1024)} MB free, services under ${supervisor}`;
  const rows = serviceRows('', report).map((cells) => cells.toSpliced(6, 1));
  return [head, ...renderTable([' ', 'SERVICE', 'STATE', 'PID', 'SINCE', 'READY', 'NOTES'], rows)];
}
