/** JSON Pointers (RFC 6901). */

/** The pointer of reference tokens: `['a/b', '0']` is `/a~1b/0`; none is the whole document. */
export function toPointer(tokens: readonly string[]): string {
  return tokens.map((token) => `/${token.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

export function isJsonPointer(text: string): boolean {
  return /^(?:\/(?:[^~/]|~[01])*)*$/.test(text);
}
