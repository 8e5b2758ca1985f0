/** Every typed signature of one backend, read by programs that nobody here wrote. */
import { execFile } from 'node:child_process';
import { createHash, verify as nodeVerify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { verify as httpsigVerify } from '@hellocoop/httpsig';
import { createVerifier, httpbis } from 'http-message-signatures';
import { calculateJwkThumbprint, EmbeddedJWK, importJWK, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KeyBackend } from '../../../src/backend/backend.ts';
import type { Agent } from '../../../src/signing/agent.ts';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import { createVerifier as createOwnVerifier } from '../../../src/verify/verifier.ts';
import { algorithmEntry, type Algorithm } from '../../../src/wire/algorithms.ts';
import { publicKeyObject } from '../../../src/wire/public-key.ts';
import type { HttpMessageRequest } from '../../../src/wire/socket/signing.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { agentToken, testKey } from '../../support/signed-request.ts';
import { caller, signingFixture, stay, type SigningFixture } from '../../support/signing-fixture.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const run = promisify(execFile);

export interface OpenedBackend {
  readonly backend: KeyBackend;
  cleanUp(): Promise<void>;
}

const TARGET = 'https://api.example/v1/pay?to=bob&note=a%20b';
const BODY = Buffer.from('{"amount":3000}');
const REQUEST: HttpMessageRequest = {
  profile: 'rfc9421',
  method: 'POST',
  targetUri: TARGET,
  headers: [['Content-Type', 'application/json']],
  body: BODY,
};
const RAW_AGENT = 'legacy';

export function describeSigning(
  name: string,
  open: () => Promise<OpenedBackend>,
  algorithms: readonly Algorithm[],
): void {
  describe(name, () => {
    let opened: OpenedBackend;
    let fixture: SigningFixture;
    const provider = testKey('Ed25519');
    const agents = new Map<Algorithm, Agent>();

    beforeAll(async () => {
      opened = await open();
      fixture = signingFixture({
        backend: opened.backend,
        now: Date.now,
        deadlineMs: 60_000,
        policy: {
          create: [{ uids: [1000], names: ['*'] }],
          jwt_types: ['*'],
          csr_dns_names: ['planner.svc.example'],
          allow_raw: [RAW_AGENT],
        },
        credentials: (agent) =>
          agent.name === RAW_AGENT
            ? undefined
            : {
                agentToken: agentToken(
                  provider,
                  { ...testKey(), jwk: agent.publicJwk },
                  { nowSeconds: seconds() },
                ),
                wit: undefined,
                expiresAtMs: Date.now() + 3_600_000,
                assurance: 'software',
                assuranceReason: 'a test',
              },
      });
      for (const algorithm of algorithms) {
        agents.set(algorithm, await fixture.agent(algorithm.toLowerCase(), algorithm));
      }
    }, 120_000);
    afterAll(async () => {
      await opened.cleanUp();
    });

    const agentOf = (algorithm: Algorithm): Agent => {
      const agent = agents.get(algorithm);
      if (agent === undefined) throw new Error(`no agent for ${algorithm}`);
      return agent;
    };
    const inHttp = algorithms.filter(
      (algorithm) => algorithmEntry(algorithm).httpSignatureName !== undefined,
    );

    it.each(inHttp)(
      '%s: http-message-signatures verifies rfc9421, and nothing that was altered',
      async (algorithm) => {
        const { kid, publicJwk, name: agent } = agentOf(algorithm);
        const theirs = algorithmEntry(algorithm).httpSignatureName ?? '';
        const { headers } = await fixture.signing.httpMessage(caller(), agent, REQUEST, stay());
        const check = (message: { method: string; url: string; headers: Record<string, string> }) =>
          httpbis
            .verifyMessage(
              {
                keyLookup: ({ keyid }) =>
                  Promise.resolve(
                    keyid === kid
                      ? {
                          id: keyid,
                          algs: [theirs],
                          verify: createVerifier(publicKeyObject(publicJwk), theirs),
                        }
                      : null,
                  ),
                requiredFields: ['@method', '@target-uri', 'content-digest', 'content-type'],
                requiredParams: ['created', 'expires', 'nonce', 'keyid'],
              },
              message,
            )
            .catch(() => false);
        const message = { method: 'POST', url: TARGET, headers: { ...headers } };
        expect(await check(message)).toBe(true);
        expect(await check({ ...message, method: 'PUT' })).not.toBe(true);
        expect(await check({ ...message, url: `${TARGET}c` })).not.toBe(true);
        expect(await check({ ...message, headers: { ...headers, 'content-type': 'text/plain' } })).not.toBe(
          true,
        );
        expect(
          await check({ ...message, headers: { ...headers, 'content-digest': 'sha-256=:AAAA:' } }),
        ).not.toBe(true);
      },
    );

    it.each(algorithms.filter((algorithm) => algorithm === 'ES256' || algorithm === 'Ed25519'))(
      '%s: @hellocoop/httpsig verifies aauth, and nothing that was altered',
      async (algorithm) => {
        const { kid, name: agent } = agentOf(algorithm);
        const { headers } = await fixture.signing.httpMessage(
          caller(),
          agent,
          { ...REQUEST, profile: 'aauth' },
          stay(),
        );
        const message = {
          method: 'POST',
          authority: 'api.example',
          path: '/v1/pay',
          query: 'to=bob&note=a%20b',
          headers: { ...headers },
          body: BODY,
        };
        const options = { requireContentDigest: true };
        expect(await httpsigVerify(message, options)).toMatchObject({
          verified: true,
          keyType: 'jwt',
          thumbprint: kid,
        });
        for (const altered of [
          { query: 'to=eve' },
          { path: '/v1/pax' },
          { body: Buffer.from('{}') },
          { method: 'PUT' },
        ]) {
          expect((await httpsigVerify({ ...message, ...altered }, options)).verified).toBe(false);
        }
      },
    );

    it('agentkeyd/verify accepts each signature once, also of the same request and challenge', async () => {
      const { kid, publicJwk, name: agent } = agentOf('ES256');
      const verifier = createOwnVerifier({
        origins: ['https://api.example'],
        profiles: ['rfc9421'],
        acceptSoftware: true,
        credentials: {
          pinnedKey: (keyid) =>
            keyid === kid ? { id: agent, jwk: publicJwk, assurance: 'software' } : undefined,
        },
        nonceStore: new MemoryNonceStore({ maxEntries: 100 }),
      });
      for (let index = 0; index < 2; index++) {
        const { headers } = await fixture.signing.httpMessage(
          caller(),
          agent,
          { ...REQUEST, nonce: 'c-1' },
          stay(),
        );
        const received = {
          method: 'POST',
          url: '/v1/pay?to=bob&note=a%20b',
          headers: [['host', 'api.example'] as const, ...Object.entries(headers)],
          body: BODY,
        };
        expect((await verifier.verify(received)).agent.thumbprint).toBe(kid);
        expect(await codeOfAsync(() => verifier.verify(received))).toBe('replayed');
      }
    });

    it.each(algorithms)('%s: jose verifies DPoP proofs by the key they carry', async (algorithm) => {
      const { kid, name: agent } = agentOf(algorithm);
      const request = { htm: 'GET', htu: 'https://api.example/v1/pay', accessToken: 'opaque-token' };
      const { proof } = await fixture.signing.dpop(caller(), agent, request, stay());
      const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
        typ: 'dpop+jwt',
        algorithms: [algorithm],
        maxTokenAge: '60 s',
      });
      expect(await calculateJwkThumbprint(protectedHeader.jwk ?? {})).toBe(kid);
      expect(payload).toMatchObject({
        htm: 'GET',
        htu: request.htu,
        ath: createHash('sha256').update('opaque-token').digest('base64url'),
      });
    });

    it.each(algorithms)('%s: jose verifies JWTs', async (algorithm) => {
      const { publicJwk, kid, name: agent } = agentOf(algorithm);
      const claims = { aud: 'https://as.example', nonce: 'n-1' };
      const { jwt } = await fixture.signing.jwt(
        caller(),
        agent,
        { typ: 'client-authentication+jwt', claims },
        stay(),
      );
      const key = await importJWK(publicJwk);
      const id = `spiffe://agents.example/agent/host1/${agent}`;
      const { protectedHeader } = await jwtVerify(jwt, key, {
        typ: 'client-authentication+jwt',
        audience: 'https://as.example',
        issuer: id,
        subject: id,
        algorithms: [algorithm],
        requiredClaims: ['jti', 'exp', 'iat', 'nbf'],
      });
      expect(protectedHeader).toEqual({ alg: algorithm, typ: 'client-authentication+jwt', kid });
      const [head = '', , signature = ''] = jwt.split('.');
      const altered = `${head}.${Buffer.from('{"sub":"eve"}').toString('base64url')}.${signature}`;
      await expect(jwtVerify(altered, key)).rejects.toThrow();
    });

    it.each(algorithms)('%s: openssl verifies CSRs and reads their names', async (algorithm) => {
      const { name: agent } = agentOf(algorithm);
      const temp = await makeTempDir();
      try {
        const path = join(temp.path, 'request.pem');
        const openssl = async (): Promise<string> => {
          const { stdout, stderr } = await run('openssl', ['req', '-in', path, '-verify', '-noout', '-text']);
          return stdout + stderr;
        };
        const { csr } = await fixture.signing.csr(
          caller(),
          agent,
          {
            subject: { commonName: agent },
            sans: { uri: [`spiffe://agents.example/agent/host1/${agent}`], dns: ['planner.svc.example'] },
          },
          stay(),
        );
        await writeFile(path, csr);
        const text = await openssl();
        expect(text).toMatch(/self-signature verify OK/i);
        expect(text).toContain(`URI:spiffe://agents.example/agent/host1/${agent}, DNS:planner.svc.example`);
        expect(text).toMatch(new RegExp(`Subject: CN ?= ?${agent}`));
        // One bit of the signature's last octet.
        const [, base64 = ''] = /-----\n([\s\S]+)\n-----END/.exec(csr) ?? [];
        const der = Buffer.from(base64, 'base64');
        der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1;
        const broken = der.toString('base64').replace(/.{64}/g, '$&\n');
        await writeFile(
          path,
          `-----BEGIN CERTIFICATE REQUEST-----\n${broken}\n-----END CERTIFICATE REQUEST-----\n`,
        );
        expect(await openssl().catch((error: unknown) => String(error))).not.toMatch(/verify OK/i);
      } finally {
        await temp.remove();
      }
    });

    it('an empty subject and no names at all is a good CSR as well', async () => {
      const { name: agent } = agentOf('ES256');
      const temp = await makeTempDir();
      try {
        const path = join(temp.path, 'request.pem');
        await writeFile(
          path,
          (await fixture.signing.csr(caller(), agent, { sans: { uri: [] } }, stay())).csr,
        );
        const { stdout, stderr } = await run('openssl', ['req', '-in', path, '-verify', '-noout', '-text']);
        expect(stdout + stderr).toMatch(/verify OK/i);
        expect(stdout).not.toContain('Subject Alternative Name');
      } finally {
        await temp.remove();
      }
    });

    it('ECDSA signatures are r||s of 64 octets, zeros at the front kept', async () => {
      const { publicJwk } = await fixture.agent(RAW_AGENT);
      const key = publicKeyObject(publicJwk);
      // One half in 128 begins with a zero octet.
      let padded = 0;
      for (let index = 0; index < 4_000 && padded === 0; index++) {
        const message = Buffer.from(`message ${index}`);
        const request =
          index % 2 === 0 ? { message } : { digest: createHash('sha256').update(message).digest() };
        const { signature } = await fixture.signing.raw(caller(), RAW_AGENT, request, stay());
        const octets = Buffer.from(signature, 'base64url');
        expect(octets).toHaveLength(64);
        expect(nodeVerify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, octets)).toBe(true);
        if (octets[0] === 0 || octets[32] === 0) padded += 1;
      }
      expect(padded).toBe(1);
    }, 120_000);

    it('64 callers at once each get their own signature or a clear 429', async () => {
      const { name: agent, publicJwk } = agentOf('ES256');
      const key = await importJWK(publicJwk);
      const results = await Promise.all(
        Array.from({ length: 64 }, async (_, index) => {
          const who = caller({ uid: 1000, containerId: String(index % 8).repeat(64), groups: [] });
          let jwt = '';
          const claims = { n: index };
          const code = await codeOfAsync(async () => {
            ({ jwt } = await fixture.signing.jwt(who, agent, { typ: 'order+jwt', claims }, stay()));
          });
          if (code === undefined) expect((await jwtVerify(jwt, key)).payload['n']).toBe(index);
          return code;
        }),
      );
      expect(new Set(results)).toEqual(new Set([undefined]));
    });

    it('after rotation the new key signs and the old one is gone from hardware', async () => {
      const before = await fixture.agent('turning');
      const after = await fixture.service.rotate(caller(), 'turning', {});
      const { jwt } = await fixture.signing.jwt(
        caller(),
        'turning',
        { typ: 'order+jwt', claims: {} },
        stay(),
      );
      await jwtVerify(jwt, await importJWK(after.publicJwk));
      await expect(jwtVerify(jwt, await importJWK(before.publicJwk))).rejects.toThrow();
      expect(await opened.backend.find(before.keyId)).toBeUndefined();
      expect((await fixture.service.retire(caller(), 'turning')).statement).not.toBe('');
      expect(
        (await opened.backend.list()).some(
          (key) =>
            key.publicJwk.alg === 'ES256' &&
            JSON.stringify(key.publicJwk) === JSON.stringify(after.publicJwk),
        ),
      ).toBe(false);
    });
  });
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
