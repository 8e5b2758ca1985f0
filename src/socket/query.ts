import { KeydError } from '../wire/problem.ts';

const PAIR = /^([a-z][a-zA-Z]*)=([A-Za-z0-9._~-]{1,256})$/;

/**
 * The query of a request target: known names, each once, values of unreserved characters.
 * @throws KeydError `malformed_request`
 */
export function readQuery(url: string, names: readonly string[]): Readonly<Record<string, string>> {
  const at = url.indexOf('?');
  if (at < 0) return {};
  if (names.length === 0) throw new KeydError('malformed_request', 'this resource takes no query parameters');
  const query = new Map<string, string>();
  for (const part of url.slice(at + 1).split('&')) {
    const [, name, value] = PAIR.exec(part) ?? [];
    if (name === undefined || value === undefined || !names.includes(name) || query.has(name)) {
      throw new KeydError('malformed_request', `the query may have ${names.join(', ')}, each once`);
    }
    query.set(name, value);
  }
  return Object.fromEntries(query);
}

/** A member of a query as a whole number of at most 15 digits. @throws KeydError `malformed_request` */
export function wholeNumber(query: Readonly<Record<string, string>>, name: string): number | undefined {
  const value = query[name];
  if (value === undefined) return undefined;
  if (!/^(?:0|[1-9]\d{0,14})$/.test(value)) {
    throw new KeydError('malformed_request', `${name} must be a whole number`);
  }
  return Number(value);
}
