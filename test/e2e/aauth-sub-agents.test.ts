/**
 * AAuth's rules for sub-agents in the profile `aauth`, before a person server that is written with what others
 * wrote: @hellocoop/httpsig for signatures, jose for tokens.
 */
import { verify as httpsigVerify } from '@hellocoop/httpsig';
import { calculateJwkThumbprint, createLocalJWKSet, jwtVerify, type JSONWebKeySet, type JWK } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAgentToken } from '../../src/verify/agent-token.ts';
import { trustedKeys } from '../../src/verify/trusted-keys.ts';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';

const PERSON_SERVER = 'https://ps.example';
const WIDE = { scopes: ['*'], aud: ['*'], constraints: [], expiresIn: 600 };
const DOMAIN = 'sandbox.test';

let host: GrantedHost;
let agentTokenKeys: JSONWebKeySet;

beforeAll(async () => {
  host = await startGrantedHost({ config: { aauth: { person_servers: [PERSON_SERVER] } } });
  agentTokenKeys = JSON.parse(
    (await host.issuer.connect().get('/v1/keys/agent-token.json')).text,
  ) as JSONWebKeySet;
  await host.agent('planner');
  await host.agent('other');
  await delegate('planner', 'w');
  await delegate('planner', 'x');
  await delegate('planner+w', 'deep', 500);
}, 120_000);
afterAll(() => host.remove());

const path = (agent: string, rest: string): string => `/v1/agents/${encodeURIComponent(agent)}/${rest}`;

const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'signed' : ((json as { code?: string }).code ?? String(status));

/** With credentials of its own. */
async function delegate(parent: string, name: string, expiresIn = 600): Promise<void> {
  const made = await host.daemon.request('POST', path(parent, 'delegations'), { name, ...WIDE, expiresIn });
  if (made.status !== 201) throw new Error(made.text);
  await until(
    () => host.daemon.request('POST', path(`${parent}+${name}`, 'credentials'), {}),
    ({ status }) => status === 200,
  );
}

async function agentTokenOf(agent: string): Promise<string | null> {
  const { json } = await host.daemon.request('GET', path(agent, 'credentials'));
  return (json as { agentToken: string | null }).agentToken;
}

const sign = (agent: string, body: string, targetUri = `${PERSON_SERVER}/token`, type = 'application/json') =>
  host.daemon.request('POST', path(agent, 'sign/http-message'), {
    profile: 'aauth',
    method: 'POST',
    targetUri,
    headers: [['content-type', type]],
    body: Buffer.from(body).toString('base64url'),
  });

interface AgentClaims {
  readonly iss: string;
  readonly sub: string;
  readonly parent_agent?: string;
  readonly cnf: { readonly jwk: JWK };
}

async function readAgentToken(token: string): Promise<AgentClaims> {
  const { payload } = await jwtVerify(token, createLocalJWKSet(agentTokenKeys), { typ: 'aa-agent+jwt' });
  return payload as unknown as AgentClaims;
}

/** For which agent and key a person server would give out a token; it refuses as the draft has it refuse. */
async function personServer(
  answer: SocketAnswer,
  body: string,
  authority = 'ps.example',
): Promise<{ agent: string; jkt: string }> {
  const { headers } = answer.json as { headers: Record<string, string> };
  const message = {
    method: 'POST',
    authority,
    path: '/token',
    headers,
    body: Buffer.from(body),
  };
  const verified = await httpsigVerify(message, { requireContentDigest: true });
  if (!verified.verified) throw new Error('the signature does not verify');
  const [, jwt = ''] = /jwt="([^"]+)"/.exec(headers['signature-key'] ?? '') ?? [];
  const caller = await readAgentToken(jwt);
  if (verified.thumbprint !== (await calculateJwkThumbprint(caller.cnf.jwk))) throw new Error('another key');
  if (caller.parent_agent !== undefined) throw new Error('a sub-agent called directly');
  const { subagent_token: given } = JSON.parse(body) as { subagent_token?: string };
  if (given === undefined) return { agent: caller.sub, jkt: verified.thumbprint };
  const sub = await readAgentToken(given);
  if (sub.parent_agent !== caller.sub || sub.iss !== caller.iss)
    throw new Error('not a sub-agent of the caller');
  return { agent: sub.sub, jkt: await calculateJwkThumbprint(sub.cnf.jwk) };
}

