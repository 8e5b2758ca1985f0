import { object, optional, parse, boolean, type Shape } from '../../wire/check.ts';
import { KeydError } from '../../wire/problem.ts';
import { parseStrictJson } from '../../wire/strict-json.ts';

/** Octets of an answer; a decision and a few words of context need a hundred. */
export const MAX_ANSWER_OCTETS = 65_536;
const LIMITS = { maxDepth: 16, maxOctets: MAX_ANSWER_OCTETS } as const;

type JsonObject = Readonly<Record<string, unknown>>;

const jsonObject: Shape<JsonObject> = (value, path, faults) => {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  faults.push(`${path} must be an object`);
  return {};
};

const evaluation = object({ decision: boolean, context: optional(jsonObject) });

/**
 * The decision of an Access Evaluation response (OpenID AuthZEN Authorization API 1.0). Nothing of it is told on:
 * neither what it says nor why it can not be read, for it may quote what it was asked.
 * @throws KeydError `decision_point_invalid`
 */
export function readDecision(octets: Uint8Array): boolean {
  let document: unknown;
  try {
    document = parseStrictJson(octets, LIMITS);
  } catch {
    throw invalid('is no strict JSON');
  }
  const members = readMembers(document);
  const obligations = members.context?.['obligations'];
  if (members.decision && obligations !== undefined && !isEmptyArray(obligations)) {
    throw invalid('permits under obligations, and this daemon fulfils none');
  }
  return members.decision;
}

function readMembers(document: unknown): { readonly decision: boolean; readonly context?: JsonObject } {
  try {
    return parse(evaluation, document, 'decision_point_invalid');
  } catch {
    throw invalid('is no {"decision": true or false} with at most a context');
  }
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function invalid(what: string): KeydError {
  return new KeydError('decision_point_invalid', `the answer of the external decision point ${what}`);
}
