/**
 * The one place that lets a key be used. A `Grant` is minted here and nowhere else: its class is not
 * exported, and its content lives in the authorizer that minted it, so that no room can make, alter or
 * repeat one (S7).
 */
import { callerShare, type Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import { judgeAction, judgeSigning, type ApprovedNames, type Judgement } from './judge.ts';
import type { ActionRequest, AgentFacts, OctetsToSign, Proposal, SigningOperation } from './proposal.ts';
import type { PolicyRules } from './rules.ts';

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

  constructor(caller: Caller, { agent, parameters, notAfterMs }: Proposal) {
    this.operation = parameters.operation;
    this.agentId = agent.id;
    this.backend = agent.backend;
    this.share = callerShare(caller);
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
  readonly caller: Caller;
  readonly policies: readonly string[];
  readonly policyVersion: number;
  readonly notAfterMs: number;
}

/** What was decided and why; the audit record is made from it. */
export interface Decision {
  readonly effect: 'permit' | 'deny';
  /** The rules that decided. */
  readonly policies: readonly string[];
  readonly policyVersion: number;
}

export type SigningAuthorization =
  | { readonly decision: Decision; readonly grant: Grant }
  | { readonly decision: Decision; readonly refusal: KeydError };

export type ActionAuthorization = { readonly decision: Decision; readonly refusal?: KeydError };

export interface AuthorizerOptions {
  readonly rules: PolicyRules;
  /** Asked at each creation: enrolment can change it. */
  readonly approvedNames: () => ApprovedNames;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

export class Authorizer {
  readonly #approvedNames: () => ApprovedNames;
  readonly #now: () => number;
  readonly #contents = new WeakMap<Grant, GrantContents>();
  #rules: PolicyRules;
  #version = 1;

  constructor(options: AuthorizerOptions) {
    this.#rules = structuredClone(options.rules);
    this.#approvedNames = options.approvedNames;
    this.#now = options.now ?? Date.now;
  }

  /** Counts reloads, from 1. */
  get policyVersion(): number {
    return this.#version;
  }

  /** Judges a proposal. A refusal is an answer, not a throw, so that it is recorded like a grant. */
  // eslint-disable-next-line @typescript-eslint/require-await -- a decision may take I/O (approvals, an external decision point)
  async authorize(caller: Caller, proposal: Proposal): Promise<SigningAuthorization> {
    const judgement = judgeSigning(this.#rules, caller, proposal);
    const decision = this.#decision(judgement);
    if (judgement.effect === 'deny') return { decision, refusal: refusal(judgement) };
    const grant = new MintedGrant(caller, proposal);
    const { agent, octets, parameters, notAfterMs } = proposal;
    this.#contents.set(
      grant,
      Object.freeze({
        octets: Object.freeze({ kind: octets.kind, octets: Uint8Array.from(octets.octets) }),
        agentId: agent.id,
        keyId: agent.keyId,
        kid: agent.kid,
        operation: parameters.operation,
        caller: deepFreeze(structuredClone(caller)),
        policies: decision.policies,
        policyVersion: decision.policyVersion,
        notAfterMs,
      }),
    );
    return { decision, grant };
  }

  /** Judges what is not signing. */
  // eslint-disable-next-line @typescript-eslint/require-await -- as authorize
  async authorizeAction(caller: Caller, request: ActionRequest): Promise<ActionAuthorization> {
    const judgement = judgeAction(this.#rules, caller, request, this.#approvedNames());
    const decision = this.#decision(judgement);
    return judgement.effect === 'deny' ? { decision, refusal: refusal(judgement) } : { decision };
  }

  /**
   * What the grant allows; this once.
   * @throws KeydError `internal` for what is no grant of this authorizer or was redeemed before,
   *   `policy_denied` where the rules have changed since, `deadline_exceeded`
   */
  redeem(grant: Grant): GrantContents {
    const contents = MintedGrant.is(grant) ? this.#contents.get(grant) : undefined;
    if (contents === undefined) {
      throw new KeydError('internal', 'signing was asked for without a grant, or with one used before');
    }
    this.#contents.delete(grant);
    if (contents.policyVersion !== this.#version) {
      throw new KeydError('policy_denied', 'the policy changed while the request waited; ask again');
    }
    if (this.#now() > contents.notAfterMs) {
      throw new KeydError('deadline_exceeded', 'the request waited too long for the hardware; ask again');
    }
    return contents;
  }

  /** Whether this caller would be shown the agent; for lists, which are not decisions of their own. */
  maySee(caller: Caller, agent: AgentFacts): boolean {
    const request = { action: 'agent-show', agent } as const;
    return judgeAction(this.#rules, caller, request, this.#approvedNames()).effect === 'permit';
  }

  /** Puts other rules in force, at once and as a whole; grants of the old ones end. */
  replace(rules: PolicyRules): void {
    this.#rules = structuredClone(rules);
    this.#version += 1;
  }

  /** Whether this agent's key may sign raw octets: such an agent holds no delegations, budgets or WIT (S1). */
  mayRawSign(agentName: string): boolean {
    return this.#rules.allowRaw.includes(agentName);
  }

  #decision({ effect, policies }: Judgement): Decision {
    return Object.freeze({ effect, policies: Object.freeze([...policies]), policyVersion: this.#version });
  }
}

function refusal({ code, reason }: Extract<Judgement, { effect: 'deny' }>): KeydError {
  return new KeydError(code, reason);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
