// netboot/fleet/stages.ts - the body of POST …/stage: how far a boot has come, in the node's own words.
//
// Owns: reading it, and the limits on it. Does not own the form of lines (lines.ts), who may send them (http/route.ts), what
// follows from them (nodes.io.ts, journal/journal.ts).
// Source: ARCHITECTURE.md, "Node protocol, version 1". Pure.

import { printable } from '../../formats/printable.ts';
import { NODE_STAGES, type NodeStage } from '../journal/journal.ts';
import { linesOf, no, type Read } from './lines.ts';

const STAGE_LIMIT_BYTES = 4096;
const DETAIL_LIMIT_BYTES = 500;
const WEEK_MS = 7 * 24 * 3600 * 1000;

type StageReport = { readonly stage: NodeStage; readonly uptimeMs: number; readonly detail: string };

/**
 * Reads the body of POST …/stage.
 *
 * @param body any bytes; never throws.
 * @returns the report with printable detail, or the reason why not, to be sent back with 400.
 */
export function parseStageReport(body: Uint8Array): Read<StageReport> {
  const lines = linesOf(body, printable, STAGE_LIMIT_BYTES);
  if (!lines.ok) return lines;
  const words = new Map<string, string>();
  for (const [word, value] of lines.value) {
    if (words.has(word)) return no(`the word '${word}' comes twice`);
    words.set(word, value);
  }
  const stage = NODE_STAGES.find((name) => name === words.get('stage'));
  if (stage === undefined) return no(`expected a line 'stage' with one of ${NODE_STAGES.join(', ')}`);
  const uptime = words.get('uptimeMs') ?? '0';
  if (!/^\d{1,10}$/.test(uptime) || Number(uptime) > 52 * WEEK_MS)
    return no("expected a line 'uptimeMs' with milliseconds");
  const detail = words.get('detail') ?? '';
  if (new TextEncoder().encode(detail).length > DETAIL_LIMIT_BYTES) {
    return no(`'detail' is longer than ${DETAIL_LIMIT_BYTES} bytes`);
  }
  return { ok: true, value: { stage, uptimeMs: Number(uptime), detail } };
}
