import { describe, expect, it } from 'vitest';
import { checkIssued, type IssuedTo } from '../../../src/issuance/issued-check.ts';
import type { IssuedCredentials } from '../../../src/wire/issuance/issue.ts';
import type { IssuerMetadata } from '../../../src/wire/issuance/metadata.ts';
import {
  CHAIN_ISSUER,
  CHAIN_NOW,
  clientIdAt,
  signedChain,
  TRUST_DOMAIN,
  type TokenTerms,
} from '../../support/delegation-chain.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';

const grantKey = testKey();
const other = testKey();
const agent = testKey();

const issuer: IssuerMetadata = {
  issuer: CHAIN_ISSUER,
  trustDomain: TRUST_DOMAIN,
  aauthDomain: TRUST_DOMAIN,
  channelBinding: 'exporter',
  keys: {
    challenge: other.jwk,
    wit: other.jwk,
    agentToken: other.jwk,
    ear: other.jwk,
    status: other.jwk,
    grant: grantKey.jwk,
  },
  x509Ca: '',
};
const to: IssuedTo = {
  publicJwk: agent.jwk,
  uri: clientIdAt(0),
  mayHoldGrant: true,
  nowMs: CHAIN_NOW * 1000,
};

function issued(terms: TokenTerms = {}, holder = agent): IssuedCredentials {
  const [grant = ''] = signedChain([terms], { grantKey, keys: [holder] }).tokens;
  return {
    ear: 'a.b.c',
    grant,
    assurance: 'hw-key',
    spiffeId: to.uri,
    expiresAtSeconds: CHAIN_NOW + 600,
    renewAtSeconds: CHAIN_NOW + 400,
  };
}

const check = (credentials: IssuedCredentials, change: Partial<IssuedTo> = {}): Promise<string | undefined> =>
  codeOfAsync(() => checkIssued(credentials, issuer, { ...to, ...change }));

describe('S2: a grant that is issued', () => {
  it('is taken from the pinned grant key, for this agent and its present key', async () => {
    expect(await check(issued())).toBeUndefined();
  });

  it.each([
    ['by another key of the issuer', issued({ signer: other })],
    [
      'by a key that only says it is the pinned one',
      issued({ signer: other, header: { kid: grantKey.thumbprint } }),
    ],
    ['for another key', issued({}, other)],
    ['for another agent', issued({ claims: { client_id: clientIdAt(1) } })],
    ['of another issuer', issued({ claims: { iss: 'https://other.example' } })],
    ['of another trust domain', issued({ claims: { client_id: 'spiffe://other.example/agent/host1/a0' } })],
    ['that has expired', issued({ iat: CHAIN_NOW - 500, exp: CHAIN_NOW - 61 })],
    ['that begins later', issued({ iat: CHAIN_NOW + 61 })],
    ['that lives for more than thirty days', issued({ exp: CHAIN_NOW + 31 * 86_400 })],
    ['of another type', issued({ header: { typ: 'JWT' } })],
  ])('is refused with everything beside it where it is one %s', async (_what, credentials) => {
    expect(await check(credentials)).toBe('issuer_refused');
  });

  it('S1: is refused for an agent that may hold none', async () => {
    expect(await check(issued(), { mayHoldGrant: false })).toBe('issuer_refused');
  });
});