describe('a sub-agent', () => {
  it('has an agent token that names its parent, of the same issuer, which agentkeyd/verify takes', async () => {
    const token = (await agentTokenOf('planner+w')) ?? '';
    const parent = await readAgentToken((await agentTokenOf('planner')) ?? '');
    const claims = await readAgentToken(token);
    expect(claims).toMatchObject({
      iss: parent.iss,
      sub: `aauth:node-1.planner+w@${DOMAIN}`,
      parent_agent: parent.sub,
    });
    const issuers = [{ issuer: claims.iss, domain: DOMAIN, keys: trustedKeys(agentTokenKeys) }];
    const clock = { nowSeconds: Math.floor(Date.now() / 1000), clockSkewSeconds: 5 };
    expect(verifyAgentToken(token, issuers, clock).subject).toBe(claims.sub);
  });

  it('calls a resource itself, and httpsig verifies that', async () => {
    const answer = await sign('planner+w', '{"a":1}', 'https://rs.example/token');
    expect(code(answer)).toBe('signed');
    const { headers } = answer.json as { headers: Record<string, string> };
    const message = {
      method: 'POST',
      authority: 'rs.example',
      path: '/token',
      headers,
      body: Buffer.from('{"a":1}'),
    };
    expect(await httpsigVerify(message, { requireContentDigest: true })).toMatchObject({ verified: true });
  });

  it('signs no call to a person server: not by another spelling, not for another', async () => {
    expect(code(await sign('planner+w', '{"resource_token":"x"}'))).toBe('authority_exceeded');
    expect(code(await sign('planner+w', '{}', `${PERSON_SERVER}/other?x=1`))).toBe('authority_exceeded');
    expect(code(await sign('planner+w', '{}', 'https://PS.example/token'))).toBe('invalid_target_uri');
    const sibling = JSON.stringify({ subagent_token: await agentTokenOf('planner+x') });
    expect(code(await sign('planner+w', sibling, 'https://unknown-ps.example/token'))).toBe(
      'authority_exceeded',
    );
  });

  it('that calls one that this host does not know as such is refused there, by parent_agent', async () => {
    const body = '{"resource_token":"x"}';
    const answer = await sign('planner+w', body, 'https://unknown-ps.example/token');
    expect(code(answer)).toBe('signed');
    await expect(personServer(answer, body, 'unknown-ps.example')).rejects.toThrow(
      'a sub-agent called directly',
    );
  });

  it('of a sub-agent has no name, no token and no signature in AAuth', async () => {
    expect(await agentTokenOf('planner+w+deep')).toBeNull();
    const shown = await host.daemon.request('GET', path('planner+w+deep', '').slice(0, -1));
    expect((shown.json as { identifiers: object }).identifiers).toMatchObject({ aauthId: null });
    expect(code(await sign('planner+w+deep', '{}', 'https://rs.example/token'))).toBe('invalid_name');
  });
});

describe('its parent', () => {
  it('speaks with the person server for it, and what is given is for the sub-agent’s key', async () => {
    const body = JSON.stringify({ resource_token: 'r', subagent_token: await agentTokenOf('planner+w') });
    const answer = await sign('planner', body);
    expect(code(answer)).toBe('signed');
    const child = await host.daemon.request('GET', path('planner+w', '').slice(0, -1));
    expect(await personServer(answer, body)).toEqual({
      agent: `aauth:node-1.planner+w@${DOMAIN}`,
      jkt: (child.json as { kid: string }).kid,
    });
  });

  it('speaks for itself without one', async () => {
    const body = '{"resource_token":"r"}';
    const answer = await sign('planner', body);
    expect(await personServer(answer, body)).toMatchObject({ agent: `aauth:node-1.planner@${DOMAIN}` });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['another agent', () => agentTokenOf('other')],
    ['itself', () => agentTokenOf('planner')],
    ['nobody', () => Promise.resolve('eyJ.eyJ.x')],
    ['what is no text', () => Promise.resolve({ a: 1 })],
  ])('does not speak for %s', async (_, token) => {
    const body = JSON.stringify({ subagent_token: await token() });
    expect(code(await sign('planner', body))).toBe('token_not_bound');
  });

  it('can not hide for whom it speaks: escaped, repeated, or under another JSON type', async () => {
    const token = (await agentTokenOf('other')) ?? '';
    const own = (await agentTokenOf('planner+w')) ?? '';
    for (const [body, type] of [
      [`{"subagent\\u005ftoken":"${token}"}`],
      [`{"subagent_token":"${own}","subagent_token":"${token}"}`],
      [`{"subagent_token":"${token}"}`, 'application/vnd.x+json'],
      [`{"subagent_token":"${token}"}`, 'Application/JSON; charset=utf-8'],
    ] as const) {
      expect(code(await sign('planner', body, undefined, type)), body.slice(0, 40)).toBe('token_not_bound');
    }
  });

  it('speaks no more for one that has ended', async () => {
    const token = await agentTokenOf('planner+x');
    await host.daemon.request('POST', path('planner+x', 'revoke'), {});
    expect(code(await sign('planner', JSON.stringify({ subagent_token: token })))).toBe('token_not_bound');
  });
});
