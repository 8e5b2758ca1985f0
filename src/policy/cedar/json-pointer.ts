/** JSON Pointers (RFC 6901). */

/** The pointer of reference tokens: `['a/b', '0']` is `/a~1b/0`; none is the whole document. */
export function toPointer(tokens: readonly string[]): string {
  let pointer = '';
  for (const token of tokens) pointer += `/${escaped(token)}`;
  return pointer;
}

function escaped(token: string): string {
  if (!/[~/]/.test(token)) return token;
  return token.replaceAll('~', '~0').replaceAll('/', '~1');
}

export function isJsonPointer(text: string): boolean {
  return /^(?:\/(?:[^~/]|~[01])*)*$/.test(text);
}
