import { describe, expect, it } from 'vitest';
import { actionFault, parametersRead, type ActionFacts } from '../../../src/delegation/action.ts';
import { audience, audiencesCover } from '../../../src/delegation/audience.ts';
import {
  makeLinkClaims,
  makeRootClaims,
  parseDelegationToken,
  readClientId,
  type LinkTerms,
} from '../../../src/delegation/claims.ts';
import type { Constraint } from '../../../src/delegation/constraint.ts';
import { narrowingFault } from '../../../src/delegation/narrowing.ts';
import { parentHash } from '../../../src/delegation/parent-hash.ts';
import { scope, scopeCovers } from '../../../src/delegation/scope.ts';
import { parse } from '../../../src/wire/check.ts';
import { codeOf } from '../../support/code-of.ts';
import { signedChain, CHAIN_NOW } from '../../support/delegation-chain.ts';
import { testKey } from '../../support/signed-request.ts';

describe('scopes', () => {
  it('are words with dots, or with .* at the end', () => {
    for (const good of ['a', 'a.b', 'a-b_C.9', 'a.*', 'a.b.*', '*']) {
      expect(
        codeOf(() => parse(scope, good)),
        good,
      ).toBeUndefined();
    }
    for (const bad of [
      '',
      '.',
      'a.',
      '.a',
      'a..b',
      '*.a',
      'a.*.b',
      'a*',
      '**',
      'a b',
      'a.\n',
      'ä',
      'x'.repeat(129),
      1,
    ]) {
      expect(
        codeOf(() => parse(scope, bad)),
        String(bad),
      ).toBe('malformed_request');
    }
  });

  it.each([
    ['a', 'a', true],
    ['a', 'a.b', false],
    ['a.*', 'a.b', true],
    ['a.*', 'a.b.c', true],
    ['a.*', 'a.b.*', true],
    ['a.*', 'a.*', true],
    ['a.*', 'a', false],
    ['a.*', 'ab', false],
    ['a.*', '*', false],
    ['a.b.*', 'a.*', false],
    ['*', 'a', true],
    ['*', '*', true],
    ['A', 'a', false],
  ])('%s covers %s: %s', (held, wanted, expected) => {
    expect(scopeCovers(held, wanted)).toBe(expected);
  });
});

describe('audiences', () => {
  it('are origins in canonical form, or any', () => {
    for (const good of ['*', 'https://rs.example', 'http://localhost:8080', 'https://[::1]:8443']) {
      expect(
        codeOf(() => parse(audience, good)),
        good,
      ).toBeUndefined();
    }
    for (const bad of [
      '',
      'rs.example',
      'https://rs.example/',
      'https://rs.example:443',
      'https://RS.example',
      'https://u@rs.example',
      'https://rs.example?x',
      'https://*.example',
      'ftp://rs.example',
      '**',
    ]) {
      expect(
        codeOf(() => parse(audience, bad)),
        bad,
      ).toBe('malformed_request');
    }
  });

  it('cover what is among them', () => {
    expect(audiencesCover(['https://a.example'], 'https://a.example')).toBe(true);
    expect(audiencesCover(['https://a.example'], 'https://a.example.evil.example')).toBe(false);
    expect(audiencesCover(['https://a.example'], '*')).toBe(false);
    expect(audiencesCover(['*'], 'https://b.example')).toBe(true);
    expect(audiencesCover([], 'https://b.example')).toBe(false);
  });
});

describe('names', () => {
  it('are read from SPIFFE IDs of agents in their one spelling', () => {
    expect(readClientId('spiffe://td.example/agent/h1/a/b')).toEqual({
      trustDomain: 'td.example',
      host: 'h1',
      agent: 'a+b',
    });
    for (const other of [
      'spiffe://td.example/agent/h1',
      'spiffe://td.example/agent/h1/',
      'spiffe://td.example/agent/h1/a/',
      'spiffe://td.example/agent/h1/a+b',
      'spiffe://td.example/agent/H1/a',
      'spiffe://td.example/agent/h.1/a',
      'spiffe://td example/agent/h1/a',
      'https://td.example/agent/h1/a',
    ]) {
      expect(readClientId(other), other).toBeUndefined();
    }
  });
});

describe('claims that are made', () => {
  const holder = testKey();
  const terms: LinkTerms = {
    principal: 'user:alice',
    clientId: 'spiffe://td.example/agent/host1/a0',
    audiences: ['*'],
    scopes: ['*'],
    constraints: [],
    issuedAtSeconds: CHAIN_NOW,
    expiresAtSeconds: CHAIN_NOW + 60,
    jti: '00000000-0000-4000-8000-000000000000',
    publicJwk: holder.jwk,
    depth: 0,
    maxDepth: 5,
    status: { status_list: { idx: 7, uri: 'https://issuer.example/status/1' } },
  };
  const grantKey = testKey();
  const chain = signedChain([{}], { grantKey, keys: [holder] });
  const root = parseDelegationToken(chain.tokens[0] ?? '', true);

  it('are what is read back, and name the key above', () => {
    expect(makeRootClaims('https://issuer.example', terms, { kind: 'development' })).toMatchObject({
      iss: 'https://issuer.example',
      cnf: { jkt: holder.thumbprint },
      approval: { kind: 'development' },
      status: { status_list: { idx: 7 } },
    });
    const link = makeLinkClaims(root, { ...terms, clientId: `${terms.clientId}/a1`, depth: 1 });
    expect(link).toMatchObject({
      iss: `urn:ietf:params:oauth:jwk-thumbprint:sha-256:${holder.thumbprint}`,
      par_hash: parentHash(root),
    });
    expect(narrowingFault(root.claims, link)).toBeUndefined();
  });

  it('are refused where they are not of their form', () => {
    const make = (more: Partial<LinkTerms>) => codeOf(() => makeLinkClaims(root, { ...terms, ...more }));
    expect(make({})).toBeUndefined();
    expect(make({ audiences: [] })).toBe('internal');
    expect(make({ scopes: ['a b'] })).toBe('internal');
    expect(make({ jti: 'x' })).toBe('internal');
    expect(make({ depth: 65 })).toBe('internal');
  });
});

