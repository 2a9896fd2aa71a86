/** Cells of a column stand below each other, those of numbers at its right. */
export interface Column {
  readonly head: string;
  readonly isNumber?: boolean;
}

/** A line for the heads, then one for each row. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const all = [columns.map(({ head }) => head), ...rows];
  const widths = columns.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  return all.map((row) =>
    columns
      .map(({ isNumber }, at) => {
        const [cell, width] = [row[at] ?? '', widths[at] ?? 0];
        return isNumber ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}
