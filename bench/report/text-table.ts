/** For a terminal: columns of equal width, words to the left, figures to the right. */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const text = lines.map((line) =>
    line
      .map((cell, i) => pad(cell, widths[i] ?? 0, i))
      .join('  ')
      .trimEnd(),
  );
  return [text[0], widths.map((width) => '-'.repeat(width)).join('  '), ...text.slice(1)].join('\n');
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 || /[A-Za-z]{4}/.test(cell) ? cell.padEnd(width) : cell.padStart(width);
}
