import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeJwt } from '../../../src/wire/jws.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import {
  caller,
  credentialsFor,
  NOW_S,
  signingFixture,
  stay,
  type SigningFixtureOptions,
} from '../../support/signing-fixture.ts';

async function prepare(options: SigningFixtureOptions = {}) {
  const fixture = signingFixture(options);
  const planner = await fixture.agent('planner');
  const sign = (typ: string, claims: Readonly<Record<string, unknown>> = {}) =>
    fixture.signing.jwt(caller(), 'planner', { typ, claims }, stay());
  return {
    ...fixture,
    planner,
    sign: async (typ: string, claims?: Readonly<Record<string, unknown>>) =>
      decodeJwt((await sign(typ, claims)).jwt),
    code: (typ: string, claims?: Readonly<Record<string, unknown>>) => codeOfAsync(() => sign(typ, claims)),
  };
}

const SPIFFE = 'spiffe://agents.example/agent/host1/planner';

describe('what is signed', () => {
  it('speaks as the agent, with times and jti of the daemon', async () => {
    const { sign, planner } = await prepare();
    const jwt = await sign('order+jwt', { aud: 'https://shop.example', items: [{ sku: 'a', count: 2 }] });
    expect(jwt.header).toEqual({ alg: 'ES256', kid: planner.kid, typ: 'order+jwt' });
    expect(jwt.claims).toEqual({
      aud: 'https://shop.example',
      items: [{ sku: 'a', count: 2 }],
      iss: SPIFFE,
      sub: SPIFFE,
      iat: NOW_S,
      nbf: NOW_S,
      exp: NOW_S + 300,
      jti: expect.stringMatching(/^[\w-]{22}$/) as unknown,
    });
    expect(verifySignature(planner.publicJwk, Buffer.from(jwt.signingInput), jwt.signature)).toBe(true);
  });

  it('an agent without an issuer speaks as its key (RFC 9278)', async () => {
    const { sign, planner } = await prepare({ identity: null });
    const { claims } = await sign('order+jwt');
    expect(claims['iss']).toBe(`urn:ietf:params:oauth:jwk-thumbprint:sha-256:${planner.kid}`);
    expect(claims['sub']).toBe(claims['iss']);
  });

  it('the caller may choose among the identifiers of its agent', async () => {
    const { sign } = await prepare();
    const aauth = 'aauth:host1.planner@agents.example';
    expect((await sign('order+jwt', { iss: aauth, sub: SPIFFE })).claims).toMatchObject({
      iss: aauth,
      sub: SPIFFE,
    });
  });
});

describe('S1: types that are never signed, whatever policy says', () => {
  it.each([
    'dpop+jwt',
    'DPoP+JWT',
    'application/dpop+jwt',
    'Application/DPOP+jwt',
    'wit+jwt',
    'aa-agent+jwt',
    'aa-auth+jwt',
    'aa-person+jwt',
    'AA-anything',
    'jkt-s256+jwt',
    'at+jwt',
    'jwt',
    'JWT',
    'application/jwt',
    'txntoken+jwt',
    'oauth-client-attestation+jwt',
    'key-attestation+jwt',
    'attestation+jwt',
    'eat+jwt',
    'ear+jwt',
    'eat-bun+cbor',
    'ear',
    'agentkey-delegation+jwt',
    'agentkey-subkey+jwt',
    'agentkey-challenge+jwt',
    'AgentKey-new+jwt',
    'statuslist+jwt',
    'kb+jwt',
    'jose',
  ])('%s', async (typ) => {
    const { code, backend } = await prepare();
    expect(await code(typ)).toBe('type_reserved');
    expect((backend as unknown as { signed: unknown[] }).signed).toHaveLength(0);
  });

  it.each(['', 'dpop+jwt ', 'dpop+jwt\0', 'dp\u2126p+jwt', 'aa\u2010agent+jwt', '\u212Aey+jwt', 'a/b/c'])(
    '%j is no type',
    async (typ) => {
      expect(await (await prepare()).code(typ)).toBe('malformed_request');
    },
  );

  it('others are signed only where a rule lists them', async () => {
    const policy = { create: [{ uids: [1000], names: ['*'] }], jwt_types: ['client-authentication+jwt'] };
    const { code } = await prepare({ policy });
    expect(await code('client-authentication+jwt')).toBeUndefined();
    expect(await code('application/Client-Authentication+JWT')).toBeUndefined();
    expect(await code('order+jwt')).toBe('policy_denied');
  });
});

