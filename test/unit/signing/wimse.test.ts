/** The profile wimse and Workload Proof Tokens: as the daemon makes them, and `agentkeyd/verify` takes them. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ActionFacts } from '../../../src/delegation/action.ts';
import type { Proposal } from '../../../src/policy/proposal.ts';
import { actionFacts } from '../../../src/signing/action-facts.ts';
import type { Agent } from '../../../src/signing/agent.ts';
import { draftContext, type PresentedChain } from '../../../src/signing/draft.ts';
import { draftJwt } from '../../../src/signing/jwt.ts';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { createVerifier } from '../../../src/verify/verifier.ts';
import { verifyWorkloadProof } from '../../../src/verify/workload-proof.ts';
import { decodeJwt } from '../../../src/wire/jws.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import type { HttpMessageRequest } from '../../../src/wire/socket/signing.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { signJwt, testKey } from '../../support/signed-request.ts';
import {
  caller,
  credentialsFor,
  IDENTITY,
  NOW_MS,
  NOW_S,
  signingFixture,
  stay,
  type SigningFixtureOptions,
} from '../../support/signing-fixture.ts';

const witIssuer = testKey();
const clock = (): number => NOW_MS;
const wit = { trustDomain: 'agents.example', keys: [trustedKey(witIssuer.jwk)] };
const TARGET = 'https://api.example/v1/pay?to=bob';
const AUD = 'https://api.example/v1/pay';
const body = Buffer.from('{"amount":3000}');

const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64url');

function witFor(agent: Agent): string {
  return signJwt(
    witIssuer,
    { typ: 'wit+jwt', kid: witIssuer.thumbprint },
    {
      iss: 'https://issuer.example',
      sub: 'spiffe://agents.example/agent/host1/planner',
      jti: 'w',
      iat: NOW_S - 10,
      exp: NOW_S + 3000,
      cnf: { jwk: agent.publicJwk },
    },
  );
}

/** Reads the body of whatever goes to this origin. */
const LIMIT = `@id("at-most-3000") forbid (principal, action == Action::"http-message", resource)
  when { context.origin == "https://api.example" }
  unless {
    context.body.hasTag("/amount") && context.body.getTag("/amount") has n &&
    context.body.getTag("/amount").n.lessThanOrEqual(decimal("3000.00"))
  };`;

async function prepare(options: SigningFixtureOptions = {}) {
  // One WIT for a key: signing it anew would make another.
  const wits = new Map<string, string>();
  const credentials = (agent: Agent) => {
    const known = wits.get(agent.kid) ?? witFor(agent);
    wits.set(agent.kid, known);
    return credentialsFor(3000, undefined, known);
  };
  const fixture = signingFixture({ credentials, ...options });
  const planner = await fixture.agent('planner');
  const sign = async (more: Partial<HttpMessageRequest> = {}) =>
    (
      await fixture.signing.httpMessage(
        caller(),
        'planner',
        {
          profile: 'wimse',
          method: 'POST',
          targetUri: TARGET,
          headers: [['content-type', 'application/json']],
          body,
          ...more,
        },
        stay(),
      )
    ).headers;
  const prove = async (claims: Readonly<Record<string, unknown>>, typ = 'wpt+jwt') =>
    (await fixture.signing.jwt(caller(), 'planner', { typ, claims }, stay())).jwt;
  return { ...fixture, planner, sign, prove, wit: () => wits.get(planner.kid) ?? '' };
}

