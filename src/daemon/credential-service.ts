/** Credentials of agents as the socket shows them, and renewal on request. Implements `CredentialApi`. */
import { KeyedLock } from '../base/keyed-lock.ts';
import { callerShare, type Caller } from '../caller/caller.ts';
import type { CredentialRecord } from '../issuance/issuance-store.ts';
import type { IssuanceService } from '../issuance/issuance-service.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { Agent, AgentStore } from '../signing/agent.ts';
import type { AgentCredentials } from '../signing/draft.ts';
import type { CredentialApi } from '../socket/services.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import type { CredentialsView } from '../wire/socket/agents.ts';

/** What of the link to the issuer is needed here. */
type Issuance = Pick<
  IssuanceService,
  'attestationFault' | 'credentials' | 'host' | 'obtain' | 'renewalFault'
>;

export interface CredentialServiceOptions extends ActionGate {
  readonly agents: Pick<AgentStore, 'find'>;
  /** Undefined where no issuer is configured. */
  readonly issuance: Issuance | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** An answer of the issuer serves everybody who asks for this long: its quota is the whole host's (S20). */
const RENEWAL_INTERVAL_MS = 30_000;
/** The same for a refusal, unless the issuer names a longer time. */
const REFUSAL_INTERVAL_MS = 2_000;

/** A renewal on request, under way or lately answered. */
interface Renewal {
  readonly kid: string;
  readonly answer: Promise<CredentialRecord>;
  untilMs: number;
}

export class CredentialService implements CredentialApi {
  readonly #options: CredentialServiceOptions;
  readonly #now: () => number;
  /** By agent id. */
  readonly #renewals = new Map<string, Renewal>();
  /** One exchange of a share at a time: others, and the daemon's own renewals, get in between. */
  readonly #turns = new KeyedLock();

  constructor(options: CredentialServiceOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** @throws KeydError `agent_not_found`, `policy_denied`, `not_enrolled`, `credential_unavailable` */
  async show(caller: Caller, idOrName: string): Promise<CredentialsView> {
    const agent = this.#find(idOrName);
    return requireAction(this.#options, caller, { action: 'credentials-read', agent }, () => {
      const issuance = this.#issuance();
      const record = issuance.credentials(agent);
      const fault = issuance.renewalFault(agent.id);
      if (record !== undefined) return Promise.resolve(credentialsView(record, fault));
      return Promise.reject(noCredential(issuance, fault));
    });
  }

  /**
   * Asks the issuer, or gives what it has just answered for this key.
   * @throws KeydError `agent_not_found`, `policy_denied`, `not_enrolled`, `issuer_*`, `tpm_*`
   */
  async renew(caller: Caller, idOrName: string): Promise<CredentialsView> {
    const agent = this.#find(idOrName);
    return requireAction(this.#options, caller, { action: 'credentials-renew', agent }, async () =>
      credentialsView(await this.#renewal(caller, agent), undefined),
    );
  }

  /** What signing reads of an agent's credentials: those of its present key that have not expired. */
  forSigning(agent: Agent): AgentCredentials | undefined {
    const { issuance } = this.#options;
    const issued = issuance?.credentials(agent)?.issued;
    if (issued === undefined) return undefined;
    const issuer = issuance?.host()?.issuer.issuer ?? 'the issuer';
    return {
      agentToken: issued.agentToken,
      wit: issued.wit,
      expiresAtMs: issued.expiresAtSeconds * 1000,
      assurance: issued.assurance,
      assuranceReason:
        issued.developmentPolicy === undefined
          ? `${issuer} appraised the evidence for this key`
          : `${issuer} accepted software evidence under its development policy ${issued.developmentPolicy}`,
    };
  }

  async #renewal(caller: Caller, agent: Agent): Promise<CredentialRecord> {
    const issuance = this.#issuance();
    for (const [id, { untilMs }] of this.#renewals) if (untilMs <= this.#now()) this.#renewals.delete(id);
    const recent = this.#renewals.get(agent.id);
    if (recent?.kid !== agent.kid) return this.#exchange(caller, agent);
    await recent.answer;
    // What the store holds may be newer, or may be served no more.
    return issuance.credentials(agent) ?? this.#exchange(caller, agent);
  }

  #exchange(caller: Caller, agent: Agent): Promise<CredentialRecord> {
    const issuance = this.#issuance();
    const answer = this.#turns.run(callerShare(caller), () => issuance.obtain(agent));
    const renewal: Renewal = { kid: agent.kid, answer, untilMs: Infinity };
    this.#renewals.set(agent.id, renewal);
    answer.then(
      () => {
        renewal.untilMs = this.#now() + RENEWAL_INTERVAL_MS;
      },
      (thrown: unknown) => {
        const asked = (asKeydError(thrown).retryAfterSeconds ?? 0) * 1000;
        renewal.untilMs = this.#now() + Math.max(asked, REFUSAL_INTERVAL_MS);
      },
    );
    return answer;
  }

  #find(idOrName: string): Agent {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    return agent;
  }

  #issuance(): Issuance {
    const { issuance } = this.#options;
    if (issuance === undefined) throw new KeydError('not_enrolled', 'no issuer is configured on this host');
    return issuance;
  }
}

function noCredential(issuance: Issuance, fault: KeydError | undefined): KeydError {
  if (issuance.host() === undefined) {
    const why = issuance.attestationFault()?.message ?? 'enrolment is under way';
    return new KeydError('not_enrolled', `this host is not enrolled yet: ${why}`);
  }
  return new KeydError(
    'credential_unavailable',
    fault === undefined
      ? 'the agent’s credentials are being fetched'
      : `the last renewal failed: ${fault.message}`,
  );
}

function credentialsView({ issued }: CredentialRecord, fault: KeydError | undefined): CredentialsView {
  const expiresAt = isoTime(issued.expiresAtSeconds);
  return {
    x509: issued.x509 === undefined ? null : { chain: issued.x509, notAfter: expiresAt },
    wit: issued.wit ?? null,
    agentToken: issued.agentToken ?? null,
    ear: issued.ear,
    grant: issued.grant ?? null,
    assurance: issued.assurance,
    developmentPolicy: issued.developmentPolicy ?? null,
    expiresAt,
    renewAt: isoTime(issued.renewAtSeconds),
    renewalFault: fault?.code ?? null,
  };
}

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
