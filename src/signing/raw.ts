/** `sign/raw`: octets that nobody has read. Off unless a rule names the agent, which then holds no credentials (S1). */
import { algorithmEntry } from '../wire/algorithms.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { KeydError } from '../wire/problem.ts';
import type { RawRequest } from '../wire/socket/signing.ts';
import { propose, type Draft, type DraftContext } from './draft.ts';

const HASH_OCTETS = { sha256: 32, sha384: 48 } as const;

/**
 * Exactly one of message and digest; a digest has the length of the key's hash, and Ed25519 takes none.
 * @throws KeydError `malformed_request`, `unsupported_algorithm`
 */
export function draftRaw(context: DraftContext, request: RawRequest): Draft<{ readonly signature: string }> {
  const { message, digest } = request;
  const octets = message ?? digest;
  if (octets === undefined || (message !== undefined && digest !== undefined)) {
    throw new KeydError('malformed_request', 'give exactly one of message and digest');
  }
  if (digest !== undefined) checkDigest(context, digest);
  return {
    proposal: propose(context, {
      parameters: {
        operation: 'raw',
        input: digest === undefined ? 'message' : 'digest',
        credentialsEndAtMs: context.credentials?.expiresAtMs,
      },
      octets: { kind: digest === undefined ? 'message' : 'digest', octets },
      binds: [],
    }),
    assemble: (signature) => ({ signature: encodeBase64url(signature) }),
  };
}

function checkDigest({ agent }: DraftContext, digest: Uint8Array): void {
  const { hash } = algorithmEntry(agent.algorithm);
  if (hash === undefined) {
    throw new KeydError('unsupported_algorithm', `${agent.algorithm} signs messages, not digests (RFC 8032)`);
  }
  if (digest.length !== HASH_OCTETS[hash]) {
    throw new KeydError(
      'malformed_request',
      `digest has ${digest.length} octets; ${agent.algorithm} takes ${HASH_OCTETS[hash]}`,
    );
  }
}
