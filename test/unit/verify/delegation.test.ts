import { describe, expect, it } from 'vitest';
import type { Constraint } from '../../../src/delegation/constraint.ts';
import {
  createVerifier,
  MemoryNonceStore,
  parseOrigins,
  rebuildTarget,
  StatusLists,
  trustedKey,
  verifyDelegationChain,
  verifyDpop,
  type DelegationRules,
  type ProvenRequest,
  type ReceivedRequest,
  type VerifierDelegation,
  type VerifierOptions,
} from '../../../src/verify/index.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import {
  CHAIN_ISSUER,
  CHAIN_NOW,
  clientIdAt,
  signedChain,
  TRUST_DOMAIN,
  type TokenTerms,
} from '../../support/delegation-chain.ts';
import {
  signedRequest,
  signJwt,
  testKey,
  wit,
  withHeader,
  type SignOptions,
  type TestKey,
} from '../../support/signed-request.ts';
import { statusListToken } from '../../support/status-list.ts';

const nowSeconds = CHAIN_NOW;
const clock = (): number => nowSeconds * 1000;
const grantKey = testKey();
const witIssuer = testKey();
const statusKey = testKey();
const rootKey = testKey();
const leafKey = testKey();
const stranger = testKey();
const listUri = 'https://issuer.example/status/1';
const PAY = 'https://api.example/v1/pay?to=bob';

/** DT₀ and a link that lets its holder pay bob up to 3000. */
const PAYMENT: readonly Constraint[] = [
  { key: 'operation', in: ['http-message'] },
  { key: 'method', in: ['POST'] },
  { key: 'path', prefix: '/v1/pay' },
  { key: 'media_type', in: ['application/json'] },
  { key: 'query:to', equals: 'bob' },
  { key: 'body:/payee', equals: 'bob' },
  { key: 'body:/amount', max: '3000.00' },
];
const LEAF: TokenTerms = { scopes: ['pay.invoice'], aud: ['https://api.example'], constraints: PAYMENT };

const tokensOf = (leaf: TokenTerms = LEAF, root: TokenTerms = {}): readonly string[] =>
  signedChain([root, leaf], { grantKey, keys: [rootKey, leafKey] }).tokens;
const chainOf = (leaf: TokenTerms = LEAF, root: TokenTerms = {}): string => tokensOf(leaf, root).join('~');

const ROOTS: DelegationRules['roots'] = [
  { issuer: 'https://other.example', trustDomain: 'other.example', keys: [trustedKey(stranger.jwk)] },
  {
    issuer: CHAIN_ISSUER,
    trustDomain: TRUST_DOMAIN,
    keys: [trustedKey(grantKey.jwk)],
    acceptDevelopment: true,
  },
];

function verifier(delegation: Partial<VerifierDelegation> = {}, options: Partial<VerifierOptions> = {}) {
  return createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421'],
    credentials: {
      wit: { trustDomain: TRUST_DOMAIN, keys: [trustedKey(witIssuer.jwk)] },
      pinnedKey: (keyid) => {
        const key = [leafKey, rootKey, stranger].find(({ thumbprint }) => thumbprint === keyid);
        return key === undefined ? undefined : { id: 'pinned', jwk: key.jwk, assurance: 'hw-key' };
      },
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
    clock,
    delegation: { roots: ROOTS, ...delegation },
    ...options,
  });
}

interface PaymentOptions extends Partial<SignOptions> {
  readonly chain?: string | null;
  readonly content?: string;
}

function payment({
  chain = chainOf(),
  content = '{"payee":"bob","amount":2999.99}',
  ...more
}: PaymentOptions = {}): ReceivedRequest {
  return signedRequest({
    profile: 'rfc9421',
    key: leafKey,
    nowSeconds,
    targetUri: PAY,
    body: Buffer.from(content),
    ...more,
    headers: [
      ...(more.headers ?? [['Content-Type', 'application/json']]),
      ...(chain === null ? [] : [['Agentkeyd-Delegation', chain] as const]),
    ],
  });
}

async function refusal(
  request: ReceivedRequest,
  delegation: Partial<VerifierDelegation> = {},
  options: Partial<VerifierOptions> = {},
): Promise<string> {
  return refusalOf(() => verifier(delegation, options).verify(request));
}

