import { shown } from './shown.ts';

/** Rows as aligned columns, a line each whatever their cells hold; the last column is not padded. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((line) => line.map(shown));
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)))
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

/**
 * `key  value` lines, values aligned; nested objects, and the lines of what has several, are indented below their key.
 */
export function describe(value: Readonly<Record<string, unknown>>, indent = ''): string {
  const members = Object.entries(value).map(([key, member]) => [shown(key), member] as const);
  const width = Math.max(0, ...members.map(([key]) => key.length));
  return members
    .map(([key, member]) => {
      if (typeof member === 'string' && member.includes('\n')) return lines(key, member, indent);
      const inline = scalar(member);
      if (inline !== undefined) return `${indent}${key.padEnd(width)}  ${inline}`;
      return `${indent}${key}\n${describe(member as Readonly<Record<string, unknown>>, `${indent}  `)}`;
    })
    .join('\n');
}

function lines(key: string, text: string, indent: string): string {
  const below = text.trimEnd().split('\n');
  return [`${indent}${key}`, ...below.map((line) => `${indent}  ${shown(line)}`)].join('\n');
}

/** One line for whatever fits one; undefined for what has members. */
function scalar(member: unknown): string | undefined {
  if (member === null || member === undefined) return '-';
  if (typeof member === 'string') return shown(member);
  if (Array.isArray(member) && member.every((item) => typeof item !== 'object'))
    return shown(member.join(', ')) || '(none)';
  if (typeof member === 'object') return Object.keys(member).length === 0 ? '(none)' : undefined;
  return JSON.stringify(member);
}
