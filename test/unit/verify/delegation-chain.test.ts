import { describe, expect, it } from 'vitest';
import type { Constraint } from '../../../src/delegation/constraint.ts';
import {
  createVerifier,
  MemoryNonceStore,
  parseOrigins,
  rebuildTarget,
  trustedKey,
  verifyDelegationChain,
  verifyDpop,
  type DelegationRules,
  type ProvenRequest,
} from '../../../src/verify/index.ts';
import {
  atStep,
  CHAIN_ISSUER,
  clientIdAt,
  TRUST_DOMAIN,
  type TokenTerms,
} from '../../support/delegation-chain.ts';
import { signJwt, wit, withHeader, type SignOptions, type TestKey } from '../../support/signed-request.ts';
import { refusalOfAsync } from '../../support/refusal.ts';
import {
  nowSeconds,
  clock,
  grantKey,
  witIssuer,
  rootKey,
  leafKey,
  stranger,
  PAYMENT,
  LEAF,
  tokensOf,
  chainOf,
  ROOTS,
  verifier,
  payment,
  refusal,
} from '../../support/verifying-chains.ts';

describe('a request with a chain', () => {
  it('is accepted, and its sender’s authority told', async () => {
    const { delegation } = await verifier({ requiredScopes: ['pay.invoice'] }).verify(payment());
    expect(delegation).toMatchObject({
      principal: 'user:alice',
      development: true,
      approvalHash: undefined,
      scopes: ['pay.invoice'],
      audiences: ['https://api.example'],
      constraints: PAYMENT,
      cumulative: [],
      agents: [
        { clientId: clientIdAt(0), thumbprint: rootKey.thumbprint },
        { clientId: clientIdAt(1), thumbprint: leafKey.thumbprint },
      ],
    });
  });

  it('tells the bounds that only a ledger can keep', async () => {
    const cumulative: readonly Constraint[] = [
      { key: 'calls', max_lifetime: 5 },
      { key: 'spend.USD.2', max_subtree: 300_000 },
    ];
    const { delegation } = await verifier().verify(payment({ chain: chainOf({ constraints: cumulative }) }));
    expect(delegation?.cumulative).toEqual(cumulative);
  });

  it('is refused without one, unless such requests are taken too', async () => {
    const without = payment({ chain: null });
    expect(await refusal(without)).toContain('has no agentkeyd-delegation');
    const verified = await verifier({ acceptWithoutChain: true }).verify(without);
    expect(verified.delegation).toBeUndefined();
    // But one that is there has to hold.
    expect(await refusal(payment({ chain: 'x' }), { acceptWithoutChain: true })).toMatch(atStep(0));
  });

  it('is not verified where no roots are configured: the request then speaks for its sender alone', async () => {
    const plain = createVerifier({
      clock,
      origins: ['https://api.example'],
      profiles: ['rfc9421'],
      credentials: { pinnedKey: () => ({ id: 'pinned', jwk: leafKey.jwk, assurance: 'hw-key' }) },
      nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
    });
    expect((await plain.verify(payment())).delegation).toBeUndefined();
  });
});

describe('steps 0 to 5: the chain itself', () => {
  it.each<readonly [number, string, readonly [TokenTerms, TokenTerms]]>([
    [0, 'verification_failed', [{ claims: { act: 1 } }, {}]],
    [1, 'verification_failed', [{ signer: stranger }, {}]],
    [1, 'signature_invalid', [{ signer: stranger, header: { kid: grantKey.thumbprint } }, {}]],
    [1, 'verification_failed', [{}, { signer: stranger }]],
    [2, 'verification_failed', [{}, { claims: { par_hash: 'A'.repeat(43) } }]],
    [3, 'verification_failed', [{ maxDepth: 0 }, { maxDepth: 0 }]],
    [4, 'verification_failed', [{ scopes: ['a'] }, { scopes: ['b'] }]],
    [5, 'verification_failed', [{}, { exp: nowSeconds - 5 }]],
  ])('refuses at step %i with %s', async (step, code, [root, leaf]) => {
    expect(await refusal(payment({ chain: chainOf(leaf, root) }))).toMatch(atStep(step, code));
  });

  it('S2: refuses a grant of an issuer that is not pinned, with a key pinned for another, or for another domain', async () => {
    const chain = chainOf();
    expect(await refusal(payment({ chain }), { roots: ROOTS.slice(0, 1) })).toMatch(atStep(1));
    const swapped = [{ issuer: CHAIN_ISSUER, trustDomain: TRUST_DOMAIN, keys: [trustedKey(stranger.jwk)] }];
    expect(await refusal(payment({ chain }), { roots: swapped })).toMatch(atStep(1));
    const [, own] = ROOTS;
    if (own === undefined) throw new Error('no root');
    expect(await refusal(payment({ chain }), { roots: [{ ...own, trustDomain: 'x.example' }] })).toMatch(
      atStep(1),
    );
  });

  it('S2: refuses a development grant unless it is allowed by name', async () => {
    const roots = ROOTS.map(({ issuer, keys, trustDomain }) => ({ issuer, keys, trustDomain }));
    expect(await refusal(payment(), { roots })).toMatch(atStep(1));
    const approval = { kind: 'passkey', hash: 'A'.repeat(43) };
    const chain = chainOf(LEAF, { claims: { approval } });
    const { delegation } = await verifier({ roots }).verify(payment({ chain }));
    expect(delegation).toMatchObject({ development: false, approvalHash: 'A'.repeat(43) });
  });

  it('refuses a chain cut at any token or separator, longer than is taken, or of nothing', async () => {
    const tokens = tokensOf();
    for (const chain of [
      tokens[1] ?? '',
      `~${tokens.join('~')}`,
      `${tokens.join('~')}~`,
      tokens.join('~~'),
      tokens.join(','),
      tokens.join(' ~ '),
      '~'.repeat(10_000),
    ]) {
      expect(await refusal(payment({ chain })), chain.slice(0, 40)).toMatch(atStep(0));
    }
    expect(await refusal(payment(), { maxTokens: 1 })).toMatch(atStep(0));
    // DT₀ alone is a chain, and another agent's: the root's.
    expect(await refusal(payment({ chain: tokens[0] ?? '' }))).toMatch(atStep(6));
  });
});

