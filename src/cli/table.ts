/** Rows as aligned columns; the last column is not padded. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)))
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

/** `key  value` lines, values aligned; nested objects are indented below their key. */
export function describe(value: Readonly<Record<string, unknown>>, indent = ''): string {
  const width = Math.max(0, ...Object.keys(value).map((key) => key.length));
  return Object.entries(value)
    .map(([key, member]) => {
      const inline = scalar(member);
      if (inline !== undefined) return `${indent}${key.padEnd(width)}  ${inline}`;
      return `${indent}${key}\n${describe(member as Readonly<Record<string, unknown>>, `${indent}  `)}`;
    })
    .join('\n');
}

/** One line for whatever fits one; undefined for what has members. */
function scalar(member: unknown): string | undefined {
  if (member === null || member === undefined) return '-';
  if (typeof member === 'string') return member;
  if (Array.isArray(member) && member.every((item) => typeof item !== 'object'))
    return member.join(', ') || '(none)';
  if (typeof member === 'object') return Object.keys(member).length === 0 ? '(none)' : undefined;
  return JSON.stringify(member);
}
