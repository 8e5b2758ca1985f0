/** Scopes: dot-separated words; `a.*` covers `a.b` and all below it, `*` covers everything. */
import { text } from '../wire/check.ts';

const WORD = '[A-Za-z0-9_-]+';

export const scope = text({
  maxLength: 128,
  pattern: new RegExp(`^(?:\\*|${WORD}(?:\\.${WORD})*(?:\\.\\*)?)$`),
  what: 'words with dots between them, or with .* at the end',
});

/** Whether whoever has `held` has `wanted`. `a.*` does not cover `a` itself. */
export function scopeCovers(held: string, wanted: string): boolean {
  if (held === '*' || held === wanted) return true;
  return held.endsWith('.*') && wanted.startsWith(held.slice(0, -1));
}

export function scopesCover(held: readonly string[], wanted: string): boolean {
  return held.some((each) => scopeCovers(each, wanted));
}
