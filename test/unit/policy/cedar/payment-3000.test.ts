/** "This agent may move at most $3,000, to this payee, once, before Friday" as shipped, against all that gets around it. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { PolicyRequest } from '../../../../src/policy/verdict.ts';
import {
  charged,
  csr,
  delegation,
  dpop,
  httpMessage,
  jwt,
  plain,
  policies,
  raw,
  said,
  shipped,
  type Situation,
} from '../../../support/policy-request.ts';

const PAYEE = 'DE89370400440532013000';
const JSON_TYPE = [['content-type', 'application/json']] as const;
const body = (amount: string, payee = PAYEE, more = ''): string =>
  `{"amount":${amount},"currency":"USD","payee":"${payee}"${more}}`;

const pay = (content: string | Uint8Array, situation: Situation = {}, headers = JSON_TYPE): PolicyRequest =>
  httpMessage(
    { method: 'POST', targetUri: 'https://bank.example/v1/payments', headers: [...headers], body: content },
    situation,
  );

/** By itself, and beside the starter set, whose owner may do nearly anything. */
const ALONE = shipped('examples/payment-3000.cedar');
const BESIDE = shipped('owner.cedar', 'examples/payment-3000.cedar');
/** The permit beside an owner's, without the forbid: S3 alone has to hold. */
const PERMIT_ONLY = policies(`
  @id("payment") @meter("USD.2 body:/amount") @limit("1 per lifetime")
  permit (principal, action == Action::"http-message", resource in Agent::"payments")
  when {
    context.origin == "https://bank.example" && context.method == "POST" && context.path == "/v1/payments" &&
    ["/amount", "/currency", "/payee"].containsAll(context.body.members) &&
    context.body.hasTag("/amount") && context.body.getTag("/amount") has n &&
    context.body.getTag("/amount").n.lessThanOrEqual(decimal("3000.00"))
  };
  @id("owner") permit (principal, action in Action::"sign", resource) when { principal.uid == resource.ownerUid };
  @id("raw") permit (principal, action == Action::"raw", resource);
`);

const effects = (request: PolicyRequest): readonly string[] =>
  [ALONE, BESIDE].map((engine) => engine.evaluate(request).effect);