describe('an action', () => {
  const grantKey = testKey();
  const leafOf = (given: readonly Constraint[], more: object = {}) =>
    parseDelegationToken(signedChain([{ constraints: given, ...more }], { grantKey }).tokens[0] ?? '', true);
  const action: ActionFacts = {
    operation: 'http-message',
    audiences: ['https://rs.example'],
    method: 'POST',
    path: '/v1/pay',
    mediaType: 'application/json',
    query: (name) => ({ to: ['bob'], twice: ['x', 'x'] })[name] ?? [],
    body: (pointer) => {
      switch (pointer) {
        case '/amount':
          return { kind: 'number', text: '3000.00' };
        case '/payee':
          return { kind: 'text', text: 'bob' };
        case '/count':
          return { kind: 'number', text: '1e1' };
        case '/express':
          return { kind: 'boolean', value: true };
        default:
          return { kind: 'none' };
      }
    },
    spends: new Map([['USD.2', 300_000n]]),
    scopes: ['pay'],
  };

  it.each<readonly [Constraint, boolean]>([
    [{ key: 'operation', in: ['http-message'] }, true],
    [{ key: 'operation', in: ['dpop'] }, false],
    [{ key: 'method', in: ['GET', 'POST'] }, true],
    [{ key: 'method', in: ['post'] }, false],
    [{ key: 'path', prefix: '/v1' }, true],
    [{ key: 'path', prefix: '/v1/p' }, false],
    [{ key: 'path', in: ['/v1/pay'] }, true],
    [{ key: 'path', in: ['/v1'] }, false],
    [{ key: 'media_type', in: ['application/json'] }, true],
    [{ key: 'media_type', in: ['text/plain'] }, false],
    [{ key: 'query:to', equals: 'bob' }, true],
    [{ key: 'query:to', in: ['eve', 'bob'] }, true],
    [{ key: 'query:to', equals: 'eve' }, false],
    [{ key: 'query:twice', equals: 'x' }, false],
    [{ key: 'query:absent', in: ['x'] }, false],
    [{ key: 'body:/amount', max: '3000' }, true],
    [{ key: 'body:/amount', max: '2999.99' }, false],
    [{ key: 'body:/amount', equals: 3000 }, true],
    [{ key: 'body:/amount', equals: '3000.00' }, false],
    [{ key: 'body:/payee', equals: 'bob' }, true],
    [{ key: 'body:/payee', in: ['eve', 'bob'] }, true],
    [{ key: 'body:/payee', max: '1' }, false],
    [{ key: 'body:/count', in: [9, 10] }, true],
    [{ key: 'body:/express', equals: true }, true],
    [{ key: 'body:/express', equals: false }, false],
    [{ key: 'body:/absent', equals: 'x' }, false],
    [{ key: 'body:/absent', max: '1' }, false],
    [{ key: 'spend.USD.2', max: 300_000 }, true],
    [{ key: 'spend.USD.2', max: 299_999 }, false],
    [{ key: 'spend.EUR.2', max: 0 }, true],
    [{ key: 'spend.USD.2', max_subtree: 0 }, true],
    [{ key: 'calls', max_lifetime: 0 }, true],
  ])('under %o: %s', (constraint, expected) => {
    const fault = actionFault(leafOf([constraint]), action);
    if (expected) expect(fault).toBeUndefined();
    else expect(fault).toContain(constraint.key);
  });

  it('is refused for a parameter that it has not, or whose value nobody knows', () => {
    const bare: ActionFacts = { operation: 'csr', audiences: [], scopes: [] };
    for (const constraint of [
      { key: 'method', in: ['GET'] },
      { key: 'path', prefix: '/' },
      { key: 'media_type', in: ['application/json'] },
      { key: 'query:to', equals: 'bob' },
      { key: 'body:/amount', max: '1' },
      { key: 'spend.USD.2', max: 1 },
    ] as const) {
      expect(actionFault(leafOf([constraint]), bare), constraint.key).toContain(constraint.key);
    }
    expect(actionFault(leafOf([]), bare)).toBeUndefined();
  });

  it('is refused outside scopes and audiences', () => {
    expect(actionFault(leafOf([], { scopes: ['read'] }), action)).toContain('scope pay');
    expect(actionFault(leafOf([], { aud: ['https://other.example'] }), action)).toContain(
      'https://rs.example',
    );
    expect(actionFault(leafOf([], { scopes: ['pay'], aud: ['https://rs.example'] }), action)).toBeUndefined();
  });

  it('says which parameters its constraints read', () => {
    const read = parametersRead([
      { key: 'method', in: ['GET'] },
      { key: 'media_type', in: ['x'] },
      { key: 'query:a', equals: 'x' },
      { key: 'body:/a', equals: 'x' },
      { key: 'calls', max_lifetime: 1 },
      { key: 'operation', in: ['dpop'] },
    ]);
    expect([...read].sort()).toEqual(['body', 'header:content-type', 'method', 'query']);
  });
});