describe('step 6: the request is by the key of the last link', () => {
  it('refuses a good chain with a request by any other key, the one above among them', async () => {
    for (const key of [stranger, rootKey]) expect(await refusal(payment({ key }))).toMatch(atStep(6));
  });

  it('refuses a WIT that names another agent than the last link, though the key is right', async () => {
    const token = (sub: string): string => wit(witIssuer, leafKey, { nowSeconds, claims: { sub } });
    const headers = (sub: string): NonNullable<SignOptions['headers']> => [
      ['Content-Type', 'application/json'],
      ['Workload-Identity-Token', token(sub)],
    ];
    expect(await refusal(payment({ headers: headers(clientIdAt(1)) }))).toBe('accepted');
    expect(await refusal(payment({ headers: headers(clientIdAt(0)) }))).toMatch(atStep(6));
  });

  it('refuses a chain that is not covered by the signature: left uncovered, swapped, or added', async () => {
    expect(await refusal(payment({ drop: ['agentkeyd-delegation'] }))).toContain(
      'does not cover agentkeyd-delegation',
    );
    const wider = chainOf({});
    expect(await refusal(withHeader(payment(), 'agentkeyd-delegation', wider))).toMatch(
      /^signature_invalid: /,
    );
    const without = payment({ chain: null });
    const added = { ...without, headers: [...without.headers, ['Agentkeyd-Delegation', wider] as const] };
    expect(await refusal(added)).toContain('does not cover agentkeyd-delegation');
    const twice = payment();
    const repeated = { ...twice, headers: [...twice.headers, ['agentkeyd-delegation', wider] as const] };
    expect(await refusal(repeated)).toContain('repeated');
  });

  const proven = (proof: ProvenRequest['proof'], more: Partial<ProvenRequest> = {}): ProvenRequest => {
    const request = payment();
    return {
      method: 'POST',
      target: rebuildTarget(request, parseOrigins(['https://api.example'])),
      headers: request.headers,
      body: request.body,
      proof,
      ...more,
    };
  };
  const alone = (request: ProvenRequest, chain = chainOf(), rules: Partial<DelegationRules> = {}) =>
    refusalOfAsync(() =>
      verifyDelegationChain(chain, request, { roots: ROOTS, ...rules }, { nowSeconds, clockSkewSeconds: 5 }),
    );

  it('S3: stand-alone, refuses a message signature that leaves out what the chain is held against', async () => {
    const all = ['@method', '@target-uri', 'content-digest', 'content-type', 'agentkeyd-delegation'];
    const with_ = (coveredComponents: readonly string[], audience?: string) =>
      alone(proven({ kind: 'http-message', thumbprint: leafKey.thumbprint, coveredComponents, audience }));
    expect(await with_(all)).toBe('accepted');
    for (const name of all) {
      const refused = await with_(all.filter((other) => other !== name));
      expect(refused, name).toMatch(atStep(6));
      expect(refused).toContain(name);
    }
    const others = all.filter((name) => name !== '@target-uri');
    expect(await with_([...others, '@path', '@authority'])).toMatch(atStep(6));
    expect(await with_([...others, '@request-target'])).toMatch(atStep(6));
    expect(await with_([...others, '@request-target', '@authority'])).toBe('accepted');
    expect(await with_([...others, '@request-target'], 'https://api.example/v1/pay')).toBe('accepted');
    expect(await with_([...others, '@request-target'], 'https://other.example/v1/pay')).toMatch(atStep(6));
  });

  it('S3: a DPoP proof by the leaf with the chain as its access token binds method and path, and no body', async () => {
    const proofOf = async (key: TestKey, accessToken: string): Promise<ProvenRequest['proof']> => {
      const ath = Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(accessToken))).toString(
        'base64url',
      );
      const claims = { jti: 'j', iat: nowSeconds, htm: 'POST', htu: 'https://api.example/v1/pay', ath };
      const { jwk } = key;
      const { thumbprint } = await verifyDpop(signJwt(key, { typ: 'dpop+jwt', jwk }, claims), {
        method: 'POST',
        target: proven({ kind: 'dpop', thumbprint: '', accessToken }).target,
        nonceStore: new MemoryNonceStore({ maxEntries: 10, clock }),
        accessToken,
        clock,
      });
      return { kind: 'dpop', thumbprint, accessToken };
    };
    const bounds: readonly Constraint[] = [
      { key: 'method', in: ['POST'] },
      { key: 'path', prefix: '/v1' },
      { key: 'operation', in: ['dpop'] },
    ];
    const chain = chainOf({ constraints: bounds });
    expect(await alone(proven(await proofOf(leafKey, chain)), chain)).toBe('accepted');
    expect(await alone(proven(await proofOf(stranger, chain)), chain)).toMatch(atStep(6));
    expect(await alone(proven(await proofOf(leafKey, chainOf())), chain)).toMatch(atStep(6));
    for (const bound of PAYMENT.filter(({ key }) => /^(?:query|body|media)/.test(key))) {
      const read = chainOf({ constraints: [bound] });
      expect(await alone(proven(await proofOf(leafKey, read)), read), bound.key).toMatch(
        atStep(8, 'authority_exceeded'),
      );
    }
  });
});
