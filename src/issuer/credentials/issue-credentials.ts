/** Signs what a request asked for and an appraisal allows, and says what goes into the issuance log. */
import { hash } from 'node:crypto';
import type { CredentialRequest, IssuedCredentials } from '../../wire/issuance/issue.ts';
import type { StatusReference } from '../../wire/issuance/status.ts';
import { jwkThumbprint } from '../../wire/jwk.ts';
import { VERIFIER_BUILD, type IssuerContext } from '../issuer-context.ts';
import type { IssuanceEntry } from '../store/issuance-log.ts';
import type { KeyAppraisal } from '../verifier/appraise-key.ts';
import { attestationClaimOf, EAR_TYP, earClaims } from '../verifier/ear.ts';
import { issueRootGrant, type RootGrant } from './root-grant.ts';
import { issueAgentToken, issueWit, tokenHash, type TokenRequest } from './tokens.ts';

export interface IssuanceFacts {
  readonly req: CredentialRequest;
  readonly spiffeId: string;
  /** Undefined below depth 1: AAuth has no name for such agents. */
  readonly aauthId: string | undefined;
  /** AAuth identifier of the agent above a sub-agent. */
  readonly parentAgent: string | undefined;
  readonly akId: string;
  /** Of the challenge that the evidence answered. */
  readonly nonce: string;
  readonly appraised: KeyAppraisal;
  /** What its host's agents are granted; undefined where nothing is, and for an agent that gets no DT₀. */
  readonly grant: RootGrant | undefined;
  readonly grantStatus: StatusReference | undefined;
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
}

export type IssuedHashes = Pick<
  IssuanceEntry,
  'earSha256' | 'x509Sha256' | 'witJti' | 'agentTokenJti' | 'grantSha256'
>;

/** Rejects with the key backend's codes. */
export async function issueCredentials(
  context: IssuerContext,
  facts: IssuanceFacts,
): Promise<{ readonly credentials: IssuedCredentials; readonly hashes: IssuedHashes }> {
  const { appraised, req, spiffeId, aauthId } = facts;
  const { level, developmentPolicy } = appraised.key;
  const described = {
    akId: facts.akId,
    resetCount: appraised.boot.resetCount,
    tpm: appraised.host,
    key: { assessment: appraised.key, thumbprint: jwkThumbprint(appraised.jwk) },
  };
  const ear = await signEar(context, facts, described);
  const parent = appraised.chain?.tokens.at(-2)?.claims.cnf.jkt;
  const attestation = {
    ...attestationClaimOf(described),
    earHash: tokenHash(ear),
    ...(parent === undefined ? {} : { parent }),
  };
  const wanted = new Set(req.creds);
  const token = (subject: string): TokenRequest => ({
    issuer: context.config.issuer,
    subject,
    publicJwk: appraised.jwk,
    attestation,
    issuedAtSeconds: facts.issuedAtSeconds,
    expiresAtSeconds: facts.expiresAtSeconds,
  });
  const named = developmentPolicy ?? appraised.host.developmentPolicy;
  const [leaf, wit, agentToken, grant] = await Promise.all([
    wanted.has('x509')
      ? context.authority.issue(
          {
            publicJwk: appraised.jwk,
            spiffeId,
            notAfterSeconds: facts.expiresAtSeconds,
            assurance: level,
            virtual: appraised.host.virtual,
            developmentPolicy: named,
            inTpm: appraised.heldBy === 'tpm',
          },
          facts.issuedAtSeconds,
        )
      : undefined,
    wanted.has('wit') ? issueWit(context.keys, token(spiffeId)) : undefined,
    wanted.has('aauth') && aauthId !== undefined
      ? issueAgentToken(context.keys, { ...token(aauthId), parentAgent: facts.parentAgent })
      : undefined,
    facts.grant === undefined
      ? undefined
      : issueRootGrant(context.keys, context.config.issuer, facts.grant, {
          spiffeId,
          publicJwk: appraised.jwk,
          issuedAtSeconds: facts.issuedAtSeconds,
          status: facts.grantStatus,
        }),
  ]);
  return {
    credentials: {
      ...(leaf === undefined ? {} : { x509: leaf.chain }),
      ...(wit === undefined ? {} : { wit: wit.token }),
      ...(agentToken === undefined ? {} : { agentToken: agentToken.token }),
      ear,
      ...(grant === undefined ? {} : { grant }),
      assurance: level,
      ...(named === undefined ? {} : { developmentPolicy: named }),
      spiffeId,
      ...(aauthId === undefined ? {} : { aauthId }),
      expiresAtSeconds: facts.expiresAtSeconds,
      renewAtSeconds: renewAt(facts.issuedAtSeconds, facts.expiresAtSeconds),
    },
    hashes: {
      earSha256: tokenHash(ear),
      ...(leaf === undefined ? {} : { x509Sha256: hash('sha256', leaf.der, 'base64url') }),
      ...(wit === undefined ? {} : { witJti: wit.jti }),
      ...(agentToken === undefined ? {} : { agentTokenJti: agentToken.jti }),
      ...(grant === undefined ? {} : { grantSha256: tokenHash(grant) }),
    },
  };
}

/** Two thirds of the life. */
export function renewAt(issuedAtSeconds: number, expiresAtSeconds: number): number {
  return issuedAtSeconds + Math.floor(((expiresAtSeconds - issuedAtSeconds) * 2) / 3);
}

async function signEar(
  context: IssuerContext,
  facts: IssuanceFacts,
  described: Pick<Parameters<typeof earClaims>[0], 'akId' | 'resetCount' | 'tpm' | 'key'>,
): Promise<string> {
  const claims = earClaims({
    ...described,
    issuer: context.config.issuer,
    build: VERIFIER_BUILD,
    issuedAtSeconds: facts.issuedAtSeconds,
    expiresAtSeconds: facts.expiresAtSeconds,
    nonce: facts.nonce,
  });
  return context.keys.signJwt('ear', EAR_TYP, { ...claims });
}