describe('the profile wimse', () => {
  it('signs what the draft lists, with the WIT, wimse-aud, its tag, and without keyid and alg', async () => {
    const { sign, recorder, wit: own } = await prepare();
    const headers = await sign({
      headers: [
        ['content-type', 'application/json'],
        ['txn-token', 't'],
      ],
    });
    expect(headers['workload-identity-token']).toBe(own());
    expect(headers['signature-input']).toMatch(
      new RegExp(
        `^wimse=\\("@method" "@request-target" "content-digest" "content-type" "workload-identity-token" "txn-token"\\);created=${NOW_S};expires=${NOW_S + 60};nonce="[\\w-]{22}";tag="wimse-workload-to-workload";wimse-aud="${AUD}"$`,
      ),
    );
    expect(headers['signature']).toMatch(/^wimse=:[A-Za-z0-9+/]{86}==:$/);
    expect(recorder.decisions.at(-1)).toMatchObject({
      action: 'http-message',
      decision: { effect: 'permit' },
    });
  });

  it('is accepted by agentkeyd/verify', async () => {
    const { sign, planner } = await prepare();
    const verifier = createVerifier({
      origins: ['https://api.example'],
      profiles: ['wimse'],
      credentials: { wit },
      acceptSoftware: true,
      nonceStore: new MemoryNonceStore({ maxEntries: 10, clock }),
      clock,
    });
    const headers = Object.entries({ host: 'api.example', ...(await sign()) });
    const verified = await verifier.verify({ method: 'POST', url: '/v1/pay?to=bob', headers, body });
    expect(verified).toMatchObject({
      profile: 'wimse',
      agent: {
        id: 'spiffe://agents.example/agent/host1/planner',
        thumbprint: planner.kid,
        credential: 'wit',
      },
    });
  });

  it('S3: binds all of the target and the body, so that a policy may read them', async () => {
    const { sign } = await prepare({ policies: [LIMIT] });
    expect(await codeOfAsync(() => sign())).toBeUndefined();
    const more = Buffer.from('{"amount":3000.01}');
    expect(await codeOfAsync(() => sign({ body: more }))).toBe('policy_denied');
  });

  it('needs a WIT, takes none from the caller, and no other tag', async () => {
    const { sign, wit: own } = await prepare();
    await sign();
    const code = (more: Partial<HttpMessageRequest>) => codeOfAsync(() => sign(more));
    expect(await code({ headers: [['Workload-Identity-Token', own()]] })).toBe('invalid_header');
    expect(await code({ tag: 'web' })).toBe('type_reserved');
    expect(await code({ tag: 'wimse-workload-to-workload' })).toBe('type_reserved');
    expect(await code({ components: ['@target-uri', '@authority'] })).toBeUndefined();
    const without = await prepare({ credentials: () => credentialsFor(3000) });
    expect(await codeOfAsync(() => without.sign())).toBe('credential_unavailable');
  });

  it('S7: refuses a WIT that the issuer gave for another key', async () => {
    const stranger = testKey();
    const foreign = { kid: stranger.thumbprint, publicJwk: stranger.jwk } as unknown as Agent;
    const { sign } = await prepare({ credentials: () => credentialsFor(3000, undefined, witFor(foreign)) });
    expect(await codeOfAsync(() => sign())).toBe('token_not_bound');
  });

  it('its tag is signed in no other profile', async () => {
    const { sign } = await prepare();
    const request = { profile: 'rfc9421', tag: 'wimse-workload-to-workload' } as const;
    expect(await codeOfAsync(() => sign(request))).toBe('type_reserved');
  });
});

