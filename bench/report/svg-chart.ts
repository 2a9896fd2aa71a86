/**
 * A chart as SVG: bars beside each other, a line each, with the range of the runs and a limit. No background, and colours
 * that can be read on white and on black, since a page that shows it says nothing of its own colours.
 */
import type { Bar, Chart } from './result.ts';

const WIDTH = 820;
const LABEL_WIDTH = 330;
const VALUE_WIDTH = 150;
const TOP = 58;
const ROW = 24;
const BAR = 13;
const BOTTOM = 12;
/** Of a character at 12 px, on average. */
const CHARACTER = 6.4;

const TEXT = '#7d8590';
const BAR_COLOUR = '#3d83e6';
const LIMIT_COLOUR = '#d97706';

export function svgChart({ title, unit, bars, limit }: Chart): string {
  const most = Math.max(...bars.map(({ value, most = value }) => most), limit?.value ?? 0) || 1;
  const x = (value: number) => LABEL_WIDTH + ((WIDTH - LABEL_WIDTH - VALUE_WIDTH) * value) / most;
  const height = TOP + bars.length * ROW + BOTTOM;
  const rows = bars.map((bar, i) => row(bar, TOP + i * ROW, x));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" ` +
      `font-family="system-ui, sans-serif" font-size="12" fill="${TEXT}">`,
    `<title>${escaped(title)}</title>`,
    `<text x="0" y="16" font-size="14" font-weight="600">${escaped(title)}</text>`,
    `<text x="0" y="34">${escaped(unit)}</text>`,
    ...rows,
    ...(limit === undefined ? [] : limitLine(x(limit.value), limit.label, height)),
    '</svg>',
    '',
  ].join('\n');
}

function row({ label, value, least = value, most = value }: Bar, top: number, x: (value: number) => number): string {
  const [middle, start] = [top + ROW / 2, x(0)];
  const fits = Math.floor(LABEL_WIDTH / CHARACTER) - 2;
  const shown = label.length > fits ? `${label.slice(0, fits - 1)}…` : label;
  const parts = [
    `<text x="${LABEL_WIDTH - 8}" y="${middle + 4}" text-anchor="end">${escaped(shown)}</text>`,
    `<rect x="${start}" y="${middle - BAR / 2}" width="${fixed(x(value) - start)}" height="${BAR}" fill="${BAR_COLOUR}"/>`,
  ];
  if (most > least) {
    parts.push(
      `<path d="M${fixed(x(least))} ${middle}H${fixed(x(most))}M${fixed(x(least))} ${middle - 4}v8M${fixed(x(most))} ${middle - 4}v8" ` +
        `stroke="${TEXT}" stroke-width="1.5" fill="none"/>`,
    );
  }
  const range = most > least ? ` (${short(least)}-${short(most)})` : '';
  parts.push(`<text x="${fixed(x(most) + 8)}" y="${middle + 4}">${short(value)}${range}</text>`);
  return parts.join('\n');
}

function limitLine(at: number, label: string, height: number): string[] {
  return [
    `<path d="M${fixed(at)} ${TOP - 6}V${height - BOTTOM + 4}" stroke="${LIMIT_COLOUR}" stroke-width="1.5" stroke-dasharray="4 3"/>`,
    `<text x="${fixed(at)}" y="${TOP - 10}" text-anchor="middle" fill="${LIMIT_COLOUR}">${escaped(label)}</text>`,
  ];
}

/** Three digits that count; whole numbers whole. */
export function short(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
