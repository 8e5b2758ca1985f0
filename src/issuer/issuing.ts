/** Message C: credentials for one key, certified for exactly this request (docs/protocol.md). */
import { hash } from 'node:crypto';
import type { Chain } from '../delegation/chain.ts';
import { aauthId, parseAgentName, spiffeId, type AgentName } from '../wire/agent-name.ts';
import { object, oneOf, parse } from '../wire/check.ts';
import {
  credentialRequest,
  type CredentialRequest,
  type IssueChallenge,
  type IssueRequest,
  type IssuedCredentials,
} from '../wire/issuance/issue.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { bootSnapshot, judgedAgainst, takeSnapshot } from './boot-snapshot.ts';
import { grantInForce, type RootGrant } from './credentials/root-grant.ts';
import { issueCredentials, type IssuanceFacts } from './credentials/issue-credentials.ts';
import type { ApprovedHost } from './host-registry.ts';
import { nowSeconds, QUOTED_PCRS, QUOTED_PCRS_JSON, type IssuerContext } from './issuer-context.ts';
import type { IssuanceEntry } from './store/issuance-log.ts';
import type { EnrolledHost } from './store/host-records.ts';
import { logsOf, tellWitness, witnessHeads, witnessRevision } from './witness.ts';
import { appraiseKey, type KeyAppraisal } from './verifier/appraise-key.ts';
import { mayIssue } from './verifier/host-policy.ts';
import { checkSubAgentChain, type SubAgentRules } from './verifier/sub-agent-chain.ts';

const HOUR_SECONDS = 3600;
/** Links are dated by the host's clock. */
const CLOCK_SKEW_SECONDS = 60;

const issueSession = object({
  req: credentialRequest,
  quote: oneOf(['required', 'reuse']),
  boot: bootSnapshot,
  witness: witnessRevision,
});

/**
 * M5 to M6. What can be refused without evidence is refused here, before hardware on either side works.
 * @throws KeydError `host_not_approved`, `appraisal_denied`, `name_not_permitted`, `too_many_requests`
 */
export async function beginIssuance(
  context: IssuerContext,
  host: EnrolledHost,
  req: CredentialRequest,
  network: string,
): Promise<IssueChallenge> {
  const now = nowSeconds(context);
  const approved = approvedHost(context, host);
  requireStanding(host, now);
  const [issuedInLastHour, { told, revision: witness }] = await Promise.all([
    issuedLately(context, approved),
    tellWitness(context, host),
  ]);
  const reason = mayIssue(approved, { request: req, issuedInLastHour });
  if (reason !== undefined) throw new KeydError('name_not_permitted', reason);
  if (req.chain !== undefined) {
    await refuseRevoked(
      context,
      checkSubAgentChain(approved.label, req, subAgentRules(context, approved, now)),
    );
  }
  // A host that is late with its re-attestation shows here what it has become.
  const late = now >= host.attestedAtSeconds + context.config.lifetimes.reattestSeconds;
  const quote = late ? 'required' : 'reuse';
  const data = { req, quote, boot: takeSnapshot(host.boot), witness };
  const opened = await context.challenges.open('issue', host.akId, network, data, now);
  return { ...opened, ...told, quote, pcrSelection: QUOTED_PCRS_JSON };
}

/**
 * M7 to M8.
 * @param body M7 as it was sent: its hash is kept with the issuance
 * @throws KeydError `session_unknown`, `evidence_invalid`, `appraisal_denied`, `host_not_approved`,
 *   `name_not_permitted`, `name_in_use`, `conflict`
 */
export async function finishIssuance(
  context: IssuerContext,
  host: EnrolledHost,
  issue: IssueRequest,
  body: Uint8Array,
  exporter: Uint8Array | undefined,
): Promise<IssuedCredentials> {
  const now = nowSeconds(context);
  const { challenge, data } = await context.challenges.take(issue.session, 'issue', host.akId, now);
  const { req, quote, boot, witness } = parse(issueSession, data, 'internal');
  const approved = approvedHost(context, host);
  const [logs, issuedInLastHour] = await Promise.all([
    logsOf(context, host, witness),
    issuedLately(context, approved),
  ]);
  const appraised = appraiseKey({
    standing: { ...host, boot: judgedAgainst(host.boot, boot), logs },
    standingExpiresAtSeconds: host.standingEndsAtSeconds,
    host: approved,
    policy: context.policy(),
    request: req,
    issue,
    quote,
    pcrSelection: QUOTED_PCRS,
    challenge,
    exporter,
    issuedInLastHour,
    subAgents: req.chain === undefined ? undefined : subAgentRules(context, approved, now),
    nowSeconds: now,
  });
  // What this evidence shows of the host is kept, whatever it is given for it.
  await Promise.all([
    witnessHeads(context, host, witness, appraised.witnessed),
    context.store.hosts.rememberBoot(host.akId, appraised.boot),
  ]);
  if (appraised.chain !== undefined) await refuseRevoked(context, appraised.chain);
  const thumbprint = jwkThumbprint(appraised.jwk);
  await refuseHostKey(context, host, thumbprint);
  const { agentId, name: agentName } = req;
  await context.store.issuances.bindAgent(
    { hostLabel: approved.label, agentId, name: agentName, keyThumbprint: thumbprint },
    now,
  );
  const name = parseAgentName(req.name);
  const grant = rootGrantFor(context, approved, req);
  const facts: IssuanceFacts = {
    req,
    spiffeId: spiffeId(context.config.trustDomain, approved.label, name),
    aauthId: aauthId(approved.label, name, context.config.aauthDomain) ?? undefined,
    parentAgent: parentAgent(context, approved, name),
    akId: host.akId,
    nonce: challenge.claims.nonce,
    appraised,
    grant,
    grantStatus:
      grant?.terms.status === true ? await context.statusLists.ofGrant(host, thumbprint) : undefined,
    issuedAtSeconds: now,
    // Never past the standing: a host that fails re-attestation is silent within the hour. Nor past the chain.
    expiresAtSeconds: Math.min(
      now + req.ttlSeconds,
      host.standingEndsAtSeconds,
      appraised.chain?.expiresAtSeconds ?? Infinity,
    ),
  };
  return record(context, host, approved, body, facts, appraised);
}

