/** Cells and tables of the report. */
import { format } from './plot.ts';
import type { Spread } from './stats.ts';

/** Median, and from minimum to maximum. */
export function range(found: Spread | undefined): string {
  if (found === undefined) return '-';
  return `**${format(found.median)}** [${format(found.min)} to ${format(found.max)}]`;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
