/** A case as the engine is asked it. */
import type { Caller, Ingress } from '../../caller/caller.ts';
import { parseAgentName } from '../../wire/agent-name.ts';
import { KeydError } from '../../wire/problem.ts';
import type { AgentAuthority } from '../authority.ts';
import type { AgentFacts } from '../proposal.ts';
import type { DecisionFacts, PolicyRequest } from '../verdict.ts';
import { caseRequest } from './case-request.ts';
import type { Given } from './case-shape.ts';

/** The file's `[given]` below the case's own members; a request that names its operation stands alone. */
export function mergeGiven(given: Given, own: Given): Given {
  const { request: below = {} } = given;
  const { request: above = {} } = own;
  const request = above['operation'] === undefined ? { ...below, ...above } : above;
  return { ...given, ...own, ...(Object.keys(request).length === 0 ? {} : { request }) };
}

/**
 * @throws KeydError `malformed_request` where something is missing or not known; the code of a refusal that comes
 *   before policy
 */
export function casePolicyRequest(given: Given): PolicyRequest {
  const { now: nowMs, caller: who, agent: which, request: members } = given;
  if (nowMs === undefined || who === undefined || which === undefined || members === undefined) {
    throw new KeydError(
      'malformed_request',
      'a case needs now, caller, agent and request, of its own or of [given]',
    );
  }
  const { depth } = parseAgentName(which.name);
  const agent: AgentFacts = {
    id: '00000000-0000-4000-8000-000000000000',
    name: which.name,
    ownerUid: which.ownerUid ?? who.uid,
    backend: which.backend ?? 'tpm',
    algorithm: which.algorithm ?? 'ES256',
    keyId: 'case',
    kid: 'case',
  };
  const { intent, ...asked } = caseRequest(members, agent.name, nowMs);
  const facts: DecisionFacts = {
    nowMs,
    attestation: { level: undefined, ageSeconds: undefined, ...(given.attestation ?? { status: 'none' }) },
    authority: given.authority === undefined ? undefined : authority(given.authority, depth, nowMs),
    budgets: Object.entries(given.budgets ?? {}).map(([unit, amount]) => ({
      unit,
      amount: BigInt(amount),
      spent: 0n,
      reserved: 0n,
      allocated: 0n,
    })),
    usage: { firstUseOfOrigin: true, lastMinute: 0, lastHour: 0, lastDay: 0, ...given.usage },
    intent,
    roles: who.roles ?? [],
  };
  return { caller: callerOf(who), agent, facts, ...asked };
}

function callerOf(who: NonNullable<Given['caller']>): Caller {
  const { uid, gid, groups, unit, containerId, executableSha256 } = who;
  return {
    ingress: ingressOf(who),
    uid,
    gid: gid ?? uid,
    groups: groups ?? [],
    pid: 1,
    ...(unit === undefined ? {} : { unit }),
    ...(containerId === undefined ? {} : { containerId }),
    ...(executableSha256 === undefined ? {} : { executableSha256 }),
  };
}

function ingressOf({ ingress = 'shared', ingressAgent }: NonNullable<Given['caller']>): Ingress {
  if (ingress !== 'agent') return { kind: ingress };
  if (ingressAgent !== undefined) return { kind: 'agent', agentName: ingressAgent };
  throw new KeydError('malformed_request', 'caller.ingress agent needs caller.ingressAgent');
}

function authority(given: NonNullable<Given['authority']>, depth: number, nowMs: number): AgentAuthority {
  const { chain = [], expiresInSeconds = 3600 } = given;
  return {
    principal: given.principal ?? 'user@example',
    grantId: given.grantId ?? 'case',
    development: given.development ?? false,
    depth,
    maxDepth: given.maxDepth ?? 8,
    links: chain.map((agentName) => ({ jti: agentName, agentName, kid: agentName })),
    scopes: given.scopes ?? ['*'],
    audiences: given.audiences ?? ['*'],
    expiresAtMs: nowMs + expiresInSeconds * 1000,
    account: 'case',
    // Chains are no part of a policy set: `agentkeyd/verify` and the daemon hold requests against them.
    readsUnbound: () => undefined,
    refuses: () => undefined,
  };
}
