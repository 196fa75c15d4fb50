// netboot/fleet/protocol.ts - the node protocol: what a booted node tells the boot server, as lines that a shell can write.
//
// Owns: reading bodies of `word value` lines, and the limits on them. Does not own who may send them (http/route.ts) or
// what follows from them (journal.ts).
//
// A server reads nodes of the version before it: an unknown word is skipped, a missing one has its default.
// Source: ARCHITECTURE.md, "Node protocol, version 1". Pure.

import { printable } from '../../formats/printable.ts';
import { NODE_STAGES, type NodeStage } from '../journal/journal.ts';

/** Larger bodies are refused unread: a report of some hundred services fits. */
export const PROTOCOL_BODY_LIMIT_BYTES = 16_384;
const STAGE_LIMIT_BYTES = 4096;
const DETAIL_LIMIT_BYTES = 500;
const WEEK_MS = 7 * 24 * 3600 * 1000;

type StageReport = { readonly stage: NodeStage; readonly uptimeMs: number; readonly detail: string };

export type ReportResult =
  | { readonly ok: true; readonly report: StageReport }
  | { readonly ok: false; readonly why: string };

/**
 * Reads the body of POST …/stage.
 *
 * @param body any bytes; never throws.
 * @returns the report with printable detail, or the reason why not, to be sent back with 400.
 */
export function parseStageReport(body: Uint8Array): ReportResult {
  if (body.length > STAGE_LIMIT_BYTES) return no(`the body is longer than ${STAGE_LIMIT_BYTES} bytes`);
  const words = new Map<string, string>();
  for (const line of new TextDecoder('utf-8').decode(body).split('\n')) {
    const match = /^([A-Za-z]{1,32})(?: (.*))?$/.exec(line.replace(/\r$/, ''));
    if (match === null) {
      if (line.trim() === '') continue;
      return no('a line is not of the form: word value');
    }
    const [, word = '', value = ''] = match;
    if (words.has(word)) return no(`the word '${word}' comes twice`);
    words.set(word, value);
  }
  const stage = NODE_STAGES.find((name) => name === words.get('stage'));
  if (stage === undefined) return no(`expected a line 'stage' with one of ${NODE_STAGES.join(', ')}`);
  const uptime = words.get('uptimeMs') ?? '0';
  if (!/^\d{1,10}$/.test(uptime) || Number(uptime) > 52 * WEEK_MS)
    return no("expected a line 'uptimeMs' with milliseconds");
  const detail = printable(words.get('detail') ?? '');
  if (new TextEncoder().encode(detail).length > DETAIL_LIMIT_BYTES) {
    return no(`'detail' is longer than ${DETAIL_LIMIT_BYTES} bytes`);
  }
  return { ok: true, report: { stage, uptimeMs: Number(uptime), detail } };
}

function no(why: string): ReportResult {
  return { ok: false, why };
}
