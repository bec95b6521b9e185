export interface Column {
  title: string;
  align?: 'left' | 'right';
}

/** Rows as text, each column as wide as it needs to be. */
export function formatTable(
  columns: Column[],
  rows: string[][],
  head = (text: string): string => text,
): string {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => row[index]!.length)),
  );
  const line = (cells: string[]): string =>
    cells
      .map((cell, index) =>
        columns[index]!.align === 'right' ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!),
      )
      .join('  ')
      .trimEnd();
  return [head(line(columns.map(({ title }) => title))), ...rows.map(line)]
    .map((text) => `${text}\n`)
    .join('');
}
