/** What the daemon signs over its socket, on both backends, read by programs that nobody here wrote (issue 2 §8). */
import { execFile } from 'node:child_process';
import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { verify as httpsigVerify } from '@hellocoop/httpsig';
import { createVerifier, httpbis } from 'http-message-signatures';
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  decodeProtectedHeader,
  EmbeddedJWK,
  importJWK,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
} from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthDeriver } from '../../src/backend/tpm/key-auth.ts';
import {
  connect,
  type AgentHandle,
  type AgentKeyClient,
  type CredentialsView,
} from '../../src/client/index.ts';
import { X509_BUNDLE_PATH } from '../../src/wire/issuance/metadata.ts';
import { issuerJson, issuerPage } from '../support/issuer-web.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

const run = promisify(execFile);

const KEYS = [
  { backend: 'tpm', algorithm: 'ES256', octets: 64, http: 'ecdsa-p256-sha256' },
  { backend: 'tpm', algorithm: 'ES384', octets: 96, http: 'ecdsa-p384-sha384' },
  { backend: 'pkcs11', algorithm: 'ES256', octets: 64, http: 'ecdsa-p256-sha256' },
  { backend: 'pkcs11', algorithm: 'ES384', octets: 96, http: 'ecdsa-p384-sha384' },
  { backend: 'pkcs11', algorithm: 'Ed25519', octets: 64, http: 'ed25519' },
  { backend: 'pkcs11', algorithm: 'RS256', octets: 384, http: 'rsa-v1_5-sha256' },
  // RFC 9421 has no name for RSASSA-PSS with SHA-256.
  { backend: 'pkcs11', algorithm: 'PS256', octets: 384, http: undefined },
] as const;
type Key = (typeof KEYS)[number];

const ORIGIN = 'https://api.example';
const PATH = '/v1/pay';
const QUERY = 'to=bob&note=a%20b';
const TARGET = `${ORIGIN}${PATH}?${QUERY}`;
const BODY = Buffer.from('{"amount":3000}');

let sandbox: TestSandbox;
let client: AgentKeyClient;
const agents = new Map<Key, AgentHandle>();
const credentials = new Map<Key, CredentialsView>();

beforeAll(async () => {
  sandbox = await startSandbox();
  client = connect({ socketPath: sandbox.description.socket });
  for (const key of KEYS) {
    const { backend, algorithm } = key;
    const name = `${backend}-${algorithm.toLowerCase()}`;
    const agent = await client.createAgent({ name, backend, algorithm });
    agents.set(key, agent);
    credentials.set(key, await agent.renewCredentials());
  }
}, 180_000);
afterAll(async () => {
  client.close();
  await sandbox.remove();
}, 60_000);

