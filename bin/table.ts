// bin/table.ts - rows of text in aligned columns. No colour, no boxes: what grep and awk can read.

/** @param heading empty for a table without one. @returns lines; the last column is not padded. */
export function renderTable(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = heading.length === 0 ? rows : [heading, ...rows];
  const columns = Math.max(0, ...all.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, index) => Math.max(...all.map((row) => row[index]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, index) => (index === columns - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
