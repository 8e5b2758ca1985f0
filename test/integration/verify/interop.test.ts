import { createPrivateKey, randomBytes } from 'node:crypto';
import { fetch as httpsigFetch, verify as httpsigVerify } from '@hellocoop/httpsig';
import fc from 'fast-check';
import { createVerifier as hmsVerifier, createSigner, httpbis } from 'http-message-signatures';
import { describe, expect, it } from 'vitest';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { createVerifier } from '../../../src/verify/verifier.ts';
import { component, signatureBase, type SignedRequest } from '../../../src/wire/http-signature.ts';
import { contentDigest } from '../../../src/wire/content-digest.ts';
import { combinedFieldValue, type FieldLine } from '../../../src/wire/field-lines.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { receivedSignature } from '../../../src/wire/signature-fields.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import {
  agentToken,
  signatureKeyField,
  signedRequest,
  testKey,
  type TestKey,
} from '../../support/signed-request.ts';

const targetUri = 'https://api.example/v1/pay?to=bob&note=a%20b';
const target = parseTargetUri(targetUri);
const url = `${target.path}?${target.query ?? ''}`;
const body = Buffer.from('{"amount":3000}');
const provider = testKey('Ed25519');
const now = (): number => Math.floor(Date.now() / 1000);

const ours = (key: TestKey) =>
  createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421', 'aauth'],
    credentials: {
      pinnedKey: (keyid) =>
        keyid === key.thumbprint ? { id: 'a', jwk: key.jwk, assurance: 'hw-key' } : undefined,
      agentTokens: {
        issuers: [{ issuer: 'https://ap.example', domain: 'ap.example', keys: [trustedKey(provider.jwk)] }],
      },
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 100 }),
  });

/** The request as http-message-signatures takes it. */
const asRecord = ({ headers }: ReceivedRequest): Record<string, string> =>
  Object.fromEntries(
    headers.map(([name]) => [name.toLowerCase(), combinedFieldValue(headers, name.toLowerCase())]),
  );

const HMS_ALGORITHMS = [
  ['ES256', 'ecdsa-p256-sha256'],
  ['ES384', 'ecdsa-p384-sha384'],
  ['Ed25519', 'ed25519'],
  ['RS256', 'rsa-v1_5-sha256'],
] as const;

