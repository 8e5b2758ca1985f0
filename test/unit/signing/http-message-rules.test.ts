import { describe, expect, it } from 'vitest';
import { contentDigest } from '../../../src/wire/content-digest.ts';
import { joinJws, jwsSigningInput } from '../../../src/wire/jws.ts';
import type { HttpMessageRequest } from '../../../src/wire/socket/signing.ts';
import { signOctets, testKey } from '../../support/signed-request.ts';
import { caller, stay } from '../../support/signing-fixture.ts';
import { GET, prepare, token } from '../../support/http-message-requests.ts';

describe('S7: targets', () => {
  it.each([
    'https://api.example/a/../b',
    'https://api.example/a/%2e%2e/b',
    'https://api.example/a/%2E%2E/b',
    'https://api.example/a%2Fb',
    'https://api.example/a%00b',
    'https://api.example/a\\b',
    'https://api.example/a#f',
    'https://user@api.example/a',
    'https://API.example/a',
    'https://api.example:443/a',
    'https://api.example',
    'https://bücher.example/',
    'https://api.example/a b',
    'https://api.example/\n',
    'https://2130706433/',
    'ftp://api.example/',
    '/relative',
  ])('%j is refused', async (targetUri) => {
    const { code } = await prepare();
    expect(await code({ ...GET, targetUri })).toBe('invalid_target_uri');
  });
});

describe('S7: headers', () => {
  it.each([
    [
      'content-digest beside a body',
      [['content-digest', 'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:']],
    ],
    ['signature', [['Signature', 'sig=:AA==:']]],
    ['signature-input', [['signature-input', 'sig=()']]],
    ['signature-key', [['signature-key', 'sig=jwt;jwt="x"']]],
    ['a chain', [['agentkeyd-delegation', 'x']]],
    ['a method override', [['X-HTTP-Method-Override', 'DELETE']]],
    ['hop-by-hop', [['connection', 'x-task']]],
    ['transfer-encoding', [['transfer-encoding', 'chunked']]],
    ['another host', [['host', 'evil.example']]],
    ['a line break', [['x-task', 'a\r\nauthorization: x']]],
    ['NUL', [['x-task', 'a\0']]],
    ['no token', [['x task', 'a']]],
    [
      'a repeated content-type',
      [
        ['content-type', 'application/json'],
        ['Content-Type', 'text/plain'],
      ],
    ],
    [
      'a repeated covered field',
      [
        ['idempotency-key', 'a'],
        ['idempotency-key', 'b'],
      ],
    ],
    ['a content-length of another body', [['content-length', '3']]],
    ['a content-type that is none', [['content-type', 'json']]],
  ] as const)('%s is refused', async (_what, headers) => {
    const { code } = await prepare();
    expect(await code({ ...GET, method: 'POST', body: Buffer.from('{}'), headers })).toBe('invalid_header');
  });

  it('a digest without its body is refused unless policy names the agent', async () => {
    const digest: HttpMessageRequest = {
      ...GET,
      method: 'POST',
      headers: [['Content-Digest', contentDigest(Buffer.from('unseen'))]],
    };
    expect(await (await prepare()).code(digest)).toBe('digest_without_body');
    const allowed = await prepare({
      policy: { create: [{ uids: [1000], names: ['*'] }], allow_digest_without_body: ['planner'] },
    });
    const headers = await allowed.sign(digest);
    expect(headers['content-digest']).toBe(contentDigest(Buffer.from('unseen')));
    expect(headers['signature-input']).toContain('"content-digest"');
    expect(allowed.recorder.decisions.at(-1)?.decision.policies).toEqual([
      'allow_digest_without_body',
      'owner-signs',
    ]);
    for (const value of [
      'sha-256=:AAAA:',
      'md5=:AAAA:',
      'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=:',
      '',
    ]) {
      expect(await allowed.code({ ...digest, headers: [['content-digest', value]] })).toBe('invalid_header');
    }
    const twice = [...(digest.headers ?? []), ...(digest.headers ?? [])];
    expect(await allowed.code({ ...digest, headers: twice })).toBe('invalid_header');
  });
});

describe('S1: the issuer', () => {
  it.each([
    'https://issuer.example/v1/attest/evidence',
    'http://issuer.example/',
    'https://localhost:8443/v1/issue',
  ])('nothing is signed for %s', async (targetUri) => {
    const { code, recorder } = await prepare();
    expect(await code({ ...GET, targetUri })).toBe('issuer_authority');
    expect(recorder.decisions.at(-1)).toMatchObject({
      refusal: 'issuer_authority',
      decision: { effect: 'deny', policies: ['built-in'] },
    });
  });

  it('another port is another server', async () => {
    const { code } = await prepare();
    expect(await code({ ...GET, targetUri: 'https://localhost:9000/' })).toBeUndefined();
  });
});

