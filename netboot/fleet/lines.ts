// netboot/fleet/lines.ts - bodies of the node protocol: lines `word value`, which a POSIX shell can write.
//
// Owns: taking a body apart into words and values, and the limits on it. Does not own what the words mean (stages.ts, reports.ts,
// site/inventory.ts).
//
// A server reads nodes of other versions: whoever reads the lines skips an unknown word and has a default for a missing one.
// Source: ARCHITECTURE.md, "Node protocol, version 1". Pure.

/** Larger bodies are refused unread: a report of some hundred services fits. */
export const PROTOCOL_BODY_LIMIT_BYTES = 16_384;
const MOST_LINES = 400;

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

/**
 * The words of a body in their order, each with what follows it on its line.
 *
 * @param body any bytes; never throws.
 * @param fit makes a line fit for logs and terminals.
 * @returns the lines, or the reason why not, to be sent back with 400.
 */
export function linesOf(
  body: Uint8Array,
  fit: (line: string) => string,
  limitBytes = PROTOCOL_BODY_LIMIT_BYTES,
): Read<readonly (readonly [word: string, value: string])[]> {
  if (body.length > limitBytes) return no(`the body is longer than ${limitBytes} bytes`);
  const found: (readonly [string, string])[] = [];
  for (const line of new TextDecoder('utf-8').decode(body).split('\n')) {
    const text = fit(line.replace(/\r$/, '')).trimEnd();
    if (text === '') continue;
    if (found.length >= MOST_LINES) return no(`more than ${MOST_LINES} lines`);
    const match = /^([A-Za-z]{1,32})(?: (.*))?$/.exec(text);
    if (match === null) return no('a line is not of the form: word value');
    found.push([match[1] ?? '', match[2] ?? '']);
  }
  return { ok: true, value: found };
}

/** The refusal of a body. */
export function no(why: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why };
}
