/** What comes back is for this key, under the pinned keys of this issuer; anything else is not kept. */
import { X509Certificate } from 'node:crypto';
import { importJWK, jwtVerify } from 'jose';
import { verifyChain, type Chain } from '../delegation/chain.ts';
import type { IssuedCredentials } from '../wire/issuance/issue.ts';
import type { IssuerMetadata } from '../wire/issuance/metadata.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';

/** Who asked, and what it may be given. */
export interface IssuedTo {
  readonly publicJwk: PublicJwk;
  /** SPIFFE ID. */
  readonly uri: string;
  /** DT₀ is for root agents whose keys sign no raw octets. */
  readonly mayHoldGrant: boolean;
  readonly nowMs: number;
}

/** Clocks of issuer and host may differ by this much. */
const CLOCK_SKEW_SECONDS = 60;

/** @throws KeydError `issuer_refused` */
export async function checkIssued(
  issued: IssuedCredentials,
  issuer: IssuerMetadata,
  to: IssuedTo,
): Promise<void> {
  const { publicJwk: agentKey, uri } = to;
  if (issued.spiffeId !== uri) refuse(`are for ${issued.spiffeId}, not ${uri}`);
  if (issued.x509 !== undefined) checkCertificate(issued.x509, issuer, agentKey, uri);
  if (issued.wit !== undefined) await checkToken(issued.wit, issuer, issuer.keys.wit, agentKey, 'WIT');
  if (issued.agentToken !== undefined) {
    await checkToken(issued.agentToken, issuer, issuer.keys.agentToken, agentKey, 'agent token');
  }
  if (issued.grant !== undefined) checkGrant(issued.grant, issuer, to);
}

function checkCertificate(
  chain: readonly string[],
  issuer: IssuerMetadata,
  agentKey: PublicJwk,
  uri: string,
): void {
  const leaf = new X509Certificate(chain[0] ?? '');
  const ca = new X509Certificate(issuer.x509Ca);
  const { alg, ...material } = agentKey;
  const leafJwk = parsePublicJwk({ ...leaf.publicKey.export({ format: 'jwk' }), alg });
  if (jwkThumbprint(leafJwk) !== jwkThumbprint({ alg, ...material } as PublicJwk))
    refuse('certify another key');
  if (leaf.subjectAltName !== `URI:${uri}`) refuse(`name ${leaf.subjectAltName ?? 'nobody'}, not URI:${uri}`);
  if (!leaf.verify(ca.publicKey)) refuse('are not signed by the pinned X.509 CA');
}

async function checkToken(
  token: string,
  issuer: IssuerMetadata,
  key: PublicJwk,
  agentKey: PublicJwk,
  what: string,
): Promise<void> {
  let confirmed: unknown;
  try {
    const { payload } = await jwtVerify(token, await importJWK({ ...key }), {
      algorithms: [key.alg],
      issuer: issuer.issuer,
    });
    confirmed = (payload['cnf'] as { readonly jwk?: unknown } | undefined)?.jwk;
  } catch (thrown) {
    throw new KeydError('issuer_refused', `the ${what} is not signed by the issuer’s pinned key for it`, {
      cause: thrown,
    });
  }
  if (jwkThumbprint(parsePublicJwk(confirmed, `${what} cnf.jwk`)) !== jwkThumbprint(agentKey)) {
    refuse(`have a ${what} for another key`);
  }
}

/** Whether a grant that no person approved counts is for policy to say, at its use. */
function checkGrant(grant: string, issuer: IssuerMetadata, to: IssuedTo): void {
  if (!to.mayHoldGrant) refuse('have a grant that this agent may not hold');
  let chain: Chain;
  try {
    chain = verifyChain([grant], {
      grantKeys: [issuer.keys.grant],
      issuer: issuer.issuer,
      trustDomain: issuer.trustDomain,
      allowDevelopment: true,
      nowSeconds: Math.floor(to.nowMs / 1000),
      clockSkewSeconds: CLOCK_SKEW_SECONDS,
    });
  } catch (thrown) {
    throw new KeydError(
      'issuer_refused',
      `the issued grant does not verify: ${asKeydError(thrown).message}`,
      {
        cause: thrown,
      },
    );
  }
  const { client_id: holder, cnf } = chain.leaf.claims;
  if (holder !== to.uri) refuse(`have a grant for ${holder}, not ${to.uri}`);
  if (cnf.jkt !== jwkThumbprint(to.publicJwk)) refuse('have a grant for another key');
}

function refuse(reason: string): never {
  throw new KeydError('issuer_refused', `the issued credentials ${reason}; they were not kept`);
}
