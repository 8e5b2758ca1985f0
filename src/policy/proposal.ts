/**
 * What policy judges: one typed request, with the very octets that would be signed and every parameter they
 * carry. Built by signing, judged here, and nothing is read from the request afterwards (S7).
 */
import type { Algorithm } from '../wire/algorithms.ts';
import type { FieldLine } from '../wire/field-lines.ts';
import type { ProfileName } from '../wire/profiles.ts';
import type { TargetUri } from '../wire/target-uri.ts';

/** An agent as far as policy and audit read it. */
export interface AgentFacts {
  readonly id: string;
  readonly name: string;
  readonly ownerUid: number;
  readonly backend: 'tpm' | 'pkcs11';
  readonly algorithm: Algorithm;
  /** The key that would sign, and its RFC 7638 thumbprint. */
  readonly keyId: string;
  readonly kid: string;
}

/**
 * A parameter that a proof carries under its signature. A rule that reads a parameter which the proof does
 * not bind judges something that may still change after signing (S3).
 */
export type BoundParameter =
  | 'method'
  | 'scheme'
  | 'authority'
  | 'path'
  | 'query'
  | 'body'
  | 'access-token'
  | 'claims'
  | 'subject'
  | `header:${string}`;

export interface HttpMessageParameters {
  readonly operation: 'http-message';
  readonly profile: ProfileName;
  readonly method: string;
  readonly target: TargetUri;
  /** As they will be sent, what the daemon adds included. */
  readonly headers: readonly FieldLine[];
  /** Names of the covered components. */
  readonly components: readonly string[];
  /** Lower case, without parameters; undefined where there is no content-type. */
  readonly mediaType: string | undefined;
  /**
   * `octets`: the content itself. `digest`: only its digest is known, so that no rule can read it.
   * `none`: no content.
   */
  readonly content:
    | { readonly kind: 'octets'; readonly octets: Uint8Array }
    | { readonly kind: 'digest' }
    | { readonly kind: 'none' };
  /** The authorization header: its scheme in lower case, and whether its token is bound to this key. */
  readonly authorization: { readonly scheme: string; readonly bound: boolean } | undefined;
  /** A verifier's challenge that became part of the nonce. */
  readonly challenge: string | undefined;
  readonly tag: string | undefined;
}

export interface DpopParameters {
  readonly operation: 'dpop';
  readonly method: string;
  readonly target: TargetUri;
  /** RFC 9449 `ath`. */
  readonly accessTokenHash: string | undefined;
  readonly challenge: string | undefined;
}

export interface JwtParameters {
  readonly operation: 'jwt';
  /** Normalised (S1). */
  readonly typ: string;
  readonly audience: readonly string[];
  /** All claims as they are signed. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface CsrParameters {
  readonly operation: 'csr';
  readonly commonName: string | undefined;
  readonly organization: string | undefined;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

export interface RawParameters {
  readonly operation: 'raw';
  readonly input: 'message' | 'digest';
  /** Until then what this key signs counts as the workload's word; undefined where it has no credentials. */
  readonly credentialsEndAtMs: number | undefined;
}

/** A link of a delegation chain: the parent's key signs what a new sub-agent may do. */
export interface DelegateParameters {
  readonly operation: 'delegate';
  /** Name of the sub-agent. */
  readonly name: string;
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  readonly expiresInSeconds: number;
  readonly budgets: readonly { readonly unit: string; readonly amount: bigint }[];
}

export type SigningParameters =
  HttpMessageParameters | DpopParameters | JwtParameters | CsrParameters | RawParameters | DelegateParameters;

export type SigningOperation = SigningParameters['operation'];

/** What the key signs: a message, hashed as its algorithm says, or a digest made elsewhere. */
export interface OctetsToSign {
  readonly kind: 'message' | 'digest';
  readonly octets: Uint8Array;
}

export interface Proposal {
  readonly agent: AgentFacts;
  readonly parameters: SigningParameters;
  readonly octets: OctetsToSign;
  readonly binds: ReadonlySet<BoundParameter>;
  /** When the proof says it was made and when it ends, by the daemon's clock (S4), as far as it says so. */
  readonly times: { readonly issuedAtMs: number; readonly expiresAtMs: number | undefined } | undefined;
  /** After this the hardware is not asked any more, milliseconds since the epoch. */
  readonly notAfterMs: number;
}

/** What is not signing: each is judged and recorded like a signature. */
export type ActionRequest =
  | {
      readonly action: 'agent-create';
      readonly name: string;
      readonly backend: 'tpm' | 'pkcs11';
      readonly algorithm: Algorithm;
      readonly ownerUid: number;
    }
  | {
      readonly action: 'agent-rotate';
      readonly agent: AgentFacts;
      readonly reason: 'routine' | 'compromise';
    }
  | {
      readonly action:
        /** To have the agent sign anything at all; what it signs is judged by its proposal. */
        | 'agent-use'
        | 'agent-show'
        | 'agent-retire'
        | 'agent-export-tss2'
        | 'credentials-read'
        | 'credentials-renew'
        | 'delegation-revoke'
        | 'budget-read';
      readonly agent: AgentFacts;
    }
  | {
      readonly action: 'budget-settle';
      readonly agent: AgentFacts;
      readonly reservation: string;
      /** Whose word it is, and what it says, as far as it can be read. */
      readonly by: 'resource' | 'agent';
      readonly claim: string;
    }
  | {
      readonly action: 'budget-top-up';
      readonly agent: AgentFacts;
      /** `USD.2`, and how much of its smallest part. */
      readonly unit: string;
      readonly amount: bigint;
    }
  | { readonly action: 'host-enrol' }
  /** Go on with a ledger that is older than the TPM's counter, on record (S8). */
  | { readonly action: 'ledger-accept-rollback' }
  | { readonly action: 'audit-read' }
  | { readonly action: 'policy-read' }
  | { readonly action: 'policy-reload' }
  | { readonly action: 'approval-list' }
  | {
      readonly action: 'approval-decide';
      /** Whose request it is. */
      readonly agent: AgentFacts;
      readonly approval: string;
      readonly decision: 'allow' | 'deny';
    }
  /** Take the TPM that is here for this host's own, after it was cleared or replaced. */
  | { readonly action: 'host-adopt-tpm' }
  | { readonly action: 'host-quote'; readonly audience: string; readonly pcrs: readonly number[] };
