/** Requests for policy, built by the daemon's own drafts, so that what they carry and bind is what is signed. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Caller } from '../../src/caller/caller.ts';
import { loadPolicySet } from '../../src/policy/cedar/load-policy-set.ts';
import type { PolicySet } from '../../src/policy/cedar/policy-set.ts';
import type { Charge } from '../../src/policy/counters.ts';
import type { AgentFacts, DelegateParameters, Proposal } from '../../src/policy/proposal.ts';
import type {
  DecisionFacts,
  PlainParameters,
  PolicyRequest,
  PolicyVerdict,
} from '../../src/policy/verdict.ts';
import type { Agent } from '../../src/signing/agent.ts';
import { draftCsr } from '../../src/signing/csr.ts';
import { draftDpop } from '../../src/signing/dpop.ts';
import type { DraftContext } from '../../src/signing/draft.ts';
import { draftHttpMessage } from '../../src/signing/http-message.ts';
import { draftJwt } from '../../src/signing/jwt.ts';
import { draftRaw } from '../../src/signing/raw.ts';
import type { CsrRequest, DpopRequest, HttpMessageRequest } from '../../src/wire/socket/signing.ts';
import { caller, IDENTITY, OWNER_UID } from './signing-fixture.ts';
import { testKey } from './signed-request.ts';

const KEY = testKey('ES256');

/** Thursday noon, UTC. */
export const THURSDAY = Date.parse('2026-11-26T12:00:00Z');

export interface Situation {
  readonly agent?: string;
  readonly ownerUid?: number;
  readonly caller?: Partial<Caller>;
  readonly nowMs?: number;
  readonly facts?: Partial<DecisionFacts>;
}

export function facts(more: Partial<DecisionFacts> = {}): DecisionFacts {
  return {
    nowMs: THURSDAY,
    attestation: { status: 'none', level: undefined, ageSeconds: undefined },
    authority: undefined,
    budgets: [],
    usage: { firstUseOfOrigin: false, lastMinute: 0, lastHour: 0, lastDay: 0 },
    intent: undefined,
    roles: [],
    ...more,
  };
}

function agentOf({ agent = 'payments', ownerUid = OWNER_UID }: Situation): Agent {
  return {
    id: '6f2b2f5e-7f5c-4a58-9d39-0a3f2f3f8a10',
    name: agent,
    ownerUid,
    backend: 'tpm',
    algorithm: 'ES256',
    keyId: 'k1',
    kid: KEY.thumbprint,
    publicJwk: KEY.jwk,
    createdAtMs: 0,
  };
}

function contextOf(situation: Situation): DraftContext {
  return {
    agent: agentOf(situation),
    identity: IDENTITY,
    credentials: undefined,
    issuerAuthorities: ['issuer.example'],
    personServers: [],
    subAgentTokens: () => [],
    nowMs: situation.nowMs ?? THURSDAY,
    deadlineMs: 10_000,
    randomOctets: randomBytes,
  };
}

function requestOf(
  { parameters, binds, agent }: Pick<Proposal, 'parameters' | 'binds' | 'agent'>,
  situation: Situation,
): PolicyRequest {
  return {
    caller: caller(situation.caller),
    agent,
    parameters,
    binds,
    facts: facts({ nowMs: situation.nowMs ?? THURSDAY, ...situation.facts }),
  };
}

export function httpMessage(
  request: Partial<Omit<HttpMessageRequest, 'body'>> & { readonly body?: string | Uint8Array } = {},
  situation: Situation = {},
): PolicyRequest {
  const { body, ...rest } = request;
  const { proposal } = draftHttpMessage(contextOf(situation), {
    profile: 'rfc9421',
    method: 'GET',
    targetUri: 'https://api.example/',
    ...rest,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
  });
  return requestOf(proposal, situation);
}

export function dpop(request: DpopRequest, situation: Situation = {}): PolicyRequest {
  return requestOf(draftDpop(contextOf(situation), request).proposal, situation);
}

export function jwt(
  claims: Readonly<Record<string, unknown>>,
  situation: Situation = {},
  typ = 'client-authentication+jwt',
): PolicyRequest {
  return requestOf(draftJwt(contextOf(situation), { typ, claims }).proposal, situation);
}

export function csr(request: CsrRequest = {}, situation: Situation = {}): PolicyRequest {
  return requestOf(draftCsr(contextOf(situation), request).proposal, situation);
}

export function raw(message: string, situation: Situation = {}): PolicyRequest {
  return requestOf(draftRaw(contextOf(situation), { message: Buffer.from(message) }).proposal, situation);
}

function agentFacts(situation: Situation): AgentFacts {
  const { id, name, ownerUid, backend, algorithm, keyId, kid } = agentOf(situation);
  return { id, name, ownerUid, backend, algorithm, keyId, kid };
}

export function delegation(
  parameters: Partial<DelegateParameters> = {},
  situation: Situation = {},
): PolicyRequest {
  const whole: DelegateParameters = {
    operation: 'delegate',
    name: `${situation.agent ?? 'payments'}+worker`,
    scopes: [],
    audiences: [],
    expiresInSeconds: 600,
    budgets: [],
    ...parameters,
  };
  return requestOf({ parameters: whole, binds: new Set(), agent: agentFacts(situation) }, situation);
}

export function plain(operation: PlainParameters['operation'], situation: Situation = {}): PolicyRequest {
  return {
    caller: caller(situation.caller),
    agent: agentFacts(situation),
    parameters: { operation },
    facts: facts({ nowMs: situation.nowMs ?? THURSDAY, ...situation.facts }),
  };
}

/** A set of one file. */
export function policies(text: string): PolicySet {
  return loadPolicySet([{ name: 'test.cedar', text }]);
}

/** A set of files of the folder policies/. */
export function shipped(...names: readonly string[]): PolicySet {
  return loadPolicySet(
    names.map((name) => ({
      name: basename(name),
      text: readFileSync(new URL(`../../policies/${name}`, import.meta.url), 'utf8'),
    })),
  );
}

/** `permit a b`, or `code a b` with the ids of the policies. */
export function said(verdict: PolicyVerdict): string {
  return [verdict.effect === 'permit' ? 'permit' : verdict.code, ...verdict.policies].join(' ');
}

/** What a permit takes, in one line each. */
export function charged(verdict: PolicyVerdict): readonly string[] {
  if (verdict.effect === 'deny') return [said(verdict)];
  return verdict.obligations.charges.map((charge: Charge) =>
    charge.kind === 'budget'
      ? `${charge.amount} ${charge.unit}`
      : `${charge.amount}/${charge.limit} ${charge.unit} ${charge.window} ${charge.per} of ${charge.policy}`,
  );
}
