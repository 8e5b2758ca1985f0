/**
 * AAuth's rules for sub-agents (draft AAuth -11): one level below an agent, and none of them speaks with a person
 * server itself. Its parent does, with the sub-agent's token as `subagent_token`; what it gets is for the sub-agent's
 * key. A person server has to refuse a direct call; here it is not even signed where the server is known as one.
 */
import { parseAgentName } from '../wire/agent-name.ts';
import { KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import type { DraftContext } from './draft.ts';

const MEMBER = 'subagent_token';
const LIMITS = { maxDepth: 32, maxOctets: 1024 * 1024 } as const;

/**
 * @param body octets of a JSON body; undefined where there is none, or of another type
 * @throws KeydError `invalid_name` below the one level, `authority_exceeded` for a sub-agent's call to a person
 *   server, `token_not_bound` for a `subagent_token` that is not of a sub-agent of this agent
 */
export function checkAauthCall(
  { agent, personServers, subAgentTokens }: DraftContext,
  target: TargetUri,
  body: Uint8Array | undefined,
): void {
  const { depth } = parseAgentName(agent.name);
  if (depth > 1) {
    throw new KeydError(
      'invalid_name',
      'AAuth has no name for a sub-agent of a sub-agent; use the profile rfc9421',
    );
  }
  if (depth > 0 && personServers.includes(target.origin)) {
    throw new KeydError(
      'authority_exceeded',
      `${target.origin} is a person server: the parent of ${agent.name} speaks with it, with ${MEMBER}`,
    );
  }
  const token = subAgentToken(body);
  if (token === undefined) return;
  if (depth > 0) {
    throw new KeydError('authority_exceeded', `a sub-agent speaks for no other: ${MEMBER} is its parent's`);
  }
  if (typeof token !== 'string' || !subAgentTokens(agent).includes(token)) {
    throw new KeydError(
      'token_not_bound',
      `${MEMBER} is not the present agent token of a sub-agent of ${agent.name}`,
    );
  }
}

/** A body that is no strict JSON has no member that anybody could be sure of; policies say whether it may be signed. */
function subAgentToken(body: Uint8Array | undefined): unknown {
  // Only an escape could spell the name otherwise.
  if (body === undefined || !(includes(body, MEMBER) || includes(body, '\\u'))) return undefined;
  let document: unknown;
  try {
    document = parseStrictJson(body, LIMITS);
  } catch (cause) {
    throw new KeydError('token_not_bound', `the body may have a ${MEMBER}, and is no strict JSON`, { cause });
  }
  return typeof document === 'object' && document !== null && Object.hasOwn(document, MEMBER)
    ? (document as Readonly<Record<string, unknown>>)[MEMBER]
    : undefined;
}

function includes(octets: Uint8Array, text: string): boolean {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).includes(text);
}
