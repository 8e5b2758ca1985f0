import { describe, expect, it } from 'vitest';
import { contentDigest } from '../../../src/wire/content-digest.ts';
import type { HttpMessageRequest } from '../../../src/wire/socket/signing.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { caller, credentialsFor, NOW_S, signingFixture, stay } from '../../support/signing-fixture.ts';
import { GET, prepare, token } from '../../support/http-message-requests.ts';

const POST: HttpMessageRequest = {
  ...GET,
  method: 'POST',
  headers: [['Content-Type', 'application/json']],
  body: Buffer.from('{"amount":3000}'),
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