describe.each(KEYS)('$algorithm in $backend', (key) => {
  const agent = (): AgentHandle => present(agents.get(key));
  const held = (): CredentialsView => present(credentials.get(key));
  const message = { method: 'POST', targetUri: TARGET, body: BODY } as const;
  const headers: [string, string][] = [['Content-Type', 'application/json']];

  when(key.http !== undefined)(
    'http-message-signatures verifies the profile rfc9421, and nothing that was altered',
    async () => {
      const signed = { ...(await agent().signHttpMessage({ profile: 'rfc9421', ...message, headers })) };
      const alg = key.http ?? '';
      const check = (request: { method: string; url: string; headers: Record<string, string> }) =>
        httpbis
          .verifyMessage(
            {
              keyLookup: ({ keyid }) => {
                const verify = createVerifier(
                  createPublicKey({ key: { ...agent().publicJwk }, format: 'jwk' }),
                  alg,
                );
                return Promise.resolve(keyid === agent().kid ? { id: keyid, algs: [alg], verify } : null);
              },
              requiredFields: ['@method', '@target-uri', 'content-digest', 'content-type'],
              requiredParams: ['created', 'expires', 'nonce', 'keyid'],
            },
            request,
          )
          .catch(() => false);
      const sent = {
        method: 'POST',
        url: TARGET,
        headers: { 'content-type': 'application/json', ...signed },
      };
      expect(await check(sent)).toBe(true);
      expect(signed['content-digest']).toBe(
        `sha-256=:${createHash('sha256').update(BODY).digest('base64')}:`,
      );
      const [, signature = ''] = /=:(.+):$/.exec(signed['signature'] ?? '') ?? [];
      expect(Buffer.from(signature, 'base64')).toHaveLength(key.octets);
      for (const altered of [
        { method: 'PUT' },
        { url: `${TARGET}c` },
        { headers: { ...sent.headers, 'content-type': 'text/plain' } },
        { headers: { ...sent.headers, 'content-digest': 'sha-256=:AAAA:' } },
      ])
        expect(await check({ ...sent, ...altered })).not.toBe(true);
    },
  );

  when(key.http === undefined)('is refused where RFC 9421 has no name for the algorithm', async () => {
    await expect(agent().signHttpMessage({ profile: 'rfc9421', ...message, headers })).rejects.toMatchObject({
      code: 'unsupported_algorithm',
    });
  });

  // httpsig 2.2.0 knows these two; it demands no coverage and spells @query without "?", so our own profile
  // covers @target-uri and the coverage is looked at here.
  when(key.algorithm === 'ES256' || key.algorithm === 'Ed25519')(
    '@hellocoop/httpsig verifies the profile aauth, and nothing that was altered',
    async () => {
      const signed = { ...(await agent().signHttpMessage({ profile: 'aauth', ...message, headers })) };
      const received = {
        method: 'POST',
        authority: 'api.example',
        path: PATH,
        query: QUERY,
        headers: { 'content-type': 'application/json', ...signed },
        body: BODY,
      };
      const options = { requireContentDigest: true };
      expect(await httpsigVerify(received, options)).toMatchObject({
        verified: true,
        keyType: 'jwt',
        thumbprint: agent().kid,
      });
      for (const component of [
        '@method',
        '@authority',
        '@path',
        '@target-uri',
        'signature-key',
        'content-digest',
      ])
        expect(signed['signature-input']).toContain(`"${component}"`);
      for (const altered of [
        { query: 'to=eve' },
        { path: '/v1/pax' },
        { body: Buffer.from('{}') },
        { method: 'PUT' },
        { authority: 'evil.example' },
      ])
        expect((await httpsigVerify({ ...received, ...altered }, options)).verified).toBe(false);
    },
  );

  it('jose verifies a DPoP proof by the key it carries', async () => {
    const proof = await agent().signDpop({ htm: 'GET', htu: `${ORIGIN}${PATH}`, accessToken: 'opaque' });
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: [key.algorithm],
      maxTokenAge: '60 s',
    });
    expect(await calculateJwkThumbprint(protectedHeader.jwk ?? {})).toBe(agent().kid);
    expect(payload).toMatchObject({
      htm: 'GET',
      htu: `${ORIGIN}${PATH}`,
      ath: createHash('sha256').update('opaque').digest('base64url'),
    });
  });

  it('jose verifies a JWT of the caller’s own type, with the agent as issuer and subject', async () => {
    const jwt = await agent().signJwt('order+jwt', { aud: 'https://shop.example', item: 7 });
    const subject = agent().view.identifiers.spiffeId ?? '';
    const { payload, protectedHeader } = await jwtVerify(jwt, await importJWK({ ...agent().publicJwk }), {
      typ: 'order+jwt',
      audience: 'https://shop.example',
      issuer: subject,
      subject,
      algorithms: [key.algorithm],
      requiredClaims: ['iat', 'exp', 'jti'],
    });
    expect(payload['item']).toBe(7);
    expect(protectedHeader.kid).toBe(agent().kid);
  });

  when(key.algorithm.startsWith('ES'))('every ECDSA signature is r||s of full length', async () => {
    const jwts = await Promise.all(Array.from({ length: 24 }, (_, n) => agent().signJwt('order+jwt', { n })));
    const lengths = jwts.map((jwt) => Buffer.from(jwt.split('.')[2] ?? '', 'base64url').length);
    expect(new Set(lengths)).toEqual(new Set([key.octets]));
  });

  it('jose verifies WIT and agent token by what the issuer publishes, and they confirm this key', async () => {
    const { description } = sandbox;
    const provider = await issuerJson<{ issuer: string; jwks_uri: string }>(
      description,
      '/.well-known/aauth-agent.json',
    );
    expect(provider.issuer).toBe(description.issuer);
    for (const [token, jwksUrl, typ, subject] of [
      [held().wit, '/v1/keys/wit.json', 'wit+jwt', agent().view.identifiers.spiffeId],
      [held().agentToken, provider.jwks_uri, 'aa-agent+jwt', agent().view.identifiers.aauthId],
    ] as const) {
      const jwks = await issuerJson<JSONWebKeySet>(description, jwksUrl);
      for (const published of jwks.keys)
        expect(published).toMatchObject({ alg: expect.any(String) as string });
      const { payload } = await jwtVerify(token ?? '', createLocalJWKSet(jwks), {
        issuer: description.issuer,
        typ,
        subject: subject ?? '',
        requiredClaims: ['exp', 'iat'],
      });
      expect(await calculateJwkThumbprint(confirmedKey(payload))).toBe(agent().kid);
      expect(payload['exp']).toBeLessThanOrEqual((payload['iat'] ?? 0) + 3600);
    }
    expect(decodeProtectedHeader(held().agentToken ?? '').alg).toBe('Ed25519');
    // A key for one purpose does not verify what another signed (S14).
    const wrong = createLocalJWKSet(await issuerJson<JSONWebKeySet>(description, '/v1/keys/ear.json'));
    await expect(jwtVerify(held().wit ?? '', wrong)).rejects.toThrow();
  });

  it('openssl verifies the certificate, strictly, and reads its names and key', async () => {
    const { x509 } = held();
    const [leaf = '', ...chain] = x509?.chain ?? [];
    const file = await written('leaf.pem', leaf);
    const ca = await written('ca.pem', await issuerPage(sandbox.description, X509_BUNDLE_PATH));
    const untrusted = chain.length === 0 ? [] : ['-untrusted', await written('chain.pem', chain.join('\n'))];
    const verify = ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', ca, ...untrusted, file];
    expect((await run('openssl', verify)).stdout).toContain(': OK');
    const text = (await run('openssl', ['x509', '-in', file, '-noout', '-text', '-pubkey'])).stdout;
    expect(text).toContain(`URI:${agent().view.identifiers.spiffeId ?? ''}`);
    expect(text.match(/URI:/g)).toHaveLength(1);
    expect(text).toContain('Digital Signature');
    expect(text).toMatch(/CA:FALSE/);
    const [pem = ''] = /-----BEGIN PUBLIC KEY-----[^]+?-----END PUBLIC KEY-----\n/.exec(text) ?? [];
    expect(await calculateJwkThumbprint(createPublicKey(pem).export({ format: 'jwk' }))).toBe(agent().kid);
  });

  it('openssl verifies a CSR and reads its names', async () => {
    const uri = agent().view.identifiers.spiffeId ?? '';
    const csr = await agent().signCsr({ subject: { commonName: agent().name }, sans: { uri: [uri] } });
    const file = await written('request.pem', csr);
    const { stdout, stderr } = await run('openssl', ['req', '-in', file, '-verify', '-noout', '-text']);
    expect(stdout + stderr).toMatch(/self-signature verify OK/i);
    expect(stdout).toContain(`URI:${uri}`);
  });
});