describe('the sentence', () => {
  it('allows 3,000.00 to the payee on Thursday, charges it once and counts it', () => {
    for (const written of ['3000.00', '3000', '3e3', '3000.0']) {
      const verdict = ALONE.evaluate(pay(body(written)));
      expect(said(verdict)).toBe('permit payment-3000');
      expect(charged(verdict)).toEqual(['300000 USD.2', '1/1 uses.0 lifetime grant of payment-3000']);
      expect(verdict).toMatchObject({ obligations: { scopes: ['payments.write'], approval: 'none' } });
    }
    expect(said(BESIDE.evaluate(pay(body('0.01'))))).toBe('permit owner-signs payment-3000');
  });

  it.each([
    ['3,000.01', body('3000.01')],
    ['a thousand times as much', body('3000000')],
    ['just above, beyond what a double tells', body('3000.0000000000001')],
    ['half a cent', body('2999.995')],
    ['a negative amount', body('-3000.00')],
    ['-0', body('-0')],
    ['zero', body('0.00')],
    ['an amount as text', body('"3000.00"')],
    ['a nested amount', body('{"value":3000.00}')],
    ['an amount in a list', body('[3000.00]')],
    ['null', body('null')],
    ['true', body('true')],
    ['an amount twice', `{"amount":1.00,"amount":300000,"currency":"USD","payee":"${PAYEE}"}`],
    [
      'an amount twice, once escaped',
      `{"amount":1,"\\u0061mount":300000,"currency":"USD","payee":"${PAYEE}"}`,
    ],
    ['another payee', body('3000.00', 'DE00000000000000000000')],
    ['a payee that looks alike', body('3000.00', 'DЕ89370400440532013000')],
    ['a payee with an invisible character', body('3000.00', `${PAYEE}\\u200b`)],
    ['a payee in lower case', body('3000.00', PAYEE.toLowerCase())],
    ['another currency', body('3000.00').replace('USD', 'BTC')],
    ['one member more', body('3000.00', PAYEE, ',"fee":100000')],
    ['one empty member more', body('3000.00', PAYEE, ',"extra":{}')],
    ['a nested second payment', body('3000.00', PAYEE, ',"then":[{"amount":3000.00}]')],
    ['no amount', `{"currency":"USD","payee":"${PAYEE}"}`],
    ['a list of payments', `[${body('3000.00')}]`],
    ['no content that is JSON', 'amount=3000.00'],
    ['two documents', body('3000.00') + body('3000.00')],
    ['an empty body', ''],
    ['a byte order mark', `\ufeff${body('3000.00')}`],
    ['a body that is not UTF-8', Buffer.from(body('3000.00'), 'utf16le')],
    ['a lone surrogate', body('3000.00', PAYEE, ',"\\ud800":1')],
  ])('S7: refuses %s', (_what, content) => {
    expect(effects(pay(content))).toEqual(['deny', 'deny']);
  });

  it('says that an amount is not exact, where that is why', () => {
    expect(said(ALONE.evaluate(pay(body('3000.00001'))))).toContain('amount_not_exact');
    expect(said(PERMIT_ONLY.evaluate(pay(body('2999.995'))))).toBe('amount_not_exact payment');
    expect(said(PERMIT_ONLY.evaluate(pay(body('-1.00'))))).toBe('amount_not_exact payment');
  });

  it.each([
    ['a form', [['content-type', 'application/x-www-form-urlencoded']]],
    ['JSON under another name', [['content-type', 'text/json']]],
    ['no content type', []],
    ['another charset', [['content-type', 'application/json; charset=utf-16']]],
    ['a profile of JSON', [['content-type', 'application/json; profile=x']]],
  ] as const)('S7: refuses %s', (_what, headers) => {
    const request = httpMessage({
      method: 'POST',
      targetUri: 'https://bank.example/v1/payments',
      headers: headers.map(([name, value]) => [name, value] as const),
      body: body('3000.00'),
    });
    expect(effects(request)).toEqual(['deny', 'deny']);
    expect(PERMIT_ONLY.evaluate(request).effect).toBe('deny');
  });

  it('S7: refuses a gzip body, declared or not', () => {
    const zipped = gzipSync(body('3000.00'));
    const declared = [...JSON_TYPE, ['content-encoding', 'gzip'] as const];
    for (const headers of [declared, [...JSON_TYPE]]) {
      const request = httpMessage({
        method: 'POST',
        targetUri: 'https://bank.example/v1/payments',
        headers,
        body: zipped,
      });
      expect(effects(request)).toEqual(['deny', 'deny']);
      expect(PERMIT_ONLY.evaluate(request).effect).toBe('deny');
    }
    const plainTextSaidToBeZipped = httpMessage({
      method: 'POST',
      targetUri: 'https://bank.example/v1/payments',
      headers: declared,
      body: body('3000.00'),
    });
    expect(effects(plainTextSaidToBeZipped)).toEqual(['deny', 'deny']);
  });

  it('S7: refuses a digest without its body', () => {
    const request = httpMessage({
      method: 'POST',
      targetUri: 'https://bank.example/v1/payments',
      headers: [...JSON_TYPE, ['content-digest', `sha-256=:${'A'.repeat(43)}=:`]],
    });
    expect(effects(request)).toEqual(['deny', 'deny']);
    expect(PERMIT_ONLY.evaluate(request).effect).toBe('deny');
  });

  it.each([
    ['another path', 'https://bank.example/v1/payments/'],
    ['another host', 'https://bank.example.evil.example/v1/payments'],
    ['another port', 'https://bank.example:8443/v1/payments'],
    ['plain http', 'http://bank.example/v1/payments'],
    ['a query', 'https://bank.example/v1/payments?amount=300000'],
  ])('refuses %s', (_what, targetUri) => {
    const request = httpMessage({
      method: 'POST',
      targetUri,
      headers: [...JSON_TYPE],
      body: body('3000.00'),
    });
    expect(effects(request)).toEqual(['deny', 'deny']);
  });

  it.each([
    ['Friday, the first second', '2026-11-27T00:00:00.000Z', 'deny'],
    ['Saturday', '2026-11-28T12:00:00Z', 'deny'],
    ['Thursday, the last second', '2026-11-26T23:59:59.999Z', 'permit'],
  ])('%s: %s', (_what, when, effect) => {
    expect(effects(pay(body('3000.00'), { nowMs: Date.parse(when) }))).toEqual([effect, effect]);
  });

  it('refuses another caller, whoever owns the agent', () => {
    expect(effects(pay(body('3000.00'), { caller: { uid: 1001 } }))).toEqual(['deny', 'deny']);
    expect(effects(pay(body('3000.00'), { ownerUid: 1001 }))).toEqual(['deny', 'deny']);
  });

  it('holds for sub-agents, and refuses to make one', () => {
    expect(effects(pay(body('3000.00'), { agent: 'payments+worker' }))).toEqual(['permit', 'permit']);
    expect(effects(pay(body('3000.01'), { agent: 'payments+worker' }))).toEqual(['deny', 'deny']);
    expect(effects(delegation())).toEqual(['deny', 'deny']);
  });

  it('leaves other agents and what is not signing to their own policies', () => {
    expect(BESIDE.evaluate(pay(body('9000.00'), { agent: 'payments2' })).effect).toBe('permit');
    expect(BESIDE.evaluate(plain('show')).effect).toBe('permit');
  });
});

describe('S3: the same payment by a proof that does not bind it', () => {
  const proofs: readonly (readonly [string, PolicyRequest])[] = [
    ['dpop', dpop({ htm: 'POST', htu: 'https://bank.example/v1/payments' })],
    ['a client assertion', jwt({ aud: 'https://bank.example/token' })],
    ['a JWT for nobody in particular', jwt({})],
    ['a JWT for an audience that is no origin', jwt({ aud: 'bank' })],
    ['a JWT for two audiences', jwt({ aud: ['https://other.example', 'https://bank.example'] })],
    ['csr', csr()],
    ['raw', raw('POST /v1/payments')],
    [
      'a message without its body',
      httpMessage({ method: 'POST', targetUri: 'https://bank.example/v1/payments' }),
    ],
  ];

  it.each(proofs)('%s: unbound_parameters, whatever permits the proof itself', (_what, request) => {
    expect(said(PERMIT_ONLY.evaluate(request))).toBe('unbound_parameters payment');
    expect(effects(request)).toEqual(['deny', 'deny']);
  });

  it('is another matter at another origin, and for another agent', () => {
    const elsewhere = dpop({ htm: 'POST', htu: 'https://other.example/v1/payments' });
    expect(said(PERMIT_ONLY.evaluate(elsewhere))).toBe('permit owner');
    expect(said(PERMIT_ONLY.evaluate(jwt({ aud: 'https://other.example' })))).toBe('permit owner');
    const other = dpop({ htm: 'POST', htu: 'https://bank.example/v1/payments' }, { agent: 'planner' });
    expect(said(PERMIT_ONLY.evaluate(other))).toBe('permit owner');
  });

  it('does not keep the agent from reading there: a GET has no body to bind', () => {
    const read = httpMessage({ targetUri: 'https://bank.example/v1/balance' });
    expect(said(PERMIT_ONLY.evaluate(read))).toBe('permit owner');
  });
});