/** AAuth knows one level of sub-agents, and what is below has no name there. */
function parentAgent(context: IssuerContext, { label }: ApprovedHost, name: AgentName): string | undefined {
  if (name.depth !== 1) return undefined;
  const parent = parseAgentName(name.segments[0] ?? '');
  return aauthId(label, parent, context.config.aauthDomain) ?? undefined;
}

/** Signs, appends to the log, and only then gives out. */
async function record(
  context: IssuerContext,
  host: EnrolledHost,
  approved: ApprovedHost,
  body: Uint8Array,
  facts: IssuanceFacts,
  appraised: KeyAppraisal,
): Promise<IssuedCredentials> {
  const { credentials, hashes } = await issueCredentials(context, facts);
  const sequence = await context.store.issuances.append({
    issuedAtSeconds: facts.issuedAtSeconds,
    expiresAtSeconds: facts.expiresAtSeconds,
    akId: host.akId,
    ekHash: host.ekHash,
    hostLabel: approved.label,
    principal: approved.principal,
    agentId: facts.req.agentId,
    name: facts.req.name,
    spiffeId: facts.spiffeId,
    keyThumbprint: jwkThumbprint(appraised.jwk),
    assurance: credentials.assurance,
    ...(credentials.developmentPolicy === undefined
      ? {}
      : { developmentPolicy: credentials.developmentPolicy }),
    ...grantOf(facts),
    evidenceSha256: hash('sha256', body, 'base64url'),
    ...hashes,
  });
  context.logger.info(
    {
      sequence,
      akId: host.akId,
      agentId: facts.req.agentId,
      spiffeId: facts.spiffeId,
      checks: appraised.passed,
    },
    'credentials were issued',
  );
  return credentials;
}

/**
 * DT₀ confirms the key of a root agent. One that asks for a certificate alone may have a key that signs raw
 * octets, which could sign links as well (S1): it gets none.
 */
function rootGrantFor(
  context: IssuerContext,
  approved: ApprovedHost,
  req: CredentialRequest,
): RootGrant | undefined {
  const isCertificateOnly = req.creds.every((kind) => kind === 'x509');
  const isRoot = parseAgentName(req.name).depth === 0;
  return isRoot && !isCertificateOnly ? grantInForce(context.config, approved) : undefined;
}

/** Delegations below the grant of this host that is in force. */
function subAgentRules(
  { config, keys }: IssuerContext,
  approved: ApprovedHost,
  now: number,
): SubAgentRules | undefined {
  const grant = grantInForce(config, approved);
  if (grant === undefined) return undefined;
  return {
    grantKeys: [keys.publicJwk('grant')],
    issuer: config.issuer,
    trustDomain: config.trustDomain,
    allowDevelopment: config.developmentGrants,
    nowSeconds: now,
    clockSkewSeconds: CLOCK_SKEW_SECONDS,
    grantId: grant.id,
    terms: grant.terms,
  };
}

/** What was revoked on a list of this issuer delegates no more (S18). @throws KeydError `delegation_revoked` */
async function refuseRevoked({ statusLists }: IssuerContext, { tokens }: Chain): Promise<void> {
  for (const { claims } of tokens) {
    const reference = claims.status?.status_list;
    if (reference !== undefined && !(await statusLists.holds(reference))) {
      throw new KeydError('delegation_revoked', `what ${claims.client_id} was given was revoked`);
    }
  }
}

function grantOf({ grant, appraised }: IssuanceFacts): Pick<IssuanceEntry, 'grantId' | 'parentThumbprint'> {
  const { chain } = appraised;
  if (chain !== undefined) {
    const parent = chain.tokens.at(-2);
    return {
      grantId: chain.root.claims.jti,
      ...(parent === undefined ? {} : { parentThumbprint: parent.claims.cnf.jkt }),
    };
  }
  return grant === undefined ? {} : { grantId: grant.id };
}

function approvedHost(context: IssuerContext, host: EnrolledHost): ApprovedHost {
  const approved = context.hosts.find(host.ekHash);
  if (approved === undefined) {
    throw new KeydError('host_not_approved', 'the approval of this host was withdrawn');
  }
  return approved;
}

/** A key that speaks for a host or signs its checkpoints speaks for no agent (S1, DECISIONS 11). */
async function refuseHostKey(context: IssuerContext, host: EnrolledHost, thumbprint: string): Promise<void> {
  const isAuditKey = jwkThumbprint(host.auditKey) === thumbprint;
  if (isAuditKey || (await context.store.hosts.isHostKey(thumbprint))) {
    throw new KeydError('evidence_invalid', 'the key is a host key or an audit key; an agent has its own');
  }
}

function requireStanding(host: EnrolledHost, now: number): void {
  if (host.standingEndsAtSeconds <= now) {
    throw new KeydError('appraisal_denied', 'the standing of this host has ended; attest again');
  }
}

function issuedLately(context: IssuerContext, approved: ApprovedHost): Promise<number> {
  return context.store.issuances.countSince(approved.label, nowSeconds(context) - HOUR_SECONDS);
}
