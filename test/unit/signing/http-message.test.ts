import { describe, expect, it } from 'vitest';
import type { Agent } from '../../../src/signing/agent.ts';
import { contentDigest } from '../../../src/wire/content-digest.ts';
import { joinJws, jwsSigningInput } from '../../../src/wire/jws.ts';
import type { HttpMessageRequest } from '../../../src/wire/socket/signing.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signOctets, testKey } from '../../support/signed-request.ts';
import {
  caller,
  credentialsFor,
  NOW_S,
  signingFixture,
  stay,
  type SigningFixture,
  type SigningFixtureOptions,
} from '../../support/signing-fixture.ts';

const GET: HttpMessageRequest = {
  profile: 'rfc9421',
  method: 'GET',
  targetUri: 'https://api.example/v1/pay?to=a',
};
const POST: HttpMessageRequest = {
  ...GET,
  method: 'POST',
  headers: [['Content-Type', 'application/json']],
  body: Buffer.from('{"amount":3000}'),
};

interface Prepared extends SigningFixture {
  readonly planner: Agent;
  readonly sign: (request: HttpMessageRequest) => Promise<Readonly<Record<string, string>>>;
  readonly code: (request: HttpMessageRequest) => Promise<string | undefined>;
}

async function prepare(options: SigningFixtureOptions = {}): Promise<Prepared> {
  const fixture = signingFixture(options);
  const planner = await fixture.agent('planner');
  const sign = async (request: HttpMessageRequest) =>
    (await fixture.signing.httpMessage(caller(), 'planner', request, stay())).headers;
  return { ...fixture, planner, sign, code: (request) => codeOfAsync(() => sign(request)) };
}

const token = (claims: Readonly<Record<string, unknown>>, typ = 'at+jwt'): string => {
  const key = testKey();
  const input = jwsSigningInput({ alg: 'ES256', typ }, claims);
  return joinJws(input, signOctets(key, Buffer.from(input)));
};

describe('what is signed', () => {
  it('is the base over the request as it will be sent, and the reply has all headers to attach', async () => {
    const { sign, recorder, planner } = await prepare();
    const headers = await sign({
      ...POST,
      headers: [...(POST.headers ?? []), ['Accept', ' text/html '], ['accept', 'text/plain']],
    });
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'content-digest': contentDigest(POST.body ?? Buffer.alloc(0)),
      accept: 'text/html, text/plain',
    });
    expect(headers['signature-input']).toMatch(
      new RegExp(
        `^sig=\\("@method" "@target-uri" "content-digest" "content-type"\\);created=${NOW_S};expires=${NOW_S + 60};nonce="[\\w-]{22}";keyid="${planner.kid}"$`,
      ),
    );
    // 64 octets, r||s.
    expect(headers['signature']).toMatch(/^sig=:[A-Za-z0-9+/]{86}==:$/);
    expect(recorder.decisions.at(-1)).toMatchObject({
      action: 'http-message',
      decision: { effect: 'permit', policies: ['owner-signs'] },
      parameters: { method: 'POST', origin: 'https://api.example', path: '/v1/pay', content: 'octets' },
    });
  });

  it('S7: covers whenever present what a server may act upon', async () => {
    const fixture = await prepare({
      policy: {
        create: [{ uids: [1000], names: ['*'] }],
        unbound_authorization: ['https://api.example'],
      },
    });
    const headers = await fixture.sign({
      ...POST,
      headers: [
        ['content-type', 'application/json'],
        ['content-encoding', 'identity'],
        ['authorization', 'Basic eA=='],
        ['idempotency-key', 'k1'],
      ],
    });
    expect(headers['signature-input']).toContain(
      '("@method" "@target-uri" "content-digest" "content-type" "content-encoding" "authorization" "idempotency-key")',
    );
  });

  it('S7: components can only add', async () => {
    const { sign, code } = await prepare();
    const headers = await sign({
      ...POST,
      components: ['@path', 'x-task', '@method'],
      headers: [['x-task', '1'], ...(POST.headers ?? [])],
    });
    expect(headers['signature-input']).toContain(
      '("@method" "@target-uri" "content-digest" "content-type" "@path" "x-task")',
    );
    expect(await code({ ...GET, components: ['x-absent'] })).toBe('invalid_header');
    expect(await code({ ...GET, components: ['@status'] })).toBe('invalid_component');
    expect(await code({ ...GET, components: ['@signature-params'] })).toBe('invalid_component');
    expect(await code({ ...GET, components: ['@path', '@path'] })).toBe('invalid_component');
    expect(await code({ ...GET, components: ['X-Task'], headers: [['x-task', '1']] })).toBe(
      'invalid_component',
    );
    expect(await code({ ...GET, components: ['content-digest'] })).toBe('invalid_header');
  });

  it('no content, empty content and content are three things (DECISIONS 19)', async () => {
    const { sign } = await prepare();
    expect((await sign(GET))['content-digest']).toBeUndefined();
    expect((await sign({ ...GET, body: Buffer.alloc(0) }))['content-digest']).toBe(
      'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:',
    );
  });

  it('S3: binds what it says it binds', async () => {
    const { signing, authorizer } = await prepare();
    const seen: unknown[] = [];
    const authorize = authorizer.authorize.bind(authorizer);
    authorizer.authorize = (who, proposal, context) => {
      seen.push([...proposal.binds].sort());
      return authorize(who, proposal, context);
    };
    await signing.httpMessage(caller(), 'planner', POST, stay());
    await signing.httpMessage(caller(), 'planner', GET, stay());
    expect(seen).toEqual([
      [
        'authority',
        'body',
        'header:content-digest',
        'header:content-type',
        'method',
        'path',
        'query',
        'scheme',
      ],
      ['authority', 'method', 'path', 'query', 'scheme'],
    ]);
  });

  it('an algorithm without an RFC 9421 name is not used', async () => {
    const fixture = signingFixture();
    await fixture.agent('rsa', 'PS256');
    expect(await codeOfAsync(() => fixture.signing.httpMessage(caller(), 'rsa', GET, stay()))).toBe(
      'unsupported_algorithm',
    );
  });
});

