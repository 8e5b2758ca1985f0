/** What retiring an agent erased, as the daemon says it in the field `Agentkeyd-Erased` (S15). */
import { KeydError } from '../wire/problem.ts';

/** The field of the 204 answer: a token and the parameter `statement`, RFC 9651. */
export const ERASED_FIELD = 'agentkeyd-erased';

export interface Retirement {
  /** `hardware`: the token deleted the object. `local-copies`: what made the key usable here was erased. */
  readonly erased: 'hardware' | 'local-copies';
  /** What that means for a kept copy, for a person. */
  readonly statement: string;
}

/** @throws KeydError `internal` where the daemon does not say what it erased: never taken for granted */
export function parseRetirement(field: string | undefined): Retirement {
  const match = /^(hardware|local-copies);statement="((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(
    field ?? '',
  );
  const [, erased, statement] = match ?? [];
  if ((erased !== 'hardware' && erased !== 'local-copies') || statement === undefined) {
    throw new KeydError('internal', 'the agent is retired, but the daemon did not say what was erased');
  }
  return { erased, statement: statement.replace(/\\(["\\])/g, '$1') };
}
