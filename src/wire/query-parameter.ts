import { KeydError } from './problem.ts';

/**
 * The value of `@query-param` (RFC 9421 §2.2.8): the query read as a form, the one parameter of that name
 * found, and its value written again with the percent-encoding of the URL standard's form rules, spaces as %20.
 * @param name the encoded name, as it stands in the `name` parameter
 * @throws KeydError `invalid_component` where the parameter is absent or there more than once
 */
export function queryParameterValue(query: string, name: string): string {
  const found = [...new URLSearchParams(query)].filter(([key]) => encode(key) === name);
  const [first, second] = found;
  if (first === undefined) throw new KeydError('invalid_component', `the query has no parameter ${name}`);
  if (second !== undefined)
    throw new KeydError('invalid_component', `the query has the parameter ${name} twice`);
  return encode(first[1]);
}

// URLSearchParams writes a space as "+" and nothing else so: a literal plus is %2B.
function encode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1).replaceAll('+', '%20');
}
