/** What leaves the host: what policies may read, under the same names, and nothing that is a secret. */
import { describe, expect, it } from 'vitest';
import { evaluationRequest, type SentFacts } from '../../../src/policy/authzen/evaluation-request.ts';
import type { Obligations, PolicyRequest } from '../../../src/policy/verdict.ts';
import type { Evaluation } from '../../support/decision-point.ts';
import { csr, delegation, dpop, httpMessage, jwt, raw, THURSDAY } from '../../support/policy-request.ts';

const FREE: Obligations = { approval: 'none', charges: [], scopes: [] };
const ALL: SentFacts = {
  documents: new Set(['body', 'query', 'claims']),
  headers: [],
  host: undefined,
};

const asked = (request: PolicyRequest, more: Partial<SentFacts> = {}, obligations = FREE): Evaluation =>
  JSON.parse(evaluationRequest(request, obligations, { ...ALL, ...more })) as Evaluation;

const post = (body: string, headers: readonly (readonly [string, string])[] = []) =>
  httpMessage({
    method: 'POST',
    targetUri: 'https://bank.example/v1/payments?note=a%20b',
    headers: [['content-type', 'application/json'], ...headers],
    body,
  });

describe('a question', () => {
  it('names caller, operation and agent, and tells what the kernel knows', () => {
    const { subject, action, resource, context } = asked(
      httpMessage(
        { method: 'GET', targetUri: 'https://api.example/a/b' },
        { agent: 'payments+eu', caller: { uid: 1001, groups: [7], unit: 'shop.service' } },
      ),
      { host: { label: 'node-1', trustDomain: 'agents.example' } },
    );
    expect(subject).toMatchObject({
      type: 'Caller',
      id: '1001',
      properties: { uid: 1001, groups: [7], ingress: 'shared', unit: 'shop.service', roles: [] },
    });
    expect(resource).toMatchObject({
      type: 'SubAgent',
      id: 'payments+eu',
      properties: { name: 'payments+eu', parent: 'payments', root: 'payments', depth: 1, backend: 'tpm' },
    });
    expect(action).toMatchObject({
      name: 'http-message',
      properties: {
        method: 'GET',
        scheme: 'https',
        host: 'api.example',
        port: 443,
        origin: 'https://api.example',
        path: '/a/b',
        hasBody: false,
        body: { members: {} },
        query: { members: {} },
      },
    });
    expect(context).toMatchObject({
      host: { label: 'node-1', trustDomain: 'agents.example' },
      time: { now: new Date(THURSDAY).toISOString(), weekday: 'Thursday', hour: 12, minute: 0 },
      attestation: { status: 'none' },
      approval: 'none',
      charges: [],
      budgets: [],
    });
    expect(context).not.toHaveProperty('authority');
    expect(Object.keys({ ...asked(post('{}')) }).toSorted()).toEqual([
      'action',
      'context',
      'resource',
      'subject',
    ]);
  });

  it('tells the chain, the budgets and the price in exact numbers', () => {
    const request = httpMessage(
      {},
      {
        facts: {
          authority: {
            principal: 'alice@example.test',
            grantId: 'g1',
            development: true,
            depth: 0,
            maxDepth: 3,
            links: [{ jti: 'j1', agentName: 'payments', kid: 'k' }],
            scopes: ['pay'],
            audiences: ['https://bank.example'],
            expiresAtMs: THURSDAY + 60_000,
            account: 'a1',
            readsUnbound: () => undefined,
            refuses: () => undefined,
          },
          budgets: [{ unit: 'USD.2', amount: 2n ** 60n, spent: 3n, allocated: 3n }],
          intent: { purpose: 'invoice-payment' },
        },
      },
    );
    const charges: Obligations['charges'] = [
      { kind: 'budget', unit: 'USD.2', amount: 2n ** 60n },
      { kind: 'limit', policy: 'once', per: 'grant', window: 'day', limit: 1n, unit: 'uses.0', amount: 1n },
    ];
    expect(asked(request, {}, { approval: 'person', scopes: ['pay'], charges }).context).toMatchObject({
      authority: {
        principal: 'alice@example.test',
        grantId: 'g1',
        chain: ['payments'],
        depth: 0,
        expiresInSeconds: 60,
      },
      budgets: [{ unit: 'USD.2', remaining: '1152921504606846970' }],
      intent: { purpose: 'invoice-payment' },
      approval: 'person',
      scopes: ['pay'],
      charges: [
        { kind: 'budget', unit: 'USD.2', amount: '1152921504606846976' },
        {
          kind: 'limit',
          policy: 'once',
          per: 'grant',
          window: 'day',
          limit: '1',
          unit: 'uses.0',
          amount: '1',
        },
      ],
    });
  });

  it('S7: shows body, query and claims by JSON Pointer, numbers as they were written or not at all', () => {
    const body = '{"amount":3000.10,"to":{"iban":"DE89","a/b":true},"list":[1,null],"none":{}}';
    expect(asked(post(body)).action.properties).toMatchObject({
      body: {
        members: {
          '/amount': 3000.1,
          '/to/iban': 'DE89',
          '/to/a~1b': true,
          '/list/0': 1,
          '/list/1': null,
          '/none': null,
        },
      },
      query: { members: { '/note': 'a b' } },
    });
    expect(asked(jwt({ aud: 'https://x.example', amount: 5 })).action.properties).toMatchObject({
      typ: 'client-authentication+jwt',
      audience: ['https://x.example'],
      claims: { members: { '/aud': 'https://x.example', '/amount': 5 } },
    });
    const shown = (text: string, headers?: readonly (readonly [string, string])[]): unknown =>
      (asked(post(text, headers)).action.properties as { body: unknown }).body;
    for (const text of [
      '{"amount":3000.0000000000001}',
      '{"amount":9007199254740993}',
      '{"amount":-0}',
      '{"amount":1,"amount":9000}',
      '{"amount":1e400}',
      `{"${'n'.repeat(200_000)}":[${'1,'.repeat(1000)}1]}`,
      'amount=1',
    ]) {
      expect(shown(text), text.slice(0, 40)).toEqual({ unreadable: expect.any(String) as string });
    }
    expect(shown('{"a":1}', [['content-encoding', 'gzip']])).toEqual({
      unreadable: 'is coded as gzip',
    });
  });

  it('S3: shows nothing that the proof does not bind, and says what it binds', () => {
    const proof = asked(dpop({ htm: 'POST', htu: 'https://bank.example/v1/payments' }));
    expect(proof.action.properties).toMatchObject({ path: '/v1/payments' });
    for (const name of ['body', 'query', 'headers', 'claims']) {
      expect(proof.action.properties).not.toHaveProperty(name);
    }
    expect(proof.action.properties['binds']).not.toContain('body');
    expect(asked(post('{}')).action.properties['binds']).toContain('body');
    const loose = { ...post('{"amount":1}'), binds: new Set(['method'] as const) };
    expect(asked(loose, { headers: ['content-type'] }).action.properties).toMatchObject({
      body: { unreadable: 'is not bound by the proof' },
      query: { unreadable: 'is not bound by the proof' },
      headers: {},
    });
  });

  it('sends what the configuration says, and no more', () => {
    const request = post('{"a":1}', [
      ['x-tenant', 'acme'],
      ['x-api-key', 'VERYSECRET'],
    ]);
    const text = evaluationRequest(request, FREE, ALL);
    expect(text).not.toContain('VERYSECRET');
    expect(text).not.toContain('acme');
    const bound = { ...request, binds: new Set([...(request.binds ?? []), 'header:x-tenant' as const]) };
    expect(
      asked(bound, { headers: ['x-tenant', 'x-other'], documents: new Set(['query']) }).action.properties,
    ).toMatchObject({
      headers: { 'x-tenant': 'acme' },
      body: { unreadable: 'is not sent to the decision point' },
      query: { members: { '/note': 'a b' } },
    });
  });

  it('never carries the octets, nor what a raw signature is over', () => {
    const text = evaluationRequest(raw('VERYSECRET'), FREE, ALL);
    expect(JSON.parse(text)).toMatchObject({ action: { name: 'raw', properties: { input: 'message' } } });
    expect(text).not.toContain('VERYSECRET');
    expect(text).not.toContain(Buffer.from('VERYSECRET').toString('base64url'));
  });

  it('tells the parameters of every operation', () => {
    expect(asked(csr({ sans: { dns: ['a.example'] } })).action).toMatchObject({
      name: 'csr',
      properties: { dnsNames: ['a.example'] },
    });
    expect(
      asked(
        delegation({
          scopes: ['read'],
          audiences: ['https://a.example'],
          budgets: [{ unit: 'USD.2', amount: 500n }],
        }),
      ).action,
    ).toMatchObject({
      name: 'delegate',
      properties: {
        name: 'payments+worker',
        scopes: ['read'],
        audiences: ['https://a.example'],
        expiresInSeconds: 600,
        allocations: [{ unit: 'USD.2', amount: '500' }],
      },
    });
  });
});
