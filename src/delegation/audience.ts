/** Audiences of a delegation: origins of resource servers, or `*` for any. */
import { refine, text } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

export const ANY_AUDIENCE = '*';

export const audience = refine(text({ maxLength: 512 }), (given) =>
  given === ANY_AUDIENCE || isOrigin(given)
    ? undefined
    : 'must be an origin such as https://rs.example, or *',
);

export function audiencesCover(held: readonly string[], wanted: string): boolean {
  return held.includes(ANY_AUDIENCE) || held.includes(wanted);
}

function isOrigin(given: string): boolean {
  try {
    return parseTargetUri(`${given}/`).origin === given;
  } catch (thrown) {
    if (thrown instanceof KeydError) return false;
    throw thrown;
  }
}
