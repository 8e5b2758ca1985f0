/** What constraints read of an HTTP request: the same to the daemon that signs it and to whoever verifies it. */
import { ExactNumber } from '../wire/exact-number.ts';
import { KeydError } from '../wire/problem.ts';
import { parseExactJson, type ExactJson } from '../wire/strict-json.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import type { ActionFacts, ActionValue } from './action.ts';

export interface RequestContent {
  /** Lower case, without parameters. */
  readonly mediaType: string | undefined;
  /** Whether there is a Content-Encoding, whatever it says. */
  readonly isEncoded: boolean;
  /** Undefined where there is none, or only its digest is known. */
  readonly octets: Uint8Array | undefined;
}

const MAX_BODY_DEPTH = 32;
const NOTHING: ActionValue = { kind: 'none' };

/** All values of a member of the query, in order, read as a form. */
export function queryReader({ query }: TargetUri): NonNullable<ActionFacts['query']> {
  const members = new URLSearchParams(query ?? '');
  return (name) => members.getAll(name);
}

/**
 * Members of a body that is JSON by its type and by every octet; of any other there is nothing to read (S7).
 * It is read once, and only if a constraint asks.
 */
export function bodyReader(content: RequestContent): NonNullable<ActionFacts['body']> {
  let document: ExactJson | undefined;
  let isRead = false;
  return (pointer) => {
    if (!isRead) document = readDocument(content);
    isRead = true;
    return document === undefined ? NOTHING : valueAt(document, pointer);
  };
}

function readDocument({ mediaType, isEncoded, octets }: RequestContent): ExactJson | undefined {
  if (octets === undefined || mediaType !== 'application/json' || isEncoded) return undefined;
  try {
    return parseExactJson(octets, { maxDepth: MAX_BODY_DEPTH, maxOctets: octets.length });
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
}

/** The value at a JSON Pointer (RFC 6901); arrays and objects have none that a constraint compares. */
function valueAt(document: ExactJson, pointer: string): ActionValue {
  let value: ExactJson | undefined = document;
  for (const token of pointer.split('/').slice(1)) {
    const member = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || value instanceof ExactNumber) return NOTHING;
    if (Array.isArray(value)) {
      value = /^(?:0|[1-9][0-9]{0,8})$/.test(member)
        ? (value as readonly ExactJson[])[Number(member)]
        : undefined;
    } else {
      const members: Readonly<Record<string, ExactJson>> = value as never;
      value = Object.hasOwn(members, member) ? members[member] : undefined;
    }
  }
  if (typeof value === 'string') return { kind: 'text', text: value };
  if (typeof value === 'boolean') return { kind: 'boolean', value };
  // -0 and negative amounts are equal to nothing and below everything (S7).
  if (value instanceof ExactNumber && !value.negative) return { kind: 'number', text: value.text };
  return NOTHING;
}
