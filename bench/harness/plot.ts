/** Bars with their spread, as an SVG that reads on light and dark pages. */
import type { Spread } from './stats.ts';

export interface Bar {
  readonly label: string;
  readonly spread: Spread;
}

const WIDTH = 760;
const ROW = 26;
const LEFT = 300;
const RIGHT = 90;

/** One horizontal bar each: its length is the median, the line across it reaches from minimum to maximum. */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string {
  const largest = Math.max(...bars.map(({ spread }) => spread.max));
  const x = (value: number): number => LEFT + (value / largest) * (WIDTH - LEFT - RIGHT);
  const height = 44 + bars.length * ROW;
  const rows = bars.map(({ label, spread: { median, min, max } }, index) => {
    const y = 36 + index * ROW;
    const middle = y + 9;
    return [
      `<text x="${LEFT - 8}" y="${y + 13}" text-anchor="end">${escape(label)}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${(x(median) - LEFT).toFixed(1)}" height="18" fill="#4c78a8"/>`,
      `<line x1="${x(min).toFixed(1)}" y1="${middle}" x2="${x(max).toFixed(1)}" y2="${middle}" stroke="#f58518" stroke-width="2"/>`,
      `<text x="${(x(Math.max(median, max)) + 6).toFixed(1)}" y="${y + 13}">${format(median)}</text>`,
    ].join('');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="#777">`,
    `<text x="8" y="20" font-size="14">${escape(title)} (${escape(unit)}; line: min to max)</text>`,
    ...rows,
    '</svg>',
    '',
  ].join('\n');
}

export function format(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return Math.abs(value) >= 20 ? value.toFixed(0) : value.toFixed(2);
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
