// formats/printable.ts - text that came from files and names, made fit for a log line and a terminal.
//
// Owns: which characters may not reach people as they are, and how much of a stranger's text does.
// Does not own: where texts are shown (errors.ts, supervise/logline.io.ts, supervise/view.ts).
//
// A service's folder may be named by anybody who may write there: an escape sequence in it would act on the terminal of
// whoever looks, a newline would make a line that nobody said. JSON needs none of this: it escapes them itself. Pure.

/** C0 and DEL, C1, line and paragraph separators, what turns the writing direction, and halves of a surrogate pair. */
const UNFIT = /[\p{Cc}\u2028\u2029\u200E\u200F\u202A-\u202E\u2066-\u2069\p{Cs}]/gu;

/** The text with "\x1b", "\n" or "\u202e" spelt out. */
export function printable(text: string): string {
  return text.replace(UNFIT, (character) => {
    const code = character.charCodeAt(0);
    if (character === '\n') return '\\n';
    if (character === '\t') return '\\t';
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/**
 * Text off the network, where a byte may mean anything: only ASCII stays, all else becomes "?".
 * @param lengthMax in characters; what is longer is cut and ends in "…".
 */
export function printableAscii(foreign: string, lengthMax = 64): string {
  const safe = foreign.slice(0, lengthMax).replace(/[^ -~]/gu, '?');
  return foreign.length > lengthMax ? `${safe}…` : safe;
}
