/** What a caller or a server chose must not steer a terminal, nor look like a line of its own. */

const STEERING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** One line, whatever is in it. */
export function shown(line: string): string {
  return line.replace(STEERING, '\uFFFD');
}

/** Lines that may be several. */
export function shownLines(text: string): string {
  return text.split('\n').map(shown).join('\n');
}

/** JSON of the same value, with what steers a terminal escaped; the line feeds of `indent` are its own. */
export function shownJson(value: unknown, indent?: number): string {
  return JSON.stringify(value ?? null, null, indent).replace(STEERING, (found) =>
    found === '\n' ? found : found.split('').map(escaped).join(''),
  );
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
