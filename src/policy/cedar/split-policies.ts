/** One policy's text and where it begins. */
export interface PolicyText {
  /** From its first token (an annotation or the effect) to its ";" included. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

/**
 * The policies of a file, by the one token that ends each: a ";" outside strings and comments (Cedar has no other
 * use of it). What follows the last one is a policy too, for Cedar to complain about; white space and comments
 * are not.
 */
export function splitPolicies(file: string): readonly PolicyText[] {
  const policies: PolicyText[] = [];
  let start: number | undefined;
  const end = (at: number): void => {
    if (start === undefined) return;
    policies.push({ text: file.slice(start, at), line: lineAt(file, start) });
    start = undefined;
  };
  for (let at = 0; at < file.length; at += 1) {
    const character = file[at] ?? '';
    if (character === '/' && file[at + 1] === '/') {
      at = endOfLine(file, at);
    } else if (!/\s/.test(character)) {
      start ??= at;
      if (character === '"') at = endOfString(file, at);
      if (character === ';') end(at + 1);
    }
  }
  end(file.length);
  return policies;
}

/** Line of a character, from 1. */
export function lineAt(text: string, at: number): number {
  let line = 1;
  for (let next = text.indexOf('\n'); next !== -1 && next < at; next = text.indexOf('\n', next + 1))
    line += 1;
  return line;
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end === -1 ? text.length : end;
}

/** At the closing quote, or the end of a text that has none. */
function endOfString(text: string, opening: number): number {
  for (let at = opening + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at;
  }
  return text.length;
}
