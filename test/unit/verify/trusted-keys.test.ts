import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { trustedKey, trustedKeys } from '../../../src/verify/trusted-keys.ts';
import { verifyWit } from '../../../src/verify/wit.ts';
import { codeOf } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';

describe('trustedKeys', () => {
  const [one, two] = [testKey(), testKey('Ed25519')];

  it('reads a JWK Set; a key without kid goes by its thumbprint', () => {
    expect(trustedKeys({ keys: [{ ...one.jwk, kid: 'k1', use: 'sig' }, two.jwk] })).toEqual([
      { kid: 'k1', jwk: one.jwk },
      { kid: two.thumbprint, jwk: two.jwk },
    ]);
  });

  it.each([
    ['no set', []],
    ['an empty set', { keys: [] }],
    ['a set with more in it', { keys: [one.jwk], jwks_uri: 'https://evil.example' }],
    ['a key without alg', { keys: [{ ...one.jwk, alg: undefined }] }],
    ['a private key', { keys: [{ ...one.jwk, d: 'AAAA' }] }],
    ['a symmetric key', { keys: [{ kty: 'oct', k: 'AAAA', alg: 'HS256' }] }],
    ['a point off the curve', { keys: [{ ...one.jwk, y: Buffer.alloc(32, 1).toString('base64url') }] }],
    ['two keys of one kid', { keys: [{ ...one.jwk, kid: 'k' }, { ...two.jwk, kid: 'k' }] }], // prettier-ignore
    ['text', { keys: ['x'] }],
  ])('refuses %s', (_what, jwks) => {
    expect(codeOf(() => trustedKeys(jwks))).toBe('configuration_invalid');
  });

  it.each(['ES256', 'ES384', 'Ed25519', 'RS256', 'PS256'] as const)(
    'a WIT by jose under %s verifies',
    async (alg) => {
      const [issuer, agent] = [testKey(alg), testKey()];
      const clock = { nowSeconds: Math.floor(Date.now() / 1000), clockSkewSeconds: 5 };
      const text = await new SignJWT({ cnf: { jwk: agent.jwk } })
        .setProtectedHeader({ alg, typ: 'wit+jwt', kid: issuer.thumbprint })
        .setSubject('spiffe://td.example/agent/h/a')
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(issuer.privateKey);
      const trust = { trustDomain: 'td.example', keys: [trustedKey(issuer.jwk)] };
      expect(verifyWit(text, trust, clock)).toMatchObject({
        subject: 'spiffe://td.example/agent/h/a',
        thumbprint: agent.thumbprint,
        assurance: 'software',
      });
      const [head = '', payload = '', signature = ''] = text.split('.');
      const none = `${Buffer.from('{"alg":"none","typ":"wit+jwt"}').toString('base64url')}.${payload}.${signature}`;
      expect(codeOf(() => verifyWit(none, trust, clock))).toBe('verification_failed');
      const altered = `${head}.${Buffer.from('{"sub":"spiffe://td.example/x"}').toString('base64url')}.${signature}`;
      expect(codeOf(() => verifyWit(altered, trust, clock))).toBe('signature_invalid');
    },
  );
});