describe('the host', () => {
  it('gives a third party a quote that tpm2_checkquote accepts, with its PCRs and nonce', async () => {
    const nonce = randomBytes(32);
    const audience = 'https://verifier.example';
    const quote = (await client.quote({
      audience,
      nonce: nonce.toString('base64url'),
      pcrs: [0, 1, 7, 14],
    })) as {
      readonly [name in 'attest' | 'signature' | 'akPublic' | 'extraData']: string;
    } & { readonly pcrs: readonly string[]; readonly pcrSelection: readonly number[] };
    expect(quote.pcrSelection).toEqual([0, 1, 7, 14]);
    // What the third party computes from its own words (S9), and not the answer's say-so.
    const extraData = createHash('sha256')
      .update('agentkey/v1/quote-3p\0')
      .update(createHash('sha256').update(audience).digest())
      .update(nonce)
      .digest();
    expect(quote.extraData).toBe(extraData.toString('base64url'));

    const octets = (text: string): Buffer => Buffer.from(text, 'base64url');
    const publicArea = octets(quote.akPublic);
    const size = Buffer.alloc(2);
    size.writeUInt16BE(publicArea.length);
    const ak = await written('ak.tpm2b', Buffer.concat([size, publicArea]));
    const attest = await written('quote.attest', octets(quote.attest));
    const signature = await written('quote.sig', octets(quote.signature));
    const pcrs = await written('quote.pcrs', Buffer.concat(quote.pcrs.map(octets)));
    const altered = Buffer.concat(quote.pcrs.map(octets));
    altered[0] = (altered[0] ?? 0) ^ 1;
    const wrongPcrs = await written('wrong.pcrs', altered);
    const check = async (values: string, qualification: Buffer): Promise<boolean> =>
      run('tpm2_checkquote', [
        ...['-u', ak, '-m', attest, '-s', signature, '-g', 'sha256', '-f', values, '-l', 'sha256:0,1,7,14'],
        ...['-q', qualification.toString('hex')],
      ]).then(
        () => true,
        () => false,
      );
    expect(await check(pcrs, extraData)).toBe(true);
    expect(await check(pcrs, nonce)).toBe(false);
    expect(await check(wrongPcrs, extraData)).toBe(false);
  });

  it('hands out a key file that tpm2-openssl loads, and signs with only by the derived auth', async () => {
    const [key] = KEYS;
    const agent = present(agents.get(key));
    const admin = connect({ socketPath: sandbox.description.adminSocket });
    const { pem } = (await admin.call('POST', `/v1/agents/${agent.id}/export-tss2`, {})) as {
      readonly pem: string;
    };
    admin.close();
    const file = await written('key.tss2.pem', pem);
    const provider = ['-provider', 'tpm2', '-provider', 'default', '-propquery', '?provider=tpm2'];
    const openssl = (...args: string[]): Promise<{ stdout: string }> =>
      run('openssl', args, {
        env: { ...process.env, TPM2OPENSSL_TCTI: sandbox.description.tcti },
        timeout: 30_000,
      });
    const auth = derivedAuth(agent);
    const loaded = await openssl('pkey', ...provider, '-in', file, '-passin', `pass:${auth}`, '-pubout');
    expect(await calculateJwkThumbprint(createPublicKey(loaded.stdout).export({ format: 'jwk' }))).toBe(
      agent.kid,
    );

    const data = await written('message', 'signed by OpenSSL');
    const signature = join(sandbox.dir, 'message.sig');
    const sign = (passphrase: string): Promise<unknown> =>
      openssl(
        ...['pkeyutl', ...provider, '-sign', '-rawin', '-digest', 'sha256', '-inkey', file],
        ...['-passin', `pass:${passphrase}`, '-in', data, '-out', signature],
      );
    await sign(auth);
    const publicPem = await written('key.pub', loaded.stdout);
    const verified = await run('openssl', [
      'dgst',
      '-sha256',
      '-verify',
      publicPem,
      '-signature',
      signature,
      data,
    ]);
    expect(verified.stdout).toContain('Verified OK');
    await expect(sign('x'.repeat(32))).rejects.toThrow();
    // OpenSSL had the TPM's slots meanwhile; the daemon goes on.
    expect(await agent.signJwt('order+jwt', {})).not.toBe('');
  });

  it('keeps keys in the token as objects that pkcs11-tool sees, sensitive and not extractable', async () => {
    const { pkcs11Module, softhsm2Conf, tokenLabel, pinFile } = sandbox.description;
    const pin = (await readFile(pinFile, 'utf8')).trim();
    const { stdout } = await run(
      'pkcs11-tool',
      [
        '--module',
        pkcs11Module,
        '--token-label',
        tokenLabel,
        '--login',
        '--pin',
        pin,
        '--list-objects',
        '--type',
        'privkey',
      ],
      { env: { ...process.env, SOFTHSM2_CONF: softhsm2Conf }, timeout: 30_000 },
    );
    const objects = stdout.split(/(?=Private Key Object)/).filter((text) => text.startsWith('Private'));
    for (const { algorithm } of KEYS.filter(({ backend }) => backend === 'pkcs11')) {
      const own = objects.filter((text) => text.includes(`agentkeyd:agent:${algorithm}:`));
      expect(own, algorithm).toHaveLength(1);
      expect(own[0]).toMatch(/Access:\s+sensitive, always sensitive, never extractable, local/);
      expect(own[0]).toMatch(/Usage:\s+sign\n/);
    }
  });
});