async function refusalOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return 'accepted';
  } catch (thrown) {
    if (thrown instanceof KeydError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
}

const at = (step: number, code = 'verification_failed'): RegExp =>
  new RegExp(`^${code}: delegation, step ${step}: `);

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
    expect(await refusal(payment({ chain: 'x' }), { acceptWithoutChain: true })).toMatch(at(0));
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
    expect(await refusal(payment({ chain: chainOf(leaf, root) }))).toMatch(at(step, code));
  });

  it('S2: refuses a grant of an issuer that is not pinned, with a key pinned for another, or for another domain', async () => {
    const chain = chainOf();
    expect(await refusal(payment({ chain }), { roots: ROOTS.slice(0, 1) })).toMatch(at(1));
    const swapped = [{ issuer: CHAIN_ISSUER, trustDomain: TRUST_DOMAIN, keys: [trustedKey(stranger.jwk)] }];
    expect(await refusal(payment({ chain }), { roots: swapped })).toMatch(at(1));
    const [, own] = ROOTS;
    if (own === undefined) throw new Error('no root');
    expect(await refusal(payment({ chain }), { roots: [{ ...own, trustDomain: 'x.example' }] })).toMatch(
      at(1),
    );
  });

  it('S2: refuses a development grant unless it is allowed by name', async () => {
    const roots = ROOTS.map(({ issuer, keys, trustDomain }) => ({ issuer, keys, trustDomain }));
    expect(await refusal(payment(), { roots })).toMatch(at(1));
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
      expect(await refusal(payment({ chain })), chain.slice(0, 40)).toMatch(at(0));
    }
    expect(await refusal(payment(), { maxTokens: 1 })).toMatch(at(0));
    // DT₀ alone is a chain, and another agent's: the root's.
    expect(await refusal(payment({ chain: tokens[0] ?? '' }))).toMatch(at(6));
  });
});

