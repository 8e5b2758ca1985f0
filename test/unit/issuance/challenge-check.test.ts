import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkChallenge } from '../../../src/issuance/challenge-check.ts';
import { IssuerChannel } from '../../../src/issuance/issuer-channel.ts';
import type { ChallengeClaims } from '../../../src/wire/issuance/challenge.ts';
import type { IssuerMetadata } from '../../../src/wire/issuance/metadata.ts';
import { parsePublicJwk } from '../../../src/wire/jwk.ts';

const NOW_MS = 1_800_000_000_000;
const NOW = NOW_MS / 1000;
const SESSION = 'c2Vzc2lvbi1zZXNzaW9uLQ';
const EK_HASH = 'ab'.repeat(32);

let keys: Awaited<ReturnType<typeof generateKeyPair>>;
let issuer: IssuerMetadata;

beforeAll(async () => {
  keys = await generateKeyPair('ES256');
  const jwk = parsePublicJwk({ ...(await exportJWK(keys.publicKey)), alg: 'ES256' });
  issuer = {
    issuer: 'https://issuer.example',
    trustDomain: 'example.org',
    aauthDomain: 'example.org',
    channelBinding: 'proxied',
    keys: { challenge: jwk, wit: jwk, agentToken: jwk, ear: jwk, status: jwk, grant: jwk },
    x509Ca: '',
  };
});

function claims(change: Partial<ChallengeClaims> = {}): ChallengeClaims {
  return {
    iss: 'https://issuer.example',
    op: 'enroll',
    session: SESSION,
    nonce: 'A'.repeat(43),
    sub: EK_HASH,
    channel: 'proxied',
    iat: NOW,
    exp: NOW + 60,
    ...change,
  };
}

async function challenge(
  payload: object,
  typ = 'agentkey-challenge+jwt',
  key = keys.privateKey,
): Promise<string> {
  return new SignJWT({ ...payload }).setProtectedHeader({ alg: 'ES256', typ }).sign(key);
}

async function check(jws: string, configured: 'exporter' | 'proxied' = 'proxied') {
  const channel = new IssuerChannel({ url: 'https://issuer.example', ca: undefined, timeoutMs: 1000 });
  try {
    return await checkChallenge(
      jws,
      issuer,
      { op: 'enroll', session: SESSION, sub: EK_HASH },
      configured,
      channel,
      NOW_MS,
    );
  } finally {
    channel.close();
  }
}

describe('checkChallenge', () => {
  it('accepts the pinned issuer’s challenge; proxied binds no exporter', async () => {
    expect(await check(await challenge(claims()))).toBeUndefined();
  });

  it.each([
    ['another issuer', { iss: 'https://evil.example' }, 'https://evil.example'],
    ['another operation', { op: 'reattest' as const }, 'reattest'],
    ['another session', { session: 'x'.repeat(22) }, 'another session'],
    ['another host', { sub: 'cd'.repeat(32) }, 'another host'],
    ['a life of an hour', { exp: NOW + 3600 }, 'longer than 60 s'],
    ['a time long past', { iat: NOW - 600, exp: NOW - 540 }, 'not valid now'],
    ['a time to come', { iat: NOW + 600, exp: NOW + 660 }, 'not valid now'],
  ])('S9: refuses %s', async (_what, change, words) => {
    await expect(challenge(claims(change)).then(async (jws) => check(jws))).rejects.toMatchObject({
      code: 'issuer_refused',
      message: expect.stringContaining(words) as string,
    });
  });

  it('S9: refuses a relayed challenge that another issuer’s key signed', async () => {
    const other = await generateKeyPair('ES256');
    const relayed = await challenge(claims(), 'agentkey-challenge+jwt', other.privateKey);
    await expect(check(relayed)).rejects.toMatchObject({ code: 'issuer_refused' });
  });

  it('S9: refuses another token type under the right key', async () => {
    const token = await challenge(claims(), 'wit+jwt');
    await expect(check(token)).rejects.toMatchObject({ code: 'issuer_refused' });
  });

  it('S9: refuses the downgrade to no channel binding, and the wrong way round', async () => {
    const proxied = await challenge(claims());
    await expect(check(proxied, 'exporter')).rejects.toMatchObject({ code: 'issuer_refused' });
    const exporter = await challenge(claims({ channel: 'exporter' }));
    await expect(check(exporter, 'proxied')).rejects.toMatchObject({ code: 'issuer_refused' });
  });

  it('refuses unknown and missing claims', async () => {
    const unknown = await challenge({ ...claims(), extra: 1 });
    await expect(check(unknown)).rejects.toMatchObject({ code: 'issuer_refused' });
    const missing = await challenge({ ...claims(), nonce: undefined });
    await expect(check(missing)).rejects.toMatchObject({ code: 'issuer_refused' });
  });
});
