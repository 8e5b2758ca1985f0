import { callerShare, frozenCaller, type Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import type { OctetsToSign, Proposal, SigningOperation } from './proposal.ts';

/** Leave to sign one octet string with one key, once, until a deadline, under the rules that allowed it. */
class MintedGrant {
  // Nominal: an object of the same shape is no grant.
  readonly #minted = true;
  readonly operation: SigningOperation;
  readonly agentId: string;
  readonly backend: 'tpm' | 'pkcs11';
  /** Whose turn in the queue it takes. */
  readonly share: string;
  /** Milliseconds since the epoch. */
  readonly notAfterMs: number;

  constructor(share: string, { agent, parameters, notAfterMs }: Proposal) {
    this.operation = parameters.operation;
    this.agentId = agent.id;
    this.backend = agent.backend;
    this.share = share;
    this.notAfterMs = notAfterMs;
    Object.freeze(this);
  }

  static is(value: unknown): value is MintedGrant {
    return typeof value === 'object' && value !== null && #minted in value;
  }
}

export type Grant = MintedGrant;

/** What a grant allows, given out once. The octets are a copy that nobody else holds. */
export interface GrantContents {
  readonly octets: OctetsToSign;
  readonly agentId: string;
  readonly keyId: string;
  readonly kid: string;
  readonly operation: SigningOperation;
  /** Absent where the daemon renews a link of its own accord. */
  readonly caller: Caller | undefined;
  readonly policies: readonly string[];
  readonly policyVersion: number;
  readonly notAfterMs: number;
}

/** Where the daemon's own renewals wait. */
const OWN_SHARE = 'daemon';

/**
 * The grants of one authorizer: minted by it, redeemed once. Only `policy/authorize.ts` has one, so that no
 * room can make, alter or repeat a grant (S7).
 */
export class GrantBook {
  readonly #contents = new WeakMap<Grant, GrantContents>();

  mint(
    caller: Caller | undefined,
    proposal: Proposal,
    decision: { readonly policies: readonly string[]; readonly policyVersion: number },
  ): Grant {
    const grant = new MintedGrant(caller === undefined ? OWN_SHARE : callerShare(caller), proposal);
    const { agent, octets, parameters, notAfterMs } = proposal;
    this.#contents.set(
      grant,
      Object.freeze({
        octets: Object.freeze({ kind: octets.kind, octets: Uint8Array.from(octets.octets) }),
        agentId: agent.id,
        keyId: agent.keyId,
        kid: agent.kid,
        operation: parameters.operation,
        caller: caller === undefined ? undefined : frozenCaller(caller),
        policies: decision.policies,
        policyVersion: decision.policyVersion,
        notAfterMs,
      }),
    );
    return grant;
  }

  /** @throws KeydError `internal` for what is no grant of this book or was taken before */
  take(grant: Grant): GrantContents {
    const contents = MintedGrant.is(grant) ? this.#contents.get(grant) : undefined;
    if (contents === undefined) {
      throw new KeydError('internal', 'signing was asked for without a grant, or with one used before');
    }
    this.#contents.delete(grant);
    return contents;
  }

  /** Ends a grant; true if nobody had taken it, so that no hardware was asked on its account. */
  withdraw(grant: Grant): boolean {
    return this.#contents.delete(grant);
  }
}
