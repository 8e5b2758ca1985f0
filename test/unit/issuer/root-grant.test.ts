import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyChain } from '../../../src/delegation/chain.ts';
import { parseDelegationToken } from '../../../src/delegation/claims.ts';
import { grantInForce, issueRootGrant } from '../../../src/issuer/credentials/root-grant.ts';
import { HostRegistry, type ApprovedHost } from '../../../src/issuer/host-registry.ts';
import { decodeJws } from '../../../src/wire/jws.ts';
import { codeOf } from '../../support/code-of.ts';
import { signToken } from '../../support/delegation-chain.ts';
import { testKey } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const NOW = 1_800_000_000;
const ISSUER = 'https://issuer.example';
const EK = 'a'.repeat(64);
const HOST = `[[host]]\nlabel = "web-1"\nek_sha256 = "${EK}"\nname_patterns = ["*"]\nprincipal = "ops@example.org"\n`;
const GRANT = `${HOST}[host.grant]\nscopes = ["mail.*"]\naudiences = ["https://rs.example"]\n`;
const on = { issuer: ISSUER, developmentGrants: true };

let temp: TempDir;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(() => temp.remove());

async function hostOf(text: string): Promise<ApprovedHost> {
  const file = join(temp.path, 'hosts.toml');
  await writeFile(file, text);
  const host = new HostRegistry(file, 3600).find(EK);
  if (host === undefined) throw new Error('the host is not there');
  return host;
}