describe('S4: times and nonces', () => {
  it("a caller's created changes nothing within 5 seconds and is refused beyond", async () => {
    const { sign, code } = await prepare();
    for (const created of [NOW_S - 5, NOW_S, NOW_S + 5]) {
      expect((await sign({ ...GET, created }))['signature-input']).toContain(`created=${NOW_S};`);
    }
    for (const created of [NOW_S - 6, NOW_S + 6, NOW_S + 7 * 86_400, 0]) {
      expect(await code({ ...GET, created })).toBe('time_not_acceptable');
    }
  });

  it('every signature has a fresh nonce, also for the same challenge', async () => {
    const { sign } = await prepare();
    const nonces = new Set<string>();
    for (let index = 0; index < 10; index++) {
      const nonce = /nonce="([^"]+)"/.exec(
        (await sign({ ...GET, nonce: 'challenge-1' }))['signature-input'] ?? '',
      )?.[1];
      expect(nonce).toMatch(/^[\w-]{22}\.challenge-1$/);
      nonces.add(nonce ?? '');
    }
    expect(nonces.size).toBe(10);
  });

  it('a challenge that would make the nonce longer than verifiers take is refused', async () => {
    const { sign, code } = await prepare();
    await sign({ ...GET, nonce: 'x'.repeat(233) });
    expect(await code({ ...GET, nonce: 'x'.repeat(234) })).toBe('malformed_request');
  });

  it('lives 60 seconds, and never past the credentials of the key', async () => {
    const { sign } = await prepare({ credentials: () => credentialsFor(20) });
    expect((await sign(GET))['signature-input']).toContain(`expires=${NOW_S + 20};`);
  });

  it('tags of signatures made elsewhere are reserved', async () => {
    const { sign, code } = await prepare();
    expect((await sign({ ...GET, tag: 'acme' }))['signature-input']).toMatch(/;tag="acme"$/);
    for (const tag of ['agentkey-host', 'agentkeyd', 'wimse-workload-to-workload']) {
      expect(await code({ ...GET, tag })).toBe('type_reserved');
    }
  });
});

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

describe('the profile aauth', () => {
  const AAUTH: HttpMessageRequest = { ...POST, profile: 'aauth' };
  const agentToken = token({ sub: 'aauth:host1.planner@agents.example' }, 'aa-agent+jwt');

  it('carries the agent token in Signature-Key, covers it, and has neither alg nor keyid', async () => {
    const { sign } = await prepare({ credentials: () => credentialsFor(600, agentToken) });
    const headers = await sign(AAUTH);
    expect(headers['signature-key']).toBe(`sig=jwt;jwt="${agentToken}"`);
    expect(headers['signature-input']).toMatch(
      new RegExp(
        `^sig=\\("@method" "@authority" "@path" "@target-uri" "signature-key" "content-digest" "content-type"\\);created=${NOW_S};expires=${NOW_S + 60};nonce="[\\w-]{22}"$`,
      ),
    );
  });

  it('without a token there is no signature', async () => {
    expect(await (await prepare()).code(AAUTH)).toBe('credential_unavailable');
    expect(await (await prepare({ credentials: () => credentialsFor(600) })).code(AAUTH)).toBe(
      'credential_unavailable',
    );
  });

  it('a sub-agent of a sub-agent has no AAuth name (DECISIONS 6)', async () => {
    const fixture = signingFixture({ credentials: () => credentialsFor(600, agentToken) });
    await fixture.subAgent('planner+w1');
    await fixture.subAgent('planner+w1+x');
    const sign = (name: string) => () => fixture.signing.httpMessage(caller(), name, AAUTH, stay());
    expect(await codeOfAsync(sign('planner+w1'))).toBeUndefined();
    expect(await codeOfAsync(sign('planner+w1+x'))).toBe('invalid_name');
  });

  it('an opaque AAuth session token belongs to the key that the server has verified', async () => {
    const { code } = await prepare({ credentials: () => credentialsFor(600, agentToken) });
    const headers = [...(AAUTH.headers ?? []), ['authorization', 'AAuth session-1']] as const;
    expect(await code({ ...AAUTH, headers })).toBeUndefined();
    expect(await code({ ...POST, headers })).toBe('token_not_bound');
  });
});
