import { describe, expect, it } from 'vitest';
import { StatusLists, trustedKey, type VerifierDelegation } from '../../../src/verify/index.ts';
import { atStep, type TokenTerms } from '../../support/delegation-chain.ts';
import { testKey } from '../../support/signed-request.ts';
import { statusListToken } from '../../support/status-list.ts';
import { refusalOfAsync } from '../../support/refusal.ts';
import {
  nowSeconds,
  clock,
  stranger,
  LEAF,
  chainOf,
  ROOTS,
  verifier,
  payment,
  refusal,
} from '../../support/verifying-chains.ts';

const statusKey = testKey();
const listUri = 'https://issuer.example/status/1';

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
        atStep(7, 'delegation_revoked'),
      );
    }
  });

  it('refuses what can not be told: no lists configured, none to be had, no such index', async () => {
    expect(await refusal(payment({ chain: listed }))).toMatch(atStep(7, 'status_unavailable'));
    const down = new StatusLists({
      authorities: [{ prefix: 'https://issuer.example/', keys: [trustedKey(statusKey.jwk)] }],
      fetch: () => Promise.reject(new Error('down')),
      maxStatusAgeSeconds: 300,
      clock,
    });
    expect(await refusal(payment({ chain: listed }), { status: down })).toMatch(
      atStep(7, 'status_unavailable'),
    );
    const beyond = chainOf({ ...LEAF, ...status(64) });
    expect(await refusal(payment({ chain: beyond }), { status: lists({}) })).toMatch(
      atStep(7, 'status_unavailable'),
    );
  });

  it('is left out where that is said, and not asked for a chain without lists', async () => {
    expect(await refusal(payment({ chain: listed }), { status: 'not-checked' })).toBe('accepted');
    expect(await refusal(payment())).toBe('accepted');
  });
});

describe('step 8: this very request', () => {
  const exceeded = atStep(8, 'authority_exceeded');

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
    expect(await refusal(payment({ chain, key: stranger }))).toMatch(atStep(6));
    expect(await refusal(payment({ chain }))).toMatch(atStep(7, 'status_unavailable'));
    expect(await refusal(payment({ chain }), { status: 'not-checked' })).toMatch(
      atStep(8, 'authority_exceeded'),
    );
  });

  it('is before the nonce: a request that its chain does not allow spends none', async () => {
    const { verify } = verifier({ requiredScopes: ({ headers }) => (headers.length > 99 ? [] : ['other']) });
    const request = payment();
    expect(await refusalOfAsync(() => verify(request))).toMatch(atStep(8, 'authority_exceeded'));
    expect(await refusalOfAsync(() => verify(request))).toMatch(atStep(8, 'authority_exceeded'));
    const good = verifier();
    expect(await refusalOfAsync(() => good.verify(request))).toBe('accepted');
    expect(await refusalOfAsync(() => good.verify(request))).toMatch(/^replayed: /);
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