describe('S7: tokens that the caller brings', () => {
  const withAuthorization = (value: string): HttpMessageRequest => ({
    ...GET,
    headers: [['authorization', value]],
  });

  it('one bound to this key, of the expected type, is covered', async () => {
    const { sign, planner } = await prepare();
    for (const scheme of ['DPoP', 'Bearer']) {
      const value = `${scheme} ${token({ cnf: { jkt: planner.kid } })}`;
      const headers = await sign(withAuthorization(value));
      expect(headers['authorization']).toBe(value);
      expect(headers['signature-input']).toContain('"authorization"');
    }
    await sign(withAuthorization(`DPoP ${token({ cnf: { jwk: planner.publicJwk } })}`));
  });

  it('one bound to another key is refused, whatever policy allows', async () => {
    const other = testKey();
    const { code, planner } = await prepare({
      policy: { create: [{ uids: [1000], names: ['*'] }], unbound_authorization: ['https://api.example'] },
    });
    expect(await code(withAuthorization(`DPoP ${token({ cnf: { jkt: other.thumbprint } })}`))).toBe(
      'token_not_bound',
    );
    expect(await code(withAuthorization(`DPoP ${token({ cnf: { jwk: other.jwk } })}`))).toBe(
      'token_not_bound',
    );
    expect(
      await code(withAuthorization(`DPoP ${token({ cnf: { jkt: planner.kid, jwk: other.jwk } })}`)),
    ).toBe('token_not_bound');
  });

  it('one without a key, of another type, or unreadable needs a rule for the origin', async () => {
    const strict = await prepare();
    const lenient = await prepare({
      policy: { create: [{ uids: [1000], names: ['*'] }], unbound_authorization: ['https://api.example'] },
    });
    for (const fixture of [strict, lenient]) {
      const expected = fixture === strict ? 'token_not_bound' : undefined;
      const { kid } = fixture.planner;
      for (const value of [
        `Bearer ${token({ sub: 'x' })}`,
        `DPoP ${token({ cnf: { jkt: kid } }, 'jwt')}`,
        `DPoP ${token({ cnf: { jkt: kid } }, 'aa-auth+jwt')}`,
        `Bearer ${token({ cnf: 'x' })}`,
        'Bearer opaque',
        'Basic eA==',
        'AAuth opaque',
        'junk',
      ]) {
        expect(await fixture.code(withAuthorization(value)), value).toBe(expected);
      }
    }
    expect(
      await lenient.code({ ...withAuthorization('Basic eA=='), targetUri: 'https://other.example/' }),
    ).toBe('token_not_bound');
  });

  it('a WIT, an attestation and a DPoP proof must be of this key', async () => {
    const { code, planner, signing } = await prepare();
    const other = testKey();
    const mine = { cnf: { jwk: planner.publicJwk } };
    const wit = (value: string): HttpMessageRequest => ({
      ...GET,
      headers: [['workload-identity-token', value]],
    });
    expect(await code(wit(token(mine, 'wit+jwt')))).toBeUndefined();
    expect(await code(wit(token({ cnf: { jwk: other.jwk } }, 'wit+jwt')))).toBe('token_not_bound');
    expect(await code(wit(token(mine, 'at+jwt')))).toBe('token_not_bound');
    expect(await code(wit('junk'))).toBe('token_not_bound');
    const attestation = (value: string): HttpMessageRequest => ({
      ...GET,
      headers: [['oauth-client-attestation', value]],
    });
    expect(await code(attestation(token(mine, 'oauth-client-attestation+jwt')))).toBeUndefined();
    expect(await code(attestation(token({}, 'oauth-client-attestation+jwt')))).toBe('token_not_bound');
    const { proof } = await signing.dpop(
      caller(),
      'planner',
      { htm: 'GET', htu: 'https://api.example/v1/pay' },
      stay(),
    );
    expect(await code({ ...GET, headers: [['dpop', proof]] })).toBeUndefined();
    const forged = jwsSigningInput({ alg: 'ES256', typ: 'dpop+jwt', jwk: other.jwk }, {});
    expect(
      await code({ ...GET, headers: [['dpop', joinJws(forged, signOctets(other, Buffer.from(forged)))]] }),
    ).toBe('token_not_bound');
  });
});
