// netboot/site/csv.ts - tables of machines as spreadsheets write them: the first row names the columns.
//
// Owns: RFC 4180 (quotes, commas and line ends inside them), semicolons and tabs in place of commas, line numbers, limits.
// Does not own what the columns mean (adopt.ts, import.ts). Pure.

/** One row: its cells by the column's name, and the line that it begins on. */
export type CsvRow = { readonly line: number; readonly cells: Readonly<Record<string, string>> };

export type CsvResult =
  | { readonly ok: true; readonly columns: readonly string[]; readonly rows: readonly CsvRow[] }
  | { readonly ok: false; readonly line: number; readonly why: string };

const MOST_ROWS = 20_000;

/** Never throws. Column names are trimmed and in lower case, cells trimmed; empty lines and those that begin with # are skipped. */
export function parseCsv(text: string): CsvResult {
  const source = text.replace(/^\uFEFF/, '');
  const separator = [',', ';', '\t'].find((one) => (source.split('\n', 1)[0] ?? '').includes(one)) ?? ',';
  let columns: readonly string[] | undefined;
  const rows: CsvRow[] = [];
  let line = 1;
  let at = 0;
  while (at < source.length) {
    const startLine = line;
    const cells: string[] = [];
    let isComment = false;
    for (;;) {
      let cell = '';
      while (source[at] === ' ') at += 1;
      if (source[at] === '"') {
        at += 1;
        for (;;) {
          const end = source.indexOf('"', at);
          if (end === -1) return { ok: false, line: startLine, why: 'a quote is opened and never closed' };
          cell += source.slice(at, end);
          at = end + 1;
          if (source[at] !== '"') break;
          cell += '"';
          at += 1;
        }
        line += cell.split('\n').length - 1;
        while (source[at] === ' ' || source[at] === '\r') at += 1;
        if (at < source.length && source[at] !== separator && source[at] !== '\n') {
          return {
            ok: false,
            line: startLine,
            why: `expected '${separator}' or the end of the line behind a quoted cell`,
          };
        }
      } else {
        let end = at;
        while (end < source.length && source[end] !== separator && source[end] !== '\n') end += 1;
        cell = source.slice(at, end);
        at = end;
      }
      if (cells.length === 0 && cell.startsWith('#')) isComment = true;
      cells.push(cell.trim());
      if (source[at] !== separator) break;
      at += 1;
    }
    at += 1;
    line += 1;
    if (isComment || cells.every((cell) => cell === '')) continue;
    if (columns === undefined) {
      columns = cells.map((cell) => cell.toLowerCase());
      const twice = columns.find((name, index) => columns?.indexOf(name) !== index);
      if (twice !== undefined) return { ok: false, line: startLine, why: `the column '${twice}' comes twice` };
      continue;
    }
    if (cells.length > columns.length) {
      return {
        ok: false,
        line: startLine,
        why: `${cells.length} cells, and the first row names ${columns.length} columns`,
      };
    }
    rows.push({ line: startLine, cells: Object.fromEntries(columns.map((name, index) => [name, cells[index] ?? ''])) });
    if (rows.length > MOST_ROWS) return { ok: false, line: startLine, why: `more than ${MOST_ROWS} rows` };
  }
  return columns === undefined
    ? { ok: false, line: 1, why: 'it is empty, expected a first row with the names of the columns' }
    : { ok: true, columns, rows };
}