describe('step 6: the request is by the key of the last link', () => {
  it('refuses a good chain with a request by any other key, the one above among them', async () => {
    for (const key of [stranger, rootKey]) expect(await refusal(payment({ key }))).toMatch(at(6));
  });

  it('refuses a WIT that names another agent than the last link, though the key is right', async () => {
    const token = (sub: string): string => wit(witIssuer, leafKey, { nowSeconds, claims: { sub } });
    const headers = (sub: string): NonNullable<SignOptions['headers']> => [
      ['Content-Type', 'application/json'],
      ['Workload-Identity-Token', token(sub)],
    ];
    expect(await refusal(payment({ headers: headers(clientIdAt(1)) }))).toBe('accepted');
    expect(await refusal(payment({ headers: headers(clientIdAt(0)) }))).toMatch(at(6));
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
    refusalOf(() =>
      verifyDelegationChain(chain, request, { roots: ROOTS, ...rules }, { nowSeconds, clockSkewSeconds: 5 }),
    );

  it('S3: stand-alone, refuses a message signature that leaves out what the chain is held against', async () => {
    const all = ['@method', '@target-uri', 'content-digest', 'content-type', 'agentkeyd-delegation'];
    const with_ = (coveredComponents: readonly string[], audience?: string) =>
      alone(proven({ kind: 'http-message', thumbprint: leafKey.thumbprint, coveredComponents, audience }));
    expect(await with_(all)).toBe('accepted');
    for (const name of all) {
      const refused = await with_(all.filter((other) => other !== name));
      expect(refused, name).toMatch(at(6));
      expect(refused).toContain(name);
    }
    const others = all.filter((name) => name !== '@target-uri');
    expect(await with_([...others, '@path', '@authority'])).toMatch(at(6));
    expect(await with_([...others, '@request-target'])).toMatch(at(6));
    expect(await with_([...others, '@request-target', '@authority'])).toBe('accepted');
    expect(await with_([...others, '@request-target'], 'https://api.example/v1/pay')).toBe('accepted');
    expect(await with_([...others, '@request-target'], 'https://other.example/v1/pay')).toMatch(at(6));
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
    expect(await alone(proven(await proofOf(stranger, chain)), chain)).toMatch(at(6));
    expect(await alone(proven(await proofOf(leafKey, chainOf())), chain)).toMatch(at(6));
    for (const bound of PAYMENT.filter(({ key }) => /^(?:query|body|media)/.test(key))) {
      const read = chainOf({ constraints: [bound] });
      expect(await alone(proven(await proofOf(leafKey, read)), read), bound.key).toMatch(
        at(8, 'authority_exceeded'),
      );
    }
  });
});

describe('step 7: nothing in the chain was revoked', () => {
  const status = (idx: number): TokenTerms => ({
    claims: { status: { status_list: { idx, uri: listUri } } },
  });
  const listed = chainOf({ ...LEAF, ...status(2) }, status(1));
  const lists = (statuses: Readonly<Record<number, number>>): StatusLists =>
    new StatusLists({
      authorities: [{ prefix: 'https://issuer.example/status/', keys: [trustedKey(statusKey.jwk)] }],
      fetch: () => Promise.resolve(statusListToken(statusKey, { uri: listUri, nowSeconds, statuses })),
      maxStatusAgeSeconds: 300,
      clock,
    });

  it('accepts what is valid, and refuses where any token of the chain was revoked', async () => {
    expect(await refusal(payment({ chain: listed }), { status: lists({ 3: 1 }) })).toBe('accepted');
    for (const index of [1, 2]) {
      expect(await refusal(payment({ chain: listed }), { status: lists({ [index]: 1 }) })).toMatch(
        at(7, 'delegation_revoked'),
      );
    }
  });

  it('refuses what can not be told: no lists configured, none to be had, no such index', async () => {
    expect(await refusal(payment({ chain: listed }))).toMatch(at(7, 'status_unavailable'));
    const down = new StatusLists({
      authorities: [{ prefix: 'https://issuer.example/', keys: [trustedKey(statusKey.jwk)] }],
      fetch: () => Promise.reject(new Error('down')),
      maxStatusAgeSeconds: 300,
      clock,
    });
    expect(await refusal(payment({ chain: listed }), { status: down })).toMatch(at(7, 'status_unavailable'));
    const beyond = chainOf({ ...LEAF, ...status(64) });
    expect(await refusal(payment({ chain: beyond }), { status: lists({}) })).toMatch(
      at(7, 'status_unavailable'),
    );
  });

  it('is left out where that is said, and not asked for a chain without lists', async () => {
    expect(await refusal(payment({ chain: listed }), { status: 'not-checked' })).toBe('accepted');
    expect(await refusal(payment())).toBe('accepted');
  });
});

describe('step 8: this very request', () => {
  const exceeded = at(8, 'authority_exceeded');

  it('refuses a body beyond the amount, offline, though its signature and digest are good', async () => {
    expect(await refusal(payment({ content: '{"payee":"bob","amount":3000.00}' }))).toBe('accepted');
    for (const content of [
      '{"payee":"bob","amount":3000.01}',
      '{"payee":"bob","amount":3000.0000000000000001}',
      '{"payee":"bob","amount":"2999"}',
      '{"payee":"bob","amount":-1}',
      '{"payee":"bob","amount":-0}',
      '{"payee":"bob","amount":[1]}',
      '{"payee":"bob","payment":{"amount":1}}',
      '{"payee":"bob","amount":1,"amount":3001}',
      '{"payee":"bob"}',
      '{"payee":"b\u043eb","amount":1}',
      '{"payee":"eve","amount":1}',
      '{"payee":["bob"],"amount":1}',
      '{"payee":"bob","amount":1} ',
      '[{"payee":"bob","amount":1}]',
      'payee=bob&amount=1',
      '',
    ]) {
      const expected = content.endsWith(' ') ? /^accepted$/ : exceeded;
      expect(await refusal(payment({ content })), content).toMatch(expected);
    }
  });

  it('S7: takes no negative number for equal to anything, not even to itself', async () => {
    const chain = chainOf({ constraints: [{ key: 'body:/amount', equals: -5 }] });
    expect(await refusal(payment({ chain, content: '{"amount":-5}' }))).toMatch(exceeded);
    const zero = chainOf({ constraints: [{ key: 'body:/amount', equals: 0 }] });
    expect(await refusal(payment({ chain: zero, content: '{"amount":0.0}' }))).toBe('accepted');
    expect(await refusal(payment({ chain: zero, content: '{"amount":-0}' }))).toMatch(exceeded);
  });

  it('refuses a body that is changed after signing, before it comes to that', async () => {
    const request = { ...payment(), body: Buffer.from('{"payee":"bob","amount":1}') };
    expect(await refusal(request)).toMatch(/^verification_failed: .*content-digest/i);
  });

  it('refuses another method, path, query, type or encoding', async () => {
    const method = payment({ method: 'PUT' });
    expect(await refusal(method)).toMatch(exceeded);
    for (const targetUri of [
      'https://api.example/v1/payout?to=bob',
      'https://api.example/v1?to=bob',
      'https://api.example/v1/pay',
      'https://api.example/v1/pay?to=eve',
      'https://api.example/v1/pay?to=bob&to=eve',
      'https://api.example/v1/pay?To=bob',
    ]) {
      expect(await refusal(payment({ targetUri })), targetUri).toMatch(exceeded);
    }
    for (const headers of [
      [['Content-Type', 'text/plain']],
      [],
      [
        ['Content-Type', 'application/json'],
        ['Content-Encoding', 'gzip'],
      ],
    ] as const) {
      expect(await refusal(payment({ headers }))).toMatch(exceeded);
    }
    const withCharset = payment({ headers: [['Content-Type', 'Application/JSON; charset=utf-8']] });
    expect(await refusal(withCharset)).toBe('accepted');
  });

  it('refuses a chain that is for another server', async () => {
    const chain = chainOf({ ...LEAF, aud: ['https://other.example'] });
    expect(await refusal(payment({ chain }))).toMatch(exceeded);
    const port = chainOf({ ...LEAF, aud: ['https://api.example:8443'] });
    expect(await refusal(payment({ chain: port }))).toMatch(exceeded);
  });

  it('refuses a chain without the scopes that the request needs', async () => {
    expect(await refusal(payment(), { requiredScopes: ['pay.invoice', 'pay.refund'] })).toMatch(exceeded);
    const byPath: Partial<VerifierDelegation> = {
      requiredScopes: ({ target }) => (target.path.startsWith('/v1/pay') ? ['pay.any'] : []),
    };
    expect(await refusal(payment(), byPath)).toMatch(exceeded);
    expect(await refusal(payment({ chain: chainOf({ ...LEAF, scopes: ['pay.*'] }) }), byPath)).toBe(
      'accepted',
    );
  });

  it('holds what the request costs here against what one action may spend, and refuses what nobody knows', async () => {
    const chain = chainOf({ constraints: [{ key: 'spend.USD.2', max: 300_000 }] });
    const costing = (cents: bigint) => ({ costs: () => new Map([['USD.2', cents]]) });
    expect(await refusal(payment({ chain }), costing(300_000n))).toBe('accepted');
    expect(await refusal(payment({ chain }), costing(300_001n))).toMatch(exceeded);
    expect(await refusal(payment({ chain }), { costs: () => new Map() })).toBe('accepted');
    expect(await refusal(payment({ chain }))).toMatch(exceeded);
  });
});

describe('the order', () => {
  it('is 6, 7, 8: each is refused before the next is looked at', async () => {
    const status = { status: { status_list: { idx: 1, uri: listUri } } };
    const chain = chainOf({ ...LEAF, aud: ['https://other.example'], claims: status });
    expect(await refusal(payment({ chain, key: stranger }))).toMatch(at(6));
    expect(await refusal(payment({ chain }))).toMatch(at(7, 'status_unavailable'));
    expect(await refusal(payment({ chain }), { status: 'not-checked' })).toMatch(at(8, 'authority_exceeded'));
  });

  it('is before the nonce: a request that its chain does not allow spends none', async () => {
    const { verify } = verifier({ requiredScopes: ({ headers }) => (headers.length > 99 ? [] : ['other']) });
    const request = payment();
    expect(await refusalOf(() => verify(request))).toMatch(at(8, 'authority_exceeded'));
    expect(await refusalOf(() => verify(request))).toMatch(at(8, 'authority_exceeded'));
    const good = verifier();
    expect(await refusalOf(() => good.verify(request))).toBe('accepted');
    expect(await refusalOf(() => good.verify(request))).toMatch(/^replayed: /);
  });
});

describe('configuration', () => {
  it('is refused without roots, without keys, or with an issuer twice', async () => {
    const [, own] = ROOTS;
    if (own === undefined) throw new Error('no root');
    for (const roots of [[], [{ ...own, keys: [] }], [own, own]]) {
      expect(await refusal(payment(), { roots })).toMatch(/^configuration_invalid: /);
    }
  });
});