describe('S1: claims that are never signed', () => {
  it.each([
    ['cnf', { jwk: {} }],
    ['act', { sub: 'x' }],
    ['may_act', { sub: 'x' }],
    ['par_hash', 'x'],
    ['del_depth', 1],
    ['del_max_depth', 1],
    ['del_anything', 1],
    ['authorization_details', []],
    ['parent_agent', 'x'],
    ['jti', 'mine'],
    ['iss', 'https://issuer.example'],
    ['sub', 'spiffe://agents.example/agent/host1/other'],
    ['sub', null],
    ['iss', 7],
  ])('%s: %j', async (name, value) => {
    expect(await (await prepare()).code('order+jwt', { [name]: value })).toBe('claim_reserved');
  });

  it('S1: a claim named __proto__ does not bring others along', async () => {
    const claims = JSON.parse('{"__proto__":{"cnf":{"jkt":"x"}}}') as Record<string, unknown>;
    expect(await (await prepare()).code('order+jwt', claims)).toBe('claim_reserved');
  });

  it('no claim of the caller survives under a name that the daemon sets', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.string({ maxLength: 12 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 5 }),
        async (claims) => {
          const { signing } = await prepared;
          const result = await codeOfAsync(async () => {
            const { jwt } = await signing.jwt(caller(), 'planner', { typ: 'order+jwt', claims }, stay());
            const { claims: signed, header } = decodeJwt(jwt);
            expect(signed).toMatchObject({ iss: SPIFFE, sub: SPIFFE, iat: NOW_S, exp: NOW_S + 300 });
            expect(Object.keys(header).sort()).toEqual(['alg', 'kid', 'typ']);
            expect(signed['cnf']).toBeUndefined();
          });
          expect([
            undefined,
            'claim_reserved',
            'time_not_acceptable',
            'malformed_json',
            'malformed_request',
          ]).toContain(result);
        },
      ),
      { numRuns: 60 },
    );
  });
  const prepared = prepare();
});

describe('S4: times', () => {
  it.each([
    ['iat', NOW_S + 6],
    ['iat', 'now'],
    ['nbf', NOW_S + 7 * 86_400],
    ['nbf', NOW_S - 6],
    ['exp', NOW_S + 301],
    ['exp', NOW_S],
    ['exp', NOW_S + 10.5],
    ['exp', null],
  ])('%s = %s is refused', async (name, value) => {
    expect(await (await prepare()).code('order+jwt', { [name]: value })).toBe('time_not_acceptable');
  });

  it('a caller may shorten the life, and a near iat changes nothing', async () => {
    const { sign } = await prepare();
    expect(
      (await sign('order+jwt', { exp: NOW_S + 30, iat: NOW_S - 5, nbf: NOW_S + 5 })).claims,
    ).toMatchObject({
      exp: NOW_S + 30,
      iat: NOW_S,
      nbf: NOW_S,
    });
  });

  it('never lives past the credentials of the key', async () => {
    const { sign, code } = await prepare({ credentials: () => credentialsFor(40) });
    expect((await sign('order+jwt')).claims['exp']).toBe(NOW_S + 40);
    expect(await code('order+jwt', { exp: NOW_S + 41 })).toBe('time_not_acceptable');
  });
});

describe('bounds', () => {
  it('claims have a size, audiences a shape', async () => {
    const { code } = await prepare();
    expect(await code('order+jwt', { text: 'x'.repeat(17_000) })).toBe('malformed_json');
    expect(await code('order+jwt', { aud: [1] })).toBe('malformed_request');
    expect(await code('order+jwt', { aud: Array.from({ length: 17 }, (_, index) => `a${index}`) })).toBe(
      'malformed_request',
    );
    expect(await code('order+jwt', { text: '\ud800' })).toBe('malformed_json');
  });
});
