/** What every typed request becomes: a proposal for policy, and the way from the signature to the reply. */
import type { BoundParameter, OctetsToSign, Proposal, SigningParameters } from '../policy/proposal.ts';
import type { AssuranceLevel } from '../wire/assurance.ts';
import { aauthId, parseAgentName, spiffeId } from '../wire/agent-name.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { agentFacts, type Agent } from './agent.ts';

/** Who this host is to its issuer; undefined until it is enrolled. */
export interface HostIdentity {
  readonly label: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
}

/** What the issuer has given for an agent's present key, and when it ends. */
export interface AgentCredentials {
  readonly agentToken: string | undefined;
  readonly wit: string | undefined;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
  readonly assurance: AssuranceLevel;
  readonly assuranceReason: string;
}

/** The tokens from DT₀ to the agent's own, and their earliest end. */
export interface PresentedChain {
  readonly tokens: readonly string[];
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** What a proposal is made from beside the request. Read once, so that every part of it is of one moment. */
export interface DraftContext {
  readonly agent: Agent;
  readonly identity: HostIdentity | undefined;
  readonly credentials: AgentCredentials | undefined;
  /** What the agent may do at most; undefined where nobody granted it anything. */
  readonly chain?: PresentedChain | undefined;
  /** End of the approval that a person gave, where one was needed; milliseconds since the epoch. */
  readonly approvalEndsAtMs?: number;
  /** `host` or `host:port` of the issuer: nothing is signed for it (S1). */
  readonly issuerAuthorities: readonly string[];
  /** Origins of AAuth person servers: no sub-agent speaks with one itself. */
  readonly personServers: readonly string[];
  /** Agent tokens that the agents directly below an agent have now. */
  readonly subAgentTokens: (agent: Agent) => readonly string[];
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** How long hardware may be waited for. */
  readonly deadlineMs: number;
  readonly randomOctets: (count: number) => Uint8Array;
}

/** Where the parts of a `DraftContext` come from. */
export interface DraftContextSources {
  readonly identity: () => HostIdentity | undefined;
  /** Credentials of the agent's present key that have not expired. */
  readonly credentials: (agent: Agent) => AgentCredentials | undefined;
  /** Of agents that were granted something. @throws KeydError `delegation_*`, `credential_unavailable` */
  readonly chain?: (agent: Agent) => PresentedChain | undefined;
  readonly issuerAuthorities: () => readonly string[];
  /** By configuration; none unless given. */
  readonly personServers?: readonly string[];
  /** Where agents have sub-agents. */
  readonly subAgentTokens?: (agent: Agent) => readonly string[];
  readonly deadlineMs: number;
  readonly now: () => number;
  readonly randomOctets: (count: number) => Uint8Array;
}

/** Reads every source once, at this moment. */
export function draftContext(sources: DraftContextSources, agent: Agent): DraftContext {
  return {
    agent,
    identity: sources.identity(),
    credentials: sources.credentials(agent),
    chain: sources.chain?.(agent),
    issuerAuthorities: sources.issuerAuthorities(),
    personServers: sources.personServers ?? [],
    subAgentTokens: sources.subAgentTokens ?? (() => []),
    nowMs: sources.now(),
    deadlineMs: sources.deadlineMs,
    randomOctets: sources.randomOctets,
  };
}

/** A proposal, and how its signature (JOSE form) becomes the reply. */
export interface Draft<Reply> {
  readonly proposal: Proposal;
  assemble(signature: Uint8Array): Reply;
}

/** 128 bits: enough that a nonce or jti never repeats (RFC 4086, RFC 7519 §4.1.7). */
const NONCE_OCTETS = 16;

export function freshNonce(context: DraftContext): string {
  return encodeBase64url(context.randomOctets(NONCE_OCTETS));
}

/** The proposal of this moment. */
export function propose(
  context: DraftContext,
  parts: {
    readonly parameters: SigningParameters;
    readonly octets: OctetsToSign;
    readonly binds: readonly BoundParameter[];
    readonly times?: Proposal['times'];
  },
): Proposal {
  return {
    agent: agentFacts(context.agent),
    parameters: parts.parameters,
    octets: parts.octets,
    binds: new Set(parts.binds),
    times: parts.times,
    notAfterMs: Math.min(context.nowMs + context.deadlineMs, context.approvalEndsAtMs ?? Infinity),
  };
}

/**
 * Unix time at which a proof made now ends, seconds: after `lifetimeSeconds`, and never past the credentials
 * of the key, the chain of its agent or the approval it was released by (S4).
 */
export function expirySeconds(context: DraftContext, lifetimeSeconds: number): number {
  const wanted = Math.floor(context.nowMs / 1000) + lifetimeSeconds;
  const ends = [context.credentials, context.chain].flatMap((held) =>
    held === undefined ? [] : [Math.floor(held.expiresAtMs / 1000)],
  );
  const approval = context.approvalEndsAtMs;
  return Math.min(wanted, ...ends, ...(approval === undefined ? [] : [Math.floor(approval / 1000)]));
}

export interface AgentIdentifiers {
  readonly spiffeId: string | null;
  readonly aauthId: string | null;
}

/** The agent's names in its trust domain and in AAuth; null until the host is enrolled (DECISIONS 6). */
export function agentIdentifiers(identity: HostIdentity | undefined, agentName: string): AgentIdentifiers {
  if (identity === undefined) return { spiffeId: null, aauthId: null };
  const name = parseAgentName(agentName);
  return {
    spiffeId: spiffeId(identity.trustDomain, identity.label, name),
    aauthId: aauthId(identity.label, name, identity.aauthDomain),
  };
}
