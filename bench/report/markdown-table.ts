import type { Table } from './result.ts';

/** Figures to the right. */
export function markdownTable({ header, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = header.map((_, column) =>
    column > 0 && rows.every((row) => isFigure(row[column] ?? '')) ? '---:' : '---',
  );
  return [line(header), `|${rule.join('|')}|`, ...rows.map(line)].join('\n');
}

function isFigure(cell: string): boolean {
  return cell === '' || /^[-<]?[\d.,\s]+(\([\d.,-]+\))?( (PASS|FAIL))?$/.test(cell);
}
