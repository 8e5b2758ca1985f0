/** dpop, csr and raw. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decodeJwt, joinJws, jwsSigningInput } from '../../../src/wire/jws.ts';
import { jwkThumbprint, parsePublicJwk } from '../../../src/wire/jwk.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import type { CsrRequest, DpopRequest } from '../../../src/wire/socket/signing.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signOctets, testKey } from '../../support/signed-request.ts';
import {
  caller,
  credentialsFor,
  NOW_S,
  signingFixture,
  stay,
  type SigningFixtureOptions,
} from '../../support/signing-fixture.ts';

const CREATE = { create: [{ uids: [1000], names: ['*'] }] };

async function prepare(options: SigningFixtureOptions = {}) {
  const fixture = signingFixture(options);
  return { ...fixture, planner: await fixture.agent('planner') };
}

describe('dpop', () => {
  const DPOP: DpopRequest = { htm: 'POST', htu: 'https://api.example/token' };
  const bound = (cnf: unknown): string => {
    const key = testKey();
    const input = jwsSigningInput({ alg: 'ES256', typ: 'at+jwt' }, { cnf });
    return joinJws(input, signOctets(key, Buffer.from(input)));
  };

  it('is a proof by RFC 9449 with jti and iat of the daemon', async () => {
    const { signing, planner } = await prepare();
    const accessToken = bound({ jkt: planner.kid });
    const { proof } = await signing.dpop(
      caller(),
      'planner',
      { ...DPOP, nonce: 'server-1', accessToken },
      stay(),
    );
    const jwt = decodeJwt(proof);
    expect(jwt.header).toMatchObject({ typ: 'dpop+jwt', alg: 'ES256' });
    expect(Object.keys(jwt.header).sort()).toEqual(['alg', 'jwk', 'typ']);
    expect(Object.keys(jwt.header['jwk'] as object).sort()).toEqual(['crv', 'kty', 'x', 'y']);
    expect(jwkThumbprint(parsePublicJwk({ ...(jwt.header['jwk'] as object), alg: 'ES256' }))).toBe(
      planner.kid,
    );
    expect(jwt.claims).toEqual({
      jti: expect.stringMatching(/^[\w-]{22}$/) as unknown,
      iat: NOW_S,
      htm: 'POST',
      htu: 'https://api.example/token',
      nonce: 'server-1',
      ath: createHash('sha256').update(accessToken).digest('base64url'),
    });
    expect(verifySignature(planner.publicJwk, Buffer.from(jwt.signingInput), jwt.signature)).toBe(true);
  });

  it.each([
    [{ htu: 'https://api.example/token?a=b' }, 'invalid_target_uri'],
    [{ htu: 'https://api.example/token#f' }, 'invalid_target_uri'],
    [{ htu: 'https://api.example/a/../token' }, 'invalid_target_uri'],
    [{ htu: 'https://API.example/token' }, 'invalid_target_uri'],
    [{ htu: 'https://issuer.example/v1/issue' }, 'issuer_authority'],
    [{ accessToken: 'opaque', ath: 'A'.repeat(43) }, 'malformed_request'],
    [{ accessToken: 'opaque' }, undefined],
    [{ ath: 'A'.repeat(43) }, undefined],
  ])('%j: %s', async (more, expected) => {
    const { signing } = await prepare();
    expect(await codeOfAsync(() => signing.dpop(caller(), 'planner', { ...DPOP, ...more }, stay()))).toBe(
      expected,
    );
  });

  it('S7: a readable access token must be bound to this key', async () => {
    const { signing } = await prepare();
    for (const accessToken of [bound({ jkt: testKey().thumbprint }), bound({}), bound(null), bound([])]) {
      expect(
        await codeOfAsync(() => signing.dpop(caller(), 'planner', { ...DPOP, accessToken }, stay())),
      ).toBe('token_not_bound');
    }
  });

  it('S3: says that it binds neither query nor headers nor body', async () => {
    const { signing, authorizer } = await prepare();
    let binds: readonly string[] = [];
    const authorize = authorizer.authorize.bind(authorizer);
    authorizer.authorize = (who, proposal, context) => {
      binds = [...proposal.binds];
      return authorize(who, proposal, context);
    };
    await signing.dpop(caller(), 'planner', DPOP, stay());
    expect(binds).toEqual(['method', 'scheme', 'authority', 'path']);
    await signing.jwt(caller(), 'planner', { typ: 'order+jwt', claims: {} }, stay());
    expect(binds).toEqual(['claims']);
    await signing.csr(caller(), 'planner', {}, stay());
    expect(binds).toEqual(['subject']);
    await codeOfAsync(() => signing.raw(caller(), 'planner', { message: Buffer.from('x') }, stay()));
    expect(binds).toEqual([]);
  });
});

describe('csr', () => {
  const code = async (request: CsrRequest, options: SigningFixtureOptions = {}) => {
    const { signing } = await prepare(options);
    return codeOfAsync(() => signing.csr(caller(), 'planner', request, stay()));
  };
  const OWN = 'spiffe://agents.example/agent/host1/planner';

  it.each([
    [{}, undefined],
    [{ sans: { uri: [OWN] } }, undefined],
    [{ subject: { commonName: 'planner' } }, undefined],
    [{ sans: { uri: ['spiffe://agents.example/agent/host1/other'] } }, 'policy_denied'],
    [{ sans: { uri: [OWN, OWN] } }, 'policy_denied'],
    [{ sans: { uri: ['https://bank.example'] } }, 'policy_denied'],
    [{ subject: { commonName: 'bank.example' } }, 'policy_denied'],
    [{ subject: { organization: 'Bank' } }, 'policy_denied'],
    [{ subject: { organization: 'a\nb' } }, 'malformed_request'],
    [{ sans: { dns: ['bank.example'] } }, 'policy_denied'],
    [{ sans: { dns: ['*.example'] } }, 'malformed_request'],
    [{ sans: { dns: ['BANK.example'] } }, 'malformed_request'],
    [{ sans: { dns: ['10.0.0.1'] } }, 'malformed_request'],
    [{ sans: { dns: ['[::1]'] } }, 'malformed_request'],
    [{ sans: { dns: ['a..b'] } }, 'malformed_request'],
  ])('%j: %s', async (request, expected) => {
    expect(await code(request)).toBe(expected);
  });

  it('DNS names and organizations are what policy lists', async () => {
    const policy = { ...CREATE, csr_dns_names: ['*.svc.example'], csr_organizations: ['Acme'] };
    const dns = ['a.svc.example'];
    expect(
      await code(
        { sans: { dns }, subject: { commonName: 'a.svc.example', organization: 'Acme' } },
        { policy },
      ),
    ).toBeUndefined();
    expect(await code({ sans: { dns: ['a.b.svc.example'] } }, { policy })).toBe('policy_denied');
    expect(await code({ subject: { organization: 'Acme Bank' } }, { policy })).toBe('policy_denied');
    expect(await code({ subject: { commonName: 'a.svc.example' } }, { policy })).toBe('policy_denied');
  });

  it('a host without an issuer has no SPIFFE ID to name', async () => {
    expect(await code({ sans: { uri: [OWN] } }, { identity: null })).toBe('not_enrolled');
    expect(await code({}, { identity: null })).toBeUndefined();
  });
});

describe('raw', () => {
  const allowed = { ...CREATE, allow_raw: ['planner'] };

  it('is off by default, and the refusal is on record', async () => {
    const { signing, recorder, backend } = await prepare();
    for (const request of [{ message: Buffer.from('x') }, { digest: Buffer.alloc(32) }]) {
      expect(await codeOfAsync(() => signing.raw(caller(), 'planner', request, stay()))).toBe(
        'raw_signing_off',
      );
    }
    expect(recorder.decisions.at(-1)).toMatchObject({ action: 'raw', refusal: 'raw_signing_off' });
    expect((backend as unknown as { signed: unknown[] }).signed).toHaveLength(0);
  });

  it('signs where a rule names the agent', async () => {
    const { signing, planner } = await prepare({ policy: allowed });
    const { signature } = await signing.raw(caller(), 'planner', { message: Buffer.from('x') }, stay());
    expect(verifySignature(planner.publicJwk, Buffer.from('x'), Buffer.from(signature, 'base64url'))).toBe(
      true,
    );
  });

  it('S1: not while the key has credentials', async () => {
    const { signing } = await prepare({ policy: allowed, credentials: () => credentialsFor(60) });
    expect(
      await codeOfAsync(() => signing.raw(caller(), 'planner', { message: Buffer.from('x') }, stay())),
    ).toBe('raw_signing_off');
  });

  it.each([
    ['both', 'ES256', { message: Buffer.from('x'), digest: Buffer.alloc(32) }, 'malformed_request'],
    ['neither', 'ES256', {}, 'malformed_request'],
    ['a digest of another length', 'ES256', { digest: Buffer.alloc(48) }, 'malformed_request'],
    ['a digest of another length', 'ES384', { digest: Buffer.alloc(32) }, 'malformed_request'],
    ['a digest for Ed25519', 'Ed25519', { digest: Buffer.alloc(32) }, 'unsupported_algorithm'],
  ] as const)('%s under %s is refused', async (_what, algorithm, request, expected) => {
    const fixture = signingFixture({ policy: { ...CREATE, allow_raw: ['legacy'] } });
    await fixture.agent('legacy', algorithm);
    expect(await codeOfAsync(() => fixture.signing.raw(caller(), 'legacy', request, stay()))).toBe(expected);
  });
});