async function faultOf(text: string): Promise<string> {
  try {
    await hostOf(text);
    return 'accepted';
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}

describe('[host.grant]', () => {
  it('gives nothing where it is absent, and by default a day and one level of sub-agents', async () => {
    expect((await hostOf(HOST)).grant).toBeUndefined();
    expect((await hostOf(GRANT)).grant).toEqual({
      scopes: ['mail.*'],
      audiences: ['https://rs.example'],
      constraints: [],
      maxDepth: 1,
      lifetimeSeconds: 86_400,
      status: false,
    });
  });

  it('has the budgets of the record as ceilings beside its own constraints', async () => {
    const host = await hostOf(
      `${GRANT}constraints = [{ key = "method", in = ["GET"] }]\n[[host.budget]]\nunit = "USD"\ndecimals = 2\namount = "300000"\n`,
    );
    expect(host.grant?.constraints).toEqual([
      { key: 'method', in: ['GET'] },
      { key: 'spend.USD.2', max_subtree: 300_000 },
    ]);
  });

  const budget = '[[host.budget]]\nunit = "USD"\ndecimals = 2\namount = "1"\n';
  it.each([
    ['no scope', GRANT.replace('"mail.*"', ''), /scopes has fewer than 1/],
    ['a scope that is none', GRANT.replace('mail.*', '*.mail'), /scopes\[0\]/],
    ['an audience with a path', GRANT.replace('rs.example', 'rs.example/a'), /must be an origin/],
    ['more than thirty days', `${GRANT}lifetime_seconds = 2592001\n`, /lifetime_seconds/],
    ['a depth that no chain has', `${GRANT}max_depth = 10\n`, /max_depth/],
    ['an unknown constraint', `${GRANT}constraints = [{ key = "mood", in = ["good"] }]\n`, /not known/],
    ['an unknown member', `${GRANT}forever = true\n`, /not a known member/],
    [
      'a budget that is a constraint as well',
      `${GRANT}constraints = [{ key = "spend.USD.2", max_subtree = 5 }]\n${budget}`,
      /do not go together.*twice/,
    ],
    ['a unit that no link can name', `${GRANT}${budget.replace('USD', 'US-D')}`, /letters and digits/],
    [
      'more than a token has room for',
      `${GRANT}constraints = [${Array.from({ length: 60 }, (_, index) => `{ key = "query:p${index}", equals = "${'x'.repeat(100)}" }`).join(',')}]\n`,
      /room for 4096/,
    ],
  ])('refuses %s', async (_what, text, expected) => {
    expect(await faultOf(text)).toMatch(expected);
  });
});

describe('grantInForce', () => {
  it('S2: is none where no person approved it and the configuration does not let that pass', async () => {
    const host = await hostOf(GRANT);
    expect(grantInForce({ ...on, developmentGrants: false }, host)).toBeUndefined();
    expect(grantInForce(on, await hostOf(HOST))).toBeUndefined();
    expect(grantInForce(on, host)?.approval).toEqual({ kind: 'development' });
  });

  it('S6: has the same id whatever the terms and names become, and another for another TPM or principal', async () => {
    const host = await hostOf(GRANT);
    const id = (change: Partial<ApprovedHost>, config = on) =>
      grantInForce(config, { ...host, ...change })?.id;
    const before = id({});
    expect(before).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(id({ label: 'web-2', namePatterns: ['x'], maxTtlSeconds: 60 })).toBe(before);
    expect(id({ grant: { ...(host.grant ?? never()), scopes: ['*'], maxDepth: 3 } })).toBe(before);
    expect(id({ ekHash: 'b'.repeat(64) })).not.toBe(before);
    expect(id({ principal: 'other@example.org' })).not.toBe(before);
    expect(id({}, { ...on, issuer: 'https://other.example' })).not.toBe(before);
  });
});

describe('issueRootGrant', () => {
  const grantKey = testKey();
  const keys = {
    signJwt: (_purpose: string, typ: string, claims: Readonly<Record<string, unknown>>) =>
      Promise.resolve(signToken(grantKey, claims, { typ })),
  };
  const rules = {
    grantKeys: [grantKey.jwk],
    issuer: ISSUER,
    trustDomain: 'example.org',
    allowDevelopment: true,
    nowSeconds: NOW,
    clockSkewSeconds: 0,
  };

  it('is a chain of one token, canonical, with the agent’s key confirmed and the terms of the record', async () => {
    const host = await hostOf(`${GRANT}max_depth = 3\nlifetime_seconds = 600\n`);
    const agent = testKey('PS256');
    const spiffeId = 'spiffe://example.org/agent/web-1/mail';
    const grant = grantInForce(on, host) ?? never();
    const token = await issueRootGrant(keys, ISSUER, grant, {
      spiffeId,
      publicJwk: agent.jwk,
      issuedAtSeconds: NOW,
      status: undefined,
    });
    const { root, expiresAtSeconds } = verifyChain([token], rules);
    expect(root.claims).toEqual({
      iss: ISSUER,
      sub: 'ops@example.org',
      client_id: spiffeId,
      aud: ['https://rs.example'],
      iat: NOW,
      exp: NOW + 600,
      jti: grant.id,
      cnf: { jwk: agent.jwk, jkt: agent.thumbprint },
      del_depth: 0,
      del_max_depth: 3,
      authorization_details: [{ type: 'agent_delegation', scopes: ['mail.*'], constraints: [] }],
      approval: { kind: 'development' },
    });
    expect(expiresAtSeconds).toBe(NOW + 600);
    expect(decodeJws(token).header).toEqual({
      alg: 'ES256',
      kid: grantKey.thumbprint,
      typ: 'agentkey-delegation+jwt',
    });
  });

  it('S2: is worth nothing under another key, and where development grants do not count', async () => {
    const grant = grantInForce(on, await hostOf(GRANT)) ?? never();
    const spiffeId = 'spiffe://example.org/agent/web-1/mail';
    const token = await issueRootGrant(keys, ISSUER, grant, {
      spiffeId,
      publicJwk: testKey().jwk,
      issuedAtSeconds: NOW,
      status: undefined,
    });
    expect(codeOf(() => verifyChain([token], { ...rules, grantKeys: [testKey().jwk] }))).toBe(
      'verification_failed',
    );
    expect(codeOf(() => verifyChain([token], { ...rules, allowDevelopment: false }))).toBe(
      'verification_failed',
    );
  });

  it('fits into a token at the largest authority that a record may have', async () => {
    const constraints = Array.from(
      { length: 33 },
      (_, index) => `{ key = "query:p${index}", equals = "${'x'.repeat(80)}" }`,
    );
    const host = await hostOf(`${GRANT}constraints = [${constraints.join(',')}]\n`);
    const grant = grantInForce(on, host) ?? never();
    const token = await issueRootGrant(keys, ISSUER, grant, {
      spiffeId: `spiffe://${'d'.repeat(200)}/agent/${'h'.repeat(63)}/${'n'.repeat(63)}`,
      publicJwk: testKey('PS256').jwk,
      issuedAtSeconds: NOW,
      status: undefined,
    });
    expect(parseDelegationToken(token, true).constraints).toHaveLength(33);
  });
});

function never(): never {
  throw new Error('the record has no grant');
}