/** Defines a test where it applies; elsewhere there is nothing to skip. */
function when(applies: boolean): (name: string, test: () => Promise<void>) => void {
  return (name, test) => {
    if (applies) it(name, test);
  };
}

/** As the daemon derives it (DECISIONS 13), from the sandbox's own secret and record. */
function derivedAuth({ kid }: AgentHandle): string {
  const folder = join(sandbox.dir, 'daemon');
  const state = new DatabaseSync(join(folder, 'state', 'state.db'), { readOnly: true });
  try {
    const row = state
      .prepare(
        'SELECT b.key_id, b.salt, b.epoch FROM key_blobs b JOIN agents a USING (key_id) WHERE a.kid = ?',
      )
      .get(kid) as { readonly key_id: string; readonly salt: Uint8Array; readonly epoch: number };
    const deriver = new AuthDeriver(readFileSync(join(folder, 'secret')));
    const context = { keyId: row.key_id, purpose: 'agent', epoch: row.epoch, salt: row.salt } as const;
    return Buffer.from(deriver.keyAuth(context)).toString('latin1');
  } finally {
    state.close();
  }
}

async function written(name: string, content: string | Uint8Array): Promise<string> {
  const file = join(sandbox.dir, `interop-${randomBytes(4).toString('hex')}-${name}`);
  await writeFile(file, content);
  return file;
}

function confirmedKey(payload: JWTPayload): Record<string, unknown> {
  return (payload['cnf'] as { readonly jwk: Record<string, unknown> }).jwk;
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it was not made');
  return value;
}
