/**
 * Typed signing: from a request to a proposal, from policy's answer to a grant, from the grant to a signature,
 * and from the signature to the reply. Implements `SigningApi` of the socket.
 */
import { createHash } from 'node:crypto';
import type { Caller } from '../caller/caller.ts';
import type { Authorizer } from '../policy/authorize.ts';
import type { AgentFacts, SigningOperation } from '../policy/proposal.ts';
import type { RecordedDecision, Recorder } from '../policy/recorder.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type {
  CsrRequest,
  DpopRequest,
  HttpMessageReply,
  HttpMessageRequest,
  JwtRequest,
  RawRequest,
} from '../wire/socket/signing.ts';
import type { Agent, AgentStore } from './agent.ts';
import { draftCsr } from './csr.ts';
import { describeProposal } from './describe-proposal.ts';
import { draftDpop } from './dpop.ts';
import type { AgentCredentials, Draft, DraftContext, HostIdentity } from './draft.ts';
import { draftHttpMessage } from './http-message.ts';
import { draftJwt } from './jwt.ts';
import { draftRaw } from './raw.ts';
import type { Signer } from './signer.ts';

export interface SigningServiceOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly authorizer: Authorizer;
  readonly recorder: Recorder;
  readonly signer: Signer;
  readonly identity: () => HostIdentity | undefined;
  /** Credentials of the agent's present key that have not expired. */
  readonly credentials: (agent: Agent) => AgentCredentials | undefined;
  readonly issuerAuthorities: () => readonly string[];
  /** How long one request may wait for hardware. */
  readonly deadlineMs: number;
  readonly now: () => number;
  readonly randomOctets: (count: number) => Uint8Array;
}

export class SigningService {
  readonly #options: SigningServiceOptions;

  constructor(options: SigningServiceOptions) {
    this.#options = options;
  }

  httpMessage(
    caller: Caller,
    agent: string,
    request: HttpMessageRequest,
    signal: AbortSignal,
  ): Promise<HttpMessageReply> {
    return this.#sign('http-message', caller, agent, signal, (context) => draftHttpMessage(context, request));
  }

  dpop(
    caller: Caller,
    agent: string,
    request: DpopRequest,
    signal: AbortSignal,
  ): Promise<{ readonly proof: string }> {
    return this.#sign('dpop', caller, agent, signal, (context) => draftDpop(context, request));
  }

  jwt(
    caller: Caller,
    agent: string,
    request: JwtRequest,
    signal: AbortSignal,
  ): Promise<{ readonly jwt: string }> {
    return this.#sign('jwt', caller, agent, signal, (context) => draftJwt(context, request));
  }

  csr(
    caller: Caller,
    agent: string,
    request: CsrRequest,
    signal: AbortSignal,
  ): Promise<{ readonly csr: string }> {
    return this.#sign('csr', caller, agent, signal, (context) => draftCsr(context, request));
  }

  raw(
    caller: Caller,
    agent: string,
    request: RawRequest,
    signal: AbortSignal,
  ): Promise<{ readonly signature: string }> {
    return this.#sign('raw', caller, agent, signal, (context) => draftRaw(context, request));
  }

  async #sign<Reply>(
    operation: SigningOperation,
    caller: Caller,
    idOrName: string,
    signal: AbortSignal,
    draft: (context: DraftContext) => Draft<Reply>,
  ): Promise<Reply> {
    const agent = await this.#usableAgent(operation, caller, idOrName);
    const drafted = await this.#draft(operation, caller, agent, draft);
    const { proposal } = drafted;
    const authorization = await this.#options.authorizer.authorize(caller, proposal);
    const entry = { caller, decision: authorization.decision, ...describeProposal(proposal) };
    if ('refusal' in authorization) {
      await this.#options.recorder.decision({ ...entry, refusal: authorization.refusal.code });
      throw authorization.refusal;
    }
    // The decision is written while the hardware works; neither is of use without the other (S16).
    const [record, signature] = await Promise.allSettled([
      this.#options.recorder.decision(entry),
      this.#options.signer.sign(authorization.grant, signal),
    ]);
    return drafted.assemble(released(record, signature));
  }

  async #usableAgent(operation: SigningOperation, caller: Caller, idOrName: string): Promise<Agent> {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    const { decision, refusal } = await this.#options.authorizer.authorizeAction(caller, {
      action: 'agent-use',
      agent,
    });
    if (refusal === undefined) return agent;
    await this.#options.recorder.decision({
      caller,
      decision,
      action: operation,
      agent: facts(agent),
      parameters: {},
      refusal: refusal.code,
    });
    throw refusal;
  }

  /** What no policy can allow (S1, S7) is refused here, and recorded like any other denial. */
  async #draft<Reply>(
    operation: SigningOperation,
    caller: Caller,
    agent: Agent,
    draft: (context: DraftContext) => Draft<Reply>,
  ): Promise<Draft<Reply>> {
    try {
      return draft(this.#context(agent));
    } catch (thrown) {
      const error = asKeydError(thrown);
      if (error.status === 403) {
        const { policyVersion } = this.#options.authorizer;
        await this.#options.recorder.decision({
          caller,
          decision: { effect: 'deny', policies: ['built-in'], policyVersion },
          action: operation,
          agent: facts(agent),
          parameters: {},
          refusal: error.code,
        });
      }
      throw thrown;
    }
  }

  #context(agent: Agent): DraftContext {
    const { identity, credentials, issuerAuthorities, deadlineMs, now, randomOctets } = this.#options;
    return {
      agent,
      identity: identity(),
      credentials: credentials(agent),
      issuerAuthorities: issuerAuthorities(),
      nowMs: now(),
      deadlineMs,
      randomOctets,
    };
  }
}

/** The signature, if its decision is on record; the outcome follows in either case. */
function released(
  record: PromiseSettledResult<RecordedDecision>,
  signature: PromiseSettledResult<Uint8Array>,
): Uint8Array {
  if (record.status === 'rejected') throw asKeydError(record.reason);
  if (signature.status === 'rejected') {
    const error = asKeydError(signature.reason);
    record.value.outcome({ effect: 'failed', code: error.code });
    throw error;
  }
  const signatureSha256 = createHash('sha256').update(signature.value).digest('hex');
  record.value.outcome({ effect: 'done', signatureSha256 });
  return signature.value;
}

function facts({ id, name, ownerUid, backend, algorithm, keyId, kid }: Agent): AgentFacts {
  return { id, name, ownerUid, backend, algorithm, keyId, kid };
}
