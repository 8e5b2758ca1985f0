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
import {
  constraintCovers,
  constraints,
  decimalAtMost,
  pathHasPrefix,
  unitOf,
  type Constraint,
} from '../../../src/delegation/constraint.ts';
import { narrowingFault } from '../../../src/delegation/narrowing.ts';
import { parentHash } from '../../../src/delegation/parent-hash.ts';
import { scope, scopeCovers } from '../../../src/delegation/scope.ts';
import { parse } from '../../../src/wire/check.ts';
import { codeOf } from '../../support/code-of.ts';
import { signedChain, CHAIN_NOW } from '../../support/delegation-chain.ts';
import { testKey } from '../../support/signed-request.ts';

const isConstraint = (value: unknown): boolean => codeOf(() => parse(constraints, [value])) === undefined;
const covers = (parent: object, child: object): boolean =>
  constraintCovers(parent as Constraint, child as Constraint);

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

describe('constraints', () => {
  it.each<readonly [object]>([
    [{ key: 'spend.USD.2', max: 0 }],
    [{ key: 'spend.USD.15', max_subtree: Number.MAX_SAFE_INTEGER }],
    [{ key: 'calls', max_lifetime: 50 }],
    [{ key: 'operation', in: ['http-message', 'delegate'] }],
    [{ key: 'method', in: ['GET'] }],
    [{ key: 'path', prefix: '/' }],
    [{ key: 'path', prefix: '/a/' }],
    [{ key: 'path', in: ['/a', '/b%20c'] }],
    [{ key: 'media_type', in: ['application/json'] }],
    [{ key: 'query:to', equals: '' }],
    [{ key: 'body:/', equals: true }],
    [{ key: 'body:/a~1b/0/~0', in: ['x', 1, false] }],
    [{ key: 'body:/amount', max: '3000.00' }],
    [{ key: 'body:/amount', max: '1e3' }],
  ])('%o is one', (value) => {
    expect(isConstraint(value)).toBe(true);
  });

  it.each<readonly [string, unknown]>([
    ['no object', 'calls'],
    ['a list', []],
    ['no key', { max: 1 }],
    ['no type', { key: 'calls' }],
    ['two types', { key: 'spend.USD.2', max: 1, max_subtree: 2 }],
    ['an unknown key', { key: 'colour', in: ['red'] }],
    ['an unknown type', { key: 'calls', min: 1 }],
    ['an inherited name for a type', { key: 'calls', toString: 1 }],
    ['a type that is not of its key', { key: 'calls', max: 1 }],
    ['a unit without decimals', { key: 'spend.USD', max: 1 }],
    ['decimals beyond fifteen', { key: 'spend.USD.16', max: 1 }],
    ['decimals with a leading zero', { key: 'spend.USD.02', max: 1 }],
    ['a negative count', { key: 'spend.USD.2', max: -1 }],
    ['a fractional count', { key: 'spend.USD.2', max: 1.5 }],
    ['a count as text', { key: 'spend.USD.2', max: '1' }],
    ['a count beyond 2^53', { key: 'spend.USD.2', max: 2 ** 53 }],
    ['an empty list', { key: 'method', in: [] }],
    ['a long list', { key: 'method', in: Array.from({ length: 65 }, (_, index) => `M${index}`) }],
    ['a method that is no text', { key: 'method', in: [1] }],
    ['a nested list', { key: 'body:/a', in: [['x']] }],
    ['a query value that is no text', { key: 'query:a', equals: 1 }],
    ['a relative prefix', { key: 'path', prefix: 'a' }],
    ['a prefix with a dot segment', { key: 'path', prefix: '/a/../b' }],
    ['a prefix with an encoded dot segment', { key: 'path', prefix: '/a/%2e%2e/b' }],
    ['a prefix with an empty segment', { key: 'path', prefix: '/a//b' }],
    ['a prefix with a query', { key: 'path', prefix: '/a?b' }],
    ['a prefix with a fragment', { key: 'path', prefix: '/a#b' }],
    ['a path of another spelling', { key: 'path', in: ['/%61'] }],
    ['a member without pointer', { key: 'body:amount', max: '1' }],
    ['a pointer with a lone tilde', { key: 'body:/a~', equals: 'x' }],
    ['a pointer with an unknown escape', { key: 'body:/a~2', equals: 'x' }],
    ['a fraction for a scalar', { key: 'body:/a', equals: 1.5 }],
    ['null', { key: 'body:/a', equals: null }],
    ['a decimal that is a number', { key: 'body:/a', max: 3000 }],
    ['a decimal that is no JSON number', { key: 'body:/a', max: '3,000' }],
    ['a negative decimal', { key: 'body:/a', max: '-1' }],
    ['a negative zero', { key: 'body:/a', max: '-0' }],
    ['a decimal larger than any that is compared', { key: 'body:/a', max: '1e30' }],
    ['a decimal finer than any that is compared', { key: 'body:/a', max: '1e-19' }],
    ['an empty decimal', { key: 'body:/a', max: '' }],
  ])('%s is none', (_, value) => {
    expect(isConstraint(value)).toBe(false);
  });

  it('are there once by key and type, and at most 64', () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, index) => ({ key: `body:/m${index}`, equals: 'x' }));
    expect(codeOf(() => parse(constraints, many(64)))).toBeUndefined();
    expect(codeOf(() => parse(constraints, many(65)))).toBe('malformed_request');
    const twice = [
      { key: 'body:/a', equals: 'x' },
      { key: 'body:/a', equals: 'y' },
    ];
    expect(codeOf(() => parse(constraints, twice))).toBe('malformed_request');
    expect(codeOf(() => parse(constraints, [twice[0], { key: 'body:/a', in: ['x'] }]))).toBeUndefined();
  });

  it.each<readonly [object, object, boolean]>([
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max: 5 }, true],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max: 6 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.3', max: 5 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.EUR.2', max: 1 }, false],
    [{ key: 'spend.USD.2', max: 5 }, { key: 'spend.USD.2', max_subtree: 1 }, false],
    [{ key: 'method', in: ['GET', 'PUT'] }, { key: 'method', in: ['PUT'] }, true],
    [{ key: 'method', in: ['GET'] }, { key: 'method', in: ['GET', 'PUT'] }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/a/b' }, true],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/a/' }, true],
    [{ key: 'path', prefix: '/a/' }, { key: 'path', prefix: '/a' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/ab' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', prefix: '/' }, false],
    [{ key: 'path', prefix: '/a' }, { key: 'path', in: ['/a/b'] }, false],
    [{ key: 'body:/a', equals: 1 }, { key: 'body:/a', equals: '1' }, false],
    [{ key: 'body:/a', equals: 'x' }, { key: 'body:/a', equals: 'x' }, true],
    [{ key: 'body:/a', in: ['x', 1] }, { key: 'body:/a', in: [1] }, true],
    [{ key: 'body:/a', in: ['x', 1] }, { key: 'body:/a', in: ['1'] }, false],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '10.00' }, true],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '10.000000000000000001' }, false],
    [{ key: 'body:/a', max: '10' }, { key: 'body:/a', max: '9' }, true],
  ])('%o over %o: %s', (parent, child, expected) => {
    expect(covers(parent, child)).toBe(expected);
  });

  it('compare decimals exactly', () => {
    expect(decimalAtMost('3000.00', '3000')).toBe(true);
    expect(decimalAtMost('3000.0000000000000001', '3000')).toBe(false);
    expect(decimalAtMost('0.1e1', '1')).toBe(true);
    expect(decimalAtMost('-1', '1')).toBe(false);
    expect(decimalAtMost('x', '1')).toBe(false);
  });

  it('know prefixes by segments, and units', () => {
    expect(pathHasPrefix('/a/b', '/a')).toBe(true);
    expect(pathHasPrefix('/ab', '/a')).toBe(false);
    expect(pathHasPrefix('/ab', '/')).toBe(true);
    expect([unitOf('spend.USD.2'), unitOf('calls'), unitOf('path')]).toEqual(['USD.2', 'calls.0', undefined]);
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
