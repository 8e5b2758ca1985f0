/** Root grants and credentials of sub-agents: a real TPM, a real issuer, the grant key in SoftHSM. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SANDBOX_GRANT, type SandboxHost } from '../../../scripts/sandbox/issuer.ts';
import { verifyChain, type ChainRules } from '../../../src/delegation/chain.ts';
import {
  delegationSigningInput,
  makeLinkClaims,
  parseDelegationToken,
  type LinkTerms,
} from '../../../src/delegation/claims.ts';
import { ISSUE_CHALLENGE_PATH } from '../../../src/wire/issuance/issue.ts';
import type { CredentialRequest, IssuedCredentials } from '../../../src/wire/issuance/issue.ts';
import {
  STATUS_INDICES_PATH,
  STATUS_REVOCATIONS_PATH,
  type StatusReference,
} from '../../../src/wire/issuance/status.ts';
import { jwkThumbprint } from '../../../src/wire/jwk.ts';
import { decodeJwt, joinJws } from '../../../src/wire/jws.ts';
import { testKey } from '../../support/signed-request.ts';
import { signedChain } from '../../support/delegation-chain.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { codeOf } from '../../support/code-of.ts';
import type { IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { expectOk, jwkOf, ProtocolHost } from '../../support/protocol-host.ts';

const AGENT_ID = randomUUID();

let tpm: AttestedHost;
let issuer: IssuerFixture;
let host: ProtocolHost;
let connection: IssuerConnection;
let rules: ChainRules;
const cleanUp: (() => Promise<void>)[] = [];

const request = (more: Partial<CredentialRequest> = {}): CredentialRequest => ({
  agentId: AGENT_ID,
  name: 'planner',
  creds: ['x509', 'wit', 'aauth'],
  ttlSeconds: 1800,
  ...more,
});

const approve = (more: Partial<SandboxHost> = {}): Promise<void> =>
  issuer.approve({
    label: 'node-1',
    ekSha256: host.ekSha256,
    namePatterns: ['planner*'],
    principal: 'ops@example.test',
    grant: SANDBOX_GRANT,
    ...more,
  });

beforeAll(async () => {
  tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  issuer = await IssuerFixture.start({ ca: tpm.tpm });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  await approve();
  connection = issuer.connect();
  await host.enrol(connection);
  const metadata = await issuer.metadata();
  rules = {
    grantKeys: [metadata.keys.grant],
    issuer: metadata.issuer,
    trustDomain: metadata.trustDomain,
    allowDevelopment: true,
    nowSeconds: Math.floor(Date.now() / 1000),
    clockSkewSeconds: 60,
  };
}, 60_000);
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});

function grantOf({ grant }: IssuedCredentials): string {
  if (grant === undefined) throw new Error('no grant was issued');
  return grant;
}

describe('DT0', () => {
  let key: HostKey;
  let issued: IssuedCredentials;
  beforeAll(async () => {
    key = await tpm.createAgentKey();
    issued = await host.issue(connection, request(), key);
  });

  it('comes with the credentials and verifies as a chain under the published grant key', () => {
    const { root } = verifyChain([grantOf(issued)], rules);
    expect(root.claims).toMatchObject({
      iss: issuer.config.issuer,
      sub: 'ops@example.test',
      client_id: issued.spiffeId,
      cnf: { jwk: jwkOf(key), jkt: jwkThumbprint(jwkOf(key)) },
      del_depth: 0,
      del_max_depth: 8,
      approval: { kind: 'development' },
    });
    expect(root.claims.exp - root.claims.iat).toBe(30 * 86_400);
    expect(root.scopes).toEqual(['*']);
  });

  it('S14: does not verify under any other key of the issuer', async () => {
    const { keys } = await issuer.metadata();
    for (const purpose of ['challenge', 'wit', 'ear', 'status'] as const) {
      const other = { ...rules, grantKeys: [keys[purpose]] };
      expect(codeOf(() => verifyChain([grantOf(issued)], other))).toBe('verification_failed');
    }
  });

  it('S6: has the same id after rotation, for other agents, and under other terms', async () => {
    const { jti } = verifyChain([grantOf(issued)], rules).root.claims;
    const rotated = await tpm.createAgentKey();
    const again = verifyChain([grantOf(await host.issue(connection, request(), rotated))], rules);
    expect(again.root.claims.jti).toBe(jti);
    expect(again.leaf.claims.cnf.jkt).toBe(jwkThumbprint(jwkOf(rotated)));
    const other = request({ agentId: randomUUID(), name: 'planner-2' });
    try {
      await approve({ grant: { ...SANDBOX_GRANT, scopes: ['mail.*'], constraints: [] } });
      const issuedToOther = await host.issue(connection, other, await tpm.createAgentKey());
      const { root } = verifyChain([grantOf(issuedToOther)], rules);
      expect(root.claims.jti).toBe(jti);
      expect(root.scopes).toEqual(['mail.*']);
    } finally {
      await approve();
    }
  });

  it('S18: has a status where the record wants one: one place for each key, which the host may revoke', async () => {
    const listed = request({ agentId: randomUUID(), name: 'planner-listed' });
    const statusOf = async (holder: HostKey): Promise<StatusReference> => {
      const { root } = verifyChain([grantOf(await host.issue(connection, listed, holder))], rules);
      if (root.claims.status === undefined) throw new Error('DT0 has no status');
      return root.claims.status.status_list;
    };
    const holder = await tpm.createAgentKey();
    try {
      await approve({ grant: { ...SANDBOX_GRANT, status: true } });
      const status = await statusOf(holder);
      expect(await statusOf(holder)).toEqual(status);
      expect(await statusOf(await tpm.createAgentKey())).not.toEqual(status);
      const answer = await host.signed(connection, STATUS_REVOCATIONS_PATH, { status: [status] });
      expect(answer.json).toEqual({ revoked: 1 });
    } finally {
      await approve();
    }
    expect(verifyChain([grantOf(issued)], rules).root.claims).not.toHaveProperty('status');
  });

  it('S1: is not given to an agent that asks for a certificate alone, nor to a host without a grant', async () => {
    const rawSigner = request({ agentId: randomUUID(), name: 'planner-raw', creds: ['x509'] });
    expect(await host.issue(connection, rawSigner, await tpm.createAgentKey())).not.toHaveProperty('grant');
    try {
      await issuer.approve({
        label: 'node-1',
        ekSha256: host.ekSha256,
        namePatterns: ['planner*'],
        principal: 'ops@example.test',
      });
      expect(await host.issue(connection, request(), key)).not.toHaveProperty('grant');
    } finally {
      await approve();
    }
  });
});

/** The chain with one more link: the key that it confirmed delegates to `child`, all that it has. */
async function link(
  chain: readonly string[],
  parentKey: HostKey,
  child: { readonly key: HostKey; readonly segment: string },
  change: Partial<LinkTerms> = {},
): Promise<readonly string[]> {
  const parent = parseDelegationToken(chain.at(-1) ?? '', chain.length === 1);
  const { claims } = parent;
  const now = Math.floor(Date.now() / 1000);
  const link = makeLinkClaims(parent, {
    principal: claims.sub,
    clientId: `${claims.client_id}/${child.segment}`,
    audiences: claims.aud,
    scopes: parent.scopes,
    constraints: parent.constraints,
    issuedAtSeconds: now,
    expiresAtSeconds: Math.min(now + 900, claims.exp),
    jti: randomUUID(),
    publicJwk: jwkOf(child.key),
    depth: claims.del_depth + 1,
    maxDepth: claims.del_max_depth,
    ...change,
  });
  const input = delegationSigningInput('ES256', jwkThumbprint(jwkOf(parentKey)), link);
  return [...chain, joinJws(input, await host.signByKey(parentKey, Buffer.from(input)))];
}