describe('http-message-signatures', () => {
  it.each(HMS_ALGORITHMS)('%s: a request it signs passes our verifier', async (alg, theirName) => {
    const key = testKey(alg);
    const headers = {
      host: 'api.example',
      'content-type': 'application/json',
      'content-digest': contentDigest(body),
    };
    const signed = await httpbis.signMessage(
      {
        key: createSigner(key.privateKey, theirName, key.thumbprint),
        fields: ['@method', '@target-uri', 'content-digest', 'content-type'],
        params: ['created', 'nonce', 'keyid', 'alg'],
        paramValues: { nonce: randomBytes(16).toString('base64url') },
      },
      { method: 'POST', url: targetUri, headers },
    );
    const lines = Object.entries(signed.headers).map(([name, value]): FieldLine => [name, value]);
    const verified = await ours(key).verify({ method: 'POST', url, headers: lines, body });
    expect(verified.agent.thumbprint).toBe(key.thumbprint);
  });

  it.each(HMS_ALGORITHMS)(
    '%s: it verifies a request signed by our base, and no altered one',
    async (alg, theirName) => {
      const key = testKey(alg);
      const headers: FieldLine[] = [['Content-Type', 'application/json']];
      const request = signedRequest({ profile: 'rfc9421', key, nowSeconds: now(), targetUri, body, headers });
      const check = (message: { method: string; url: string; headers: Record<string, string> }) =>
        httpbis.verifyMessage(
          {
            keyLookup: ({ keyid }) =>
              Promise.resolve(
                keyid === key.thumbprint
                  ? { id: keyid, algs: [theirName], verify: hmsVerifier(key.privateKey, theirName) }
                  : null,
              ),
            requiredFields: ['@method', '@target-uri', 'content-digest', 'content-type'],
            requiredParams: ['created', 'nonce', 'keyid'],
          },
          message,
        );
      const message = { method: 'POST', url: targetUri, headers: asRecord(request) };
      expect(await check(message)).toBe(true);
      expect(await check({ ...message, method: 'PUT' }).catch(() => false)).not.toBe(true);
      expect(await check({ ...message, url: `${targetUri}x` }).catch(() => false)).not.toBe(true);
    },
  );

  it('makes the same base as we do, for any request', () => {
    const value = fc.string({
      unit: fc.constantFrom('a', 'B', '1', ',', '"', ';', '='),
      minLength: 1,
      maxLength: 12,
    });
    const names = [
      '@method',
      '@target-uri',
      '@authority',
      '@scheme',
      '@path',
      '@query',
      '@request-target',
      'x-one',
      'x-two',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom('GET', 'POST', 'DELETE'),
        fc.array(fc.constantFrom('a', 'b%20c', 'd-e'), { maxLength: 3 }),
        fc.option(fc.constantFrom('x=1', 'q=%C3%A9&r', '?'), { nil: undefined }),
        fc.array(value, { minLength: 2, maxLength: 2 }),
        fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 }),
        (method, path, query, values, fields) => {
          const uri = `https://h.example:8443/${path.join('/')}${query === undefined ? '' : `?${query}`}`;
          const [one = '', two = ''] = values;
          const request: SignedRequest = { method, target: parseTargetUri(uri), headers: [['X-One', one], ['x-two', two], ['X-TWO', one]] }; // prettier-ignore
          const base = signatureBase(fields.map((name) => component(name)), [], request); // prettier-ignore
          const theirs = httpbis.formatSignatureBase(
            httpbis.createSignatureBase(
              { fields },
              { method, url: uri, headers: { 'X-One': one, 'x-two': [two, one] } },
            ),
          );
          expect(base.split('\n').slice(0, -1).join('\n')).toBe(theirs);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('@hellocoop/httpsig', () => {
  const agent = testKey();
  const token = (): string => agentToken(provider, agent, { nowSeconds: now() });
  const asTheirs = ({ method, headers }: ReceivedRequest, content: Buffer = body) => ({
    method,
    authority: target.authority,
    path: target.path,
    query: target.query ?? '',
    headers: asRecord({ method, url, headers }),
    body: content,
  });

  it('verifies an aauth request signed by our base, and no altered one', async () => {
    const request = signedRequest({
      profile: 'aauth',
      key: agent,
      nowSeconds: now(),
      targetUri,
      body,
      headers: [['Content-Type', 'application/json'], signatureKeyField(token())],
      parameters: { expires: now() + 60 },
    });
    const options = { requireContentDigest: true };
    const result = await httpsigVerify(asTheirs(request), options);
    expect(result).toMatchObject({ verified: true, keyType: 'jwt', thumbprint: agent.thumbprint });
    expect((await httpsigVerify({ ...asTheirs(request), query: 'to=eve' }, options)).verified).toBe(false);
    expect((await httpsigVerify(asTheirs(request, Buffer.from('{}')), options)).verified).toBe(false);
    expect((await ours(agent).verify(request)).agent.id).toBe('aauth:host1.planner@ap.example');
  });

  async function signedByHttpsig(components: string[]): Promise<readonly FieldLine[]> {
    const jwk = createPrivateKey(agent.privateKey.export({ format: 'pem', type: 'pkcs8' })).export({
      format: 'jwk',
    });
    const { headers } = await httpsigFetch(targetUri, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
      signingKey: { ...jwk, alg: 'ES256' },
      signatureKey: { type: 'jwt', jwt: token() },
      components,
      dryRun: true,
    });
    return [...headers].map(([name, value]): FieldLine => [name, value]);
  }

  it('signs what verifies over our base', async () => {
    const components = [
      '@method',
      '@authority',
      '@path',
      '@target-uri',
      'signature-key',
      'content-digest',
      'content-type',
    ];
    const headers = await signedByHttpsig(components);
    const received = receivedSignature(headers, 'sig');
    const base = signatureBase(received.components, received.parameters, { method: 'POST', target, headers });
    expect(verifySignature(agent.jwk, Buffer.from(base), received.signature)).toBe(true);
    // It sends no nonce, so that single use can not be checked (S4).
    const request = { method: 'POST', url, headers: [['Host', target.authority] as const, ...headers], body };
    expect(await codeOfAsync(() => ours(agent).verify(request))).toBe('verification_failed');
  });

  it('S5: accepts a signature over signature-key alone for any request; we do not', async () => {
    const request = signedRequest({
      profile: 'aauth',
      key: agent,
      nowSeconds: now(),
      targetUri,
      headers: [signatureKeyField(token())],
      drop: ['@method', '@authority', '@path', '@target-uri'],
    });
    const evil = { method: 'DELETE', authority: 'evil.example', path: '/all', headers: asRecord(request) };
    expect((await httpsigVerify(evil)).verified).toBe(true);
    expect(await codeOfAsync(() => ours(agent).verify(request))).toBe('verification_failed');
  });

  it('leaves the "?" out of @query, against RFC 9421 §2.2.7; we do not', async () => {
    const headers = await signedByHttpsig(['@method', '@query', 'signature-key']);
    const { components, parameters, signature } = receivedSignature(headers, 'sig');
    const base = signatureBase(components, parameters, { method: 'POST', target, headers });
    expect(base).toContain('"@query": ?to=bob');
    expect(verifySignature(agent.jwk, Buffer.from(base), signature)).toBe(false);
    const without = base.replace('"@query": ?', '"@query": ');
    expect(verifySignature(agent.jwk, Buffer.from(without), signature)).toBe(true);
  });
});
