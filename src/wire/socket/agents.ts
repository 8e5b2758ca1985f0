/** Socket API: agents and their credentials (docs/openapi.yaml). */
import { array, integer, object, oneOf, optional, text, type Infer } from '../check.ts';
import type { AssuranceLevel } from '../assurance.ts';
import { ALGORITHMS, type Algorithm } from '../algorithms.ts';
import type { PublicJwk } from '../jwk.ts';

/** `POST /v1/agents`. The name's own rules are in agent-name.ts. */
export const createAgentRequest = object({
  name: text({ maxLength: 255 }),
  backend: oneOf(['tpm', 'pkcs11']),
  algorithm: optional(oneOf(ALGORITHMS)),
  /** uid that may use the agent; default the caller's. Only an operator may name another. */
  ownerUid: optional(integer({ min: 0, max: 0xffff_fffe })),
});
export type CreateAgentRequest = Infer<typeof createAgentRequest>;

/** `POST /v1/agents/{agent}/rotate`. */
export const rotateAgentRequest = object({ reason: optional(oneOf(['routine', 'compromise'])) });
export type RotateAgentRequest = Infer<typeof rotateAgentRequest>;

/** An agent as the socket shows it. */
export interface AgentView {
  /** UUID; never changes. */
  readonly id: string;
  readonly name: string;
  /** RFC 7638 thumbprint of the present key; changes on rotation. */
  readonly kid: string;
  readonly backend: 'tpm' | 'pkcs11';
  readonly algorithm: Algorithm;
  readonly publicJwk: PublicJwk;
  /** What is proven about the key now; the backend's own word until the issuer has appraised it. */
  readonly assurance: AssuranceLevel;
  readonly assuranceReason: string;
  readonly ownerUid: number;
  readonly createdAt: string;
  /** Null while the host is not enrolled; `aauthId` also where AAuth has no name for this depth. */
  readonly identifiers: { readonly spiffeId: string | null; readonly aauthId: string | null };
  /** Of a sub-agent: the name of the agent that delegated to it, and how far it is below the root agent. */
  readonly parent?: string;
  readonly depth?: number;
  readonly delegation?: DelegationView;
}

/** What a sub-agent may do at most. */
export interface DelegationView {
  readonly scopes: readonly string[];
  readonly aud: readonly string[];
  readonly constraints: readonly unknown[];
  /** `del_max_depth`: the depth that sub-agents below may reach. */
  readonly maxDepth: number;
  readonly createdAt: string;
  /** When it ends for good. */
  readonly expiresAt: string;
  /** When its present link ends, unless the daemon renews it before. */
  readonly linkExpiresAt: string;
  readonly ephemeral: boolean;
}

/** `GET /v1/agents/{agent}/credentials`. */
export interface CredentialsView {
  readonly x509: { readonly chain: readonly string[]; readonly notAfter: string } | null;
  readonly wit: string | null;
  readonly agentToken: string | null;
  readonly ear: string | null;
  /** DT₀, what the principal lets a root agent do; null where nothing is granted. */
  readonly grant: string | null;
  readonly assurance: AssuranceLevel;
  readonly developmentPolicy: string | null;
  readonly expiresAt: string | null;
  readonly renewAt: string | null;
  /** Why the last renewal failed, as an error code; null when it did not. */
  readonly renewalFault: string | null;
}

/** `POST /v1/attestation/quote`: Evidence for a third party (S9). */
export const thirdPartyQuoteRequest = object({
  audience: text({ maxLength: 512 }),
  /** 16 to 64 octets, base64url. */
  nonce: text({ maxLength: 86, pattern: /^[A-Za-z0-9_-]{22,86}$/ }),
  pcrs: optional(array(integer({ min: 0, max: 23 }), { min: 1, max: 24 })),
});

/** Evidence for a third party's nonce: everything `tpm2_checkquote` needs (S9). Octets as base64url. */
export interface ThirdPartyQuote {
  readonly attest: string;
  readonly signature: string;
  readonly pcrs: readonly string[];
  readonly pcrSelection: readonly number[];
  readonly akPublic: string;
  /** The value the quote's extraData holds. */
  readonly extraData: string;
}