describe('a Workload Proof Token', () => {
  it('has alg and typ, and aud, exp, jti, wth and the hashes that were given', async () => {
    const { prove, wit: own } = await prepare();
    const [ath, tth, other] = ['at', 'tt', 'ot'].map(hashOf);
    const jwt = decodeJwt(await prove({ aud: AUD, ath, tth, oth: { 'x-user-token': other } }));
    expect(jwt.header).toEqual({ alg: 'ES256', typ: 'wpt+jwt' });
    expect(jwt.claims).toEqual({
      aud: AUD,
      exp: NOW_S + 60,
      jti: expect.stringMatching(/^[\w-]{22}$/) as unknown,
      wth: hashOf(own()),
      ath,
      tth,
      oth: { 'x-user-token': other },
    });
  });

  it('is accepted by agentkeyd/verify, once', async () => {
    const { prove, wit: own } = await prepare();
    const proof = await prove({ aud: AUD, ath: hashOf('token') });
    const nonceStore = new MemoryNonceStore({ maxEntries: 10, clock });
    const verify = () =>
      verifyWorkloadProof({
        headers: [
          ['Workload-Identity-Token', own()],
          ['Workload-Proof-Token', proof],
          ['Authorization', 'Bearer token'],
        ],
        target: parseTargetUri(TARGET),
        wit,
        nonceStore,
        clock,
      });
    expect((await verify()).workload.subject).toBe('spiffe://agents.example/agent/host1/planner');
    expect(await codeOfAsync(verify)).toBe('replayed');
  });

  it('S1, S4: says nothing else that a caller wants said', async () => {
    const { prove } = await prepare();
    const code = (claims: Readonly<Record<string, unknown>>, typ?: string) =>
      codeOfAsync(() => prove({ aud: AUD, ...claims }, typ));
    expect(await code({})).toBeUndefined();
    expect(await code({}, 'application/WPT+jwt')).toBeUndefined();
    for (const name of [
      'exp',
      'iat',
      'nbf',
      'jti',
      'wth',
      'sub',
      'iss',
      'cnf',
      'act',
      'htm',
      'authorization_details',
    ]) {
      expect(await code({ [name]: name === 'exp' ? NOW_S + 5 : 'x' }), name).toBe('malformed_request');
    }
    expect(await code({ aud: undefined })).toBe('malformed_request');
    expect(await code({ aud: [AUD] })).toBe('malformed_request');
    expect(await code({ aud: TARGET })).toBe('invalid_target_uri');
    expect(await code({ aud: 'https://api.example' })).toBe('invalid_target_uri');
    expect(await code({ aud: 'spiffe://api.example/x' })).toBe('invalid_target_uri');
    expect(await code({ aud: 'https://issuer.example/v1/issue' })).toBe('issuer_authority');
    expect(await code({ ath: 'short' })).toBe('malformed_request');
    expect(await code({ oth: { 'X-Token': hashOf('x') } })).toBe('malformed_request');
    expect(await code({ oth: { 'agentkeyd-delegation': hashOf('x') } })).toBe('claim_reserved');
  });

  it('needs a WIT, and the host’s rule for its type', async () => {
    const without = await prepare({ credentials: () => credentialsFor(3000) });
    expect(await codeOfAsync(() => without.prove({ aud: AUD }))).toBe('credential_unavailable');
    const { prove } = await prepare({ policy: { create: [{ uids: [1000], names: ['*'] }] } });
    expect(await codeOfAsync(() => prove({ aud: AUD }))).toBe('policy_denied');
  });

  it('S3: is refused for an origin whose policy reads a body, which it does not bind', async () => {
    const { prove } = await prepare({ policies: [LIMIT] });
    expect(await codeOfAsync(() => prove({ aud: AUD }))).toBe('unbound_parameters');
    expect(await codeOfAsync(() => prove({ aud: 'https://other.example/v1/pay' }))).toBeUndefined();
  });

  describe('of a sub-agent', () => {
    const chain: PresentedChain = { tokens: ['a.b.c', 'd.e.f'], expiresAtMs: NOW_MS + 30_000 };
    async function proposalOf(presented: PresentedChain): Promise<Proposal> {
      const { planner } = await prepare();
      const context = draftContext(
        {
          identity: () => IDENTITY,
          credentials: () => credentialsFor(3000, undefined, witFor(planner)),
          chain: () => presented,
          issuerAuthorities: () => [],
          deadlineMs: 1000,
          now: clock,
          randomOctets: (count) => new Uint8Array(count),
        },
        planner,
      );
      expect(codeOf(() => draftJwt(context, { typ: 'wpt+jwt', claims: { aud: 'x' } }))).toBe(
        'invalid_target_uri',
      );
      return draftJwt(context, { typ: 'wpt+jwt', claims: { aud: AUD } }).proposal;
    }
    const claimsOf = ({ parameters }: Proposal): unknown =>
      parameters.operation === 'jwt' ? parameters.claims : undefined;

    it('has the hash of the chain in its oth, and ends before the chain does', async () => {
      expect(claimsOf(await proposalOf(chain))).toMatchObject({
        exp: NOW_S + 30,
        oth: { 'agentkeyd-delegation': hashOf('a.b.c~d.e.f') },
      });
      expect(claimsOf(await proposalOf({ ...chain, tokens: ['a.b.c'] }))).not.toHaveProperty('oth');
    });

    it('is held against the chain by its origin and path; of method, query and body nothing is known', async () => {
      const facts: ActionFacts = actionFacts(await proposalOf(chain), [], []);
      expect(facts).toEqual({
        operation: 'jwt',
        audiences: ['https://api.example'],
        path: '/v1/pay',
        scopes: [],
        spends: new Map(),
      });
    });
  });
});
