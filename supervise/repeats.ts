// supervise/repeats.ts - what has been said already: a line that would be the same every second is said once.
//
// Owns: whether a line is news. Does not own: the log. Pure; the clock is an argument.

/** After this long it is said again, with how often it was not. */
const SAY_AGAIN_MS = 3_600_000;
/** The oldest are forgotten first: at worst a line is said twice. */
const REMEMBERED_MAX = 4096;

/** The lines said lately. */
export class Repeats {
  readonly #said = new Map<string, { atMs: number; unsaid: number }>();

  /** @param nowMs of the monotonic clock. @returns what to say; undefined for a line that was said not long ago. */
  newsOf(line: string, nowMs: number): string | undefined {
    const before = this.#said.get(line);
    if (before !== undefined && nowMs - before.atMs < SAY_AGAIN_MS) {
      before.unsaid += 1;
      return undefined;
    }
    this.#said.delete(line);
    this.#said.set(line, { atMs: nowMs, unsaid: 0 });
    for (const oldest of this.#said.keys()) {
      if (this.#said.size <= REMEMBERED_MAX) break;
      this.#said.delete(oldest);
    }
    return before === undefined || before.unsaid === 0
      ? line
      : `${line} (and ${before.unsaid} times since it was last said)`;
  }
}