describe('credentials of a sub-agent', () => {
  let rootKey: HostKey;
  let childKey: HostKey;
  let dt0: string;
  let chain: readonly string[];

  beforeAll(async () => {
    rootKey = await tpm.createAgentKey();
    childKey = await tpm.createAgentKey();
    const root = request({ agentId: randomUUID(), name: 'planner-root' });
    dt0 = grantOf(await host.issue(connection, root, rootKey));
    chain = await link([dt0], rootKey, { key: childKey, segment: 'w1' });
  });

  const childRequest = (given: readonly string[], more: Partial<CredentialRequest> = {}) =>
    request({ agentId: randomUUID(), name: 'planner-root+w1', chain: given, ...more });

  /** Code and detail of the refusal at M5. */
  async function refusal(req: CredentialRequest): Promise<string> {
    const answer = await host.signed(connection, ISSUE_CHALLENGE_PATH, { akId: host.akId, req });
    return answer.status === 200 ? 'accepted' : answer.text;
  }

  it('name it below its parent, end with its chain, and come without a DT0 of its own', async () => {
    const issued = await host.issue(connection, childRequest(chain), childKey);
    expect(issued).toMatchObject({
      spiffeId: 'spiffe://sandbox.test/agent/node-1/planner-root/w1',
      aauthId: 'aauth:node-1.planner-root+w1@sandbox.test',
    });
    expect(issued).not.toHaveProperty('grant');
    const { expiresAtSeconds } = verifyChain(chain, { ...rules, nowSeconds: Math.floor(Date.now() / 1000) });
    expect(issued.expiresAtSeconds).toBe(expiresAtSeconds);
    const parent = jwkThumbprint(jwkOf(rootKey));
    expect(decodeJwt(issued.wit ?? '').claims).toMatchObject({ 'urn:agentkeyd:attestation': { parent } });
    expect(decodeJwt(issued.agentToken ?? '').claims).toMatchObject({
      sub: 'aauth:node-1.planner-root+w1@sandbox.test',
      parent_agent: 'aauth:node-1.planner-root@sandbox.test',
    });
  });

  it('have no agent token below depth 1, for AAuth has no such name', async () => {
    const key = await tpm.createAgentKey();
    const deeper = await link(chain, childKey, { key, segment: 'w2' });
    const issued = await host.issue(connection, childRequest(deeper, { name: 'planner-root+w1+w2' }), key);
    expect(issued).not.toHaveProperty('agentToken');
    expect(issued).not.toHaveProperty('aauthId');
    expect(issued.spiffeId).toBe('spiffe://sandbox.test/agent/node-1/planner-root/w1/w2');
    expect(decodeJwt(issued.wit ?? '').claims['sub']).toBe(issued.spiffeId);
  });

  it('S2: are not for a name without a chain, nor for a chain without a sub-agent', async () => {
    expect(await refusal(request({ agentId: randomUUID(), name: 'planner-root+w9' }))).toMatch(
      /carries the chain/,
    );
    expect(await refusal(request({ chain }))).toMatch(/is no sub-agent/);
  });

  it('S2: are not for another name, key or root than the chain has', async () => {
    expect(await refusal(childRequest(chain, { name: 'planner-root+w2' }))).toMatch(
      /delegates to planner-root\+w1/,
    );
    expect(await refusal(childRequest(chain, { name: 'planner-2+w1' }))).toMatch(
      /delegates to planner-root\+w1/,
    );
    const stranger = await tpm.createAgentKey();
    await expect(host.issue(connection, childRequest(chain), stranger)).rejects.toThrow(
      /name_not_permitted.*check 27.*another key/,
    );
    const outside = await link([dt0], rootKey, { key: childKey, segment: 'w1' });
    try {
      await approve({ namePatterns: ['mail'] });
      expect(await refusal(childRequest(outside))).toMatch(/outside the patterns/);
    } finally {
      await approve();
    }
  });

  it('S2: are not for a chain by another grant key, a broken, a wider or an ended one', async () => {
    const grantKey = testKey();
    const forged = signedChain(
      [{ claims: { iss: rules.issuer } }, {}].map(({ claims }, depth) => ({
        claims: {
          ...claims,
          client_id: `spiffe://sandbox.test/agent/node-1/planner-root${'/w1'.repeat(depth)}`,
        },
        iat: rules.nowSeconds,
        exp: rules.nowSeconds + 900,
      })),
      { grantKey },
    );
    expect(await refusal(childRequest(forged.tokens))).toMatch(/step 1: DT₀ is not signed by a pinned/);
    const stolen = await link([dt0], childKey, { key: childKey, segment: 'w1' });
    expect(await refusal(childRequest(stolen))).toMatch(/step 1/);
    const wider = await link([dt0], rootKey, { key: childKey, segment: 'w1' }, { constraints: [] });
    expect(await refusal(childRequest(wider))).toMatch(/step 4/);
    const now = Math.floor(Date.now() / 1000);
    const ended = await link(
      [dt0],
      rootKey,
      { key: childKey, segment: 'w1' },
      { issuedAtSeconds: now, expiresAtSeconds: now + 1 },
    );
    issuer.clockOffsetMs = 5_000;
    try {
      expect(await refusal(childRequest(ended))).toMatch(/the chain has expired/);
    } finally {
      issuer.clockOffsetMs = 0;
    }
  });

  it('S18: are not for a link that was revoked, nor for one whose status nobody here knows', async () => {
    const given = expectOk(await host.signed(connection, STATUS_INDICES_PATH, { count: 1 }));
    const [reference] = (given as { readonly status: readonly StatusReference[] }).status;
    if (reference === undefined) throw new Error('no index was given');
    const child = { key: childKey, segment: 'w1' };
    const listed = await link([dt0], rootKey, child, { status: { status_list: reference } });
    expect(await refusal(childRequest(listed))).toBe('accepted');
    expectOk(await host.signed(connection, STATUS_REVOCATIONS_PATH, { status: [reference] }));
    expect(await refusal(childRequest(listed))).toMatch(/delegation_revoked/);
    const elsewhere = { status_list: { idx: 1, uri: 'https://other.example/v1/status/1' } };
    expect(await refusal(childRequest(await link([dt0], rootKey, child, { status: elsewhere })))).toMatch(
      /delegation_revoked/,
    );
  });

  it('S2: are not for what the operator has taken back or made narrower since', async () => {
    const change = async (more: Partial<SandboxHost>): Promise<string> => {
      try {
        await approve(more);
        return await refusal(childRequest(chain));
      } finally {
        await approve();
      }
    };
    expect(await change({ principal: 'other@example.test' })).toMatch(/not of the grant in force/);
    expect(await change({ grant: { ...SANDBOX_GRANT, max_depth: 7 } })).toMatch(/become narrower/);
    expect(await change({ grant: { ...SANDBOX_GRANT, scopes: ['mail'] } })).toMatch(/become narrower/);
    const dearer = [{ key: 'spend.USD.2', max_subtree: 2_000_000 }];
    expect(await change({ grant: { ...SANDBOX_GRANT, constraints: dearer } })).toBe('accepted');
    expect(await change({ label: 'node-2' })).toMatch(/another host/);
    expect(await refusal(childRequest(chain))).toBe('accepted');
  });
});
