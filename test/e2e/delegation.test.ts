/** Sub-agents of a host that was granted something: keys in a real TPM, links by their parents' keys. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Agent as HttpAgent } from 'node:http';
import { inflateSync } from 'node:zlib';
import { decodeJwt } from '../../src/wire/jws.ts';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';

let host: GrantedHost;

const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string }).code ?? String(status));

interface Child {
  readonly agent: { readonly id: string; readonly name: string; readonly kid: string };
  readonly chain: readonly string[];
}

const WIDE = { scopes: ['*'], aud: ['*'], constraints: [], expiresIn: 600 };

const delegate = (parent: string, request: object): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${encodeURIComponent(parent)}/delegations`, request);

const child = async (parent: string, request: object): Promise<Child> => {
  const answer = await delegate(parent, request);
  if (answer.status !== 201) throw new Error(answer.text);
  return answer.json as Child;
};

const sign = (agent: string, targetUri = 'https://api.example/x', body?: object): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${encodeURIComponent(agent)}/sign/http-message`, {
    profile: 'rfc9421',
    method: body === undefined ? 'GET' : 'POST',
    targetUri,
    headers: body === undefined ? [] : [['content-type', 'application/json']],
    ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)).toString('base64url') }),
  });

const claims = (token: string | undefined) => decodeJwt(token ?? '').claims;

beforeAll(async () => {
  host = await startGrantedHost({ config: { limits: { agents_per_caller: 5000 } } });
  await host.agent('planner');
}, 120_000);
afterAll(() => host.remove());

describe('a sub-agent', () => {
  it('has a key of its own, the name of its parent and a link that its parent signed', async () => {
    const made = await child('planner', { name: 'w1', ...WIDE, scopes: ['mail.*'] });
    expect(made.agent.name).toBe('planner+w1');
    const [root, link, ...more] = made.chain;
    expect(more).toEqual([]);
    expect(claims(link)).toMatchObject({
      sub: claims(root)['sub'],
      client_id: `${String(claims(root)['client_id'])}/w1`,
      del_depth: 1,
      cnf: { jkt: made.agent.kid },
      authorization_details: [{ scopes: ['mail.*'] }],
    });
    const signed = await sign('planner+w1');
    expect(code(signed)).toBe('done');
    const { headers } = signed.json as { headers: Record<string, string> };
    expect(headers['agentkeyd-delegation']).toBe(made.chain.join('~'));
    expect(headers['signature-input']).toContain('"agentkeyd-delegation"');
  });

  it.each([
    ['a wider audience', { aud: ['*'] }, 'delegation_refused'],
    ['a scope that its parent has not', { scopes: ['mail.*', 'pay.send'] }, 'delegation_refused'],
    ['a longer life', { expiresIn: 3600 }, 'delegation_refused'],
    ['more depth', { maxDepth: 9 }, 'delegation_refused'],
    [
      'a budget above its parent’s',
      { budget: [{ unit: 'USD', decimals: 2, amount: 501 }] },
      'delegation_refused',
    ],
    [
      'a unit that nobody granted',
      { budget: [{ unit: 'EUR', decimals: 2, amount: 1 }] },
      'delegation_refused',
    ],
    ['a wider path', { constraints: [{ key: 'path', prefix: '/' }] }, 'delegation_refused'],
  ])('S3: is not made with %s', async (_, more, expected) => {
    const narrow = {
      scopes: ['mail.*'],
      aud: ['https://api.example'],
      constraints: [{ key: 'path', prefix: '/v1' }],
      expiresIn: 600,
    };
    const name = `narrow-${Math.random().toString(36).slice(2, 8)}`;
    await child('planner', {
      name,
      ...narrow,
      maxDepth: 5,
      budget: [{ unit: 'USD', decimals: 2, amount: 500 }],
    });
    const answer = await delegate(`planner+${name}`, { name: 'x', ...narrow, expiresIn: 300, ...more });
    expect(code(answer)).toBe(expected);
    expect(code(await delegate(`planner+${name}`, { name: 'y', ...narrow, expiresIn: 300 }))).toBe('done');
  });

  it('gets no signature beyond its chain, whatever its SDK says', async () => {
    await child('planner', {
      name: 'reader',
      scopes: ['*'],
      aud: ['https://api.example'],
      constraints: [
        { key: 'path', prefix: '/v1/mail' },
        { key: 'method', in: ['GET'] },
        { key: 'operation', in: ['http-message'] },
      ],
      expiresIn: 600,
    });
    expect(code(await sign('planner+reader', 'https://api.example/v1/mail/7'))).toBe('done');
    expect(code(await sign('planner+reader', 'https://api.example/v1/mailbox'))).toBe('authority_exceeded');
    expect(code(await sign('planner+reader', 'https://other.example/v1/mail'))).toBe('authority_exceeded');
    expect(code(await sign('planner+reader', 'https://api.example/v1/mail', {}))).toBe('authority_exceeded');
    const dpop = await host.daemon.request('POST', '/v1/agents/planner+reader/sign/dpop', {
      htm: 'GET',
      htu: 'https://api.example/v1/mail',
    });
    expect(code(dpop)).toBe('authority_exceeded');
  });

  it('of a constraint on the body, gets no DPoP proof: it would bind no body', async () => {
    await child('planner', {
      name: 'payer',
      ...WIDE,
      constraints: [{ key: 'body:/amount', max: '10.00' }],
    });
    expect(code(await sign('planner+payer', undefined, { amount: 10 }))).toBe('done');
    expect(code(await sign('planner+payer', undefined, { amount: 10.01 }))).toBe('authority_exceeded');
    const dpop = await host.daemon.request('POST', '/v1/agents/planner+payer/sign/dpop', {
      htm: 'POST',
      htu: 'https://api.example/x',
    });
    expect(code(dpop)).toBe('unbound_parameters');
  });

  it('delegates in turn, five deep and more, and no deeper than it may', async () => {
    let parent = 'planner';
    for (let depth = 1; depth <= 6; depth += 1) {
      const made = await child(parent, { name: `d${depth}`, ...WIDE, expiresIn: 600 - depth, maxDepth: 6 });
      parent = made.agent.name;
      expect(made.chain).toHaveLength(depth + 1);
    }
    expect(code(await sign(parent))).toBe('done');
    expect(code(await delegate(parent, { name: 'd7', ...WIDE, expiresIn: 100 }))).toBe('delegation_refused');
  });

  it('ends with what is above it, at once', async () => {
    const first = await child('planner', { name: 'branch', ...WIDE });
    await child('planner+branch', { name: 'leaf', ...WIDE, expiresIn: 500 });
    expect(code(await sign('planner+branch+leaf'))).toBe('done');
    const revoked = await host.daemon.request('POST', `/v1/agents/${first.agent.id}/revoke`, {});
    expect(code(revoked)).toBe('done');
    expect(code(await sign('planner+branch+leaf'))).toBe('agent_not_found');
    expect(code(await sign('planner+branch'))).toBe('agent_not_found');
    expect(code(await sign('planner'))).toBe('done');
  });

  it('S15: is not what is left of a name: neither is made a second time', async () => {
    await child('planner', { name: 'once', ...WIDE });
    expect(code(await delegate('planner', { name: 'once', ...WIDE }))).toBe('name_in_use');
    await host.daemon.request('POST', '/v1/agents/planner+once/revoke', {});
    expect(code(await delegate('planner', { name: 'once', ...WIDE }))).toBe('name_in_use');
  });
});

describe('a batch', () => {
  it('of fifty is made as a whole, or not at all', async () => {
    const batch = Array.from({ length: 50 }, (_, index) => ({ name: `b${index}`, ...WIDE }));
    const refused = await delegate('planner', {
      batch: [...batch.slice(1), { name: 'b51', ...WIDE, maxDepth: 60 }],
    });
    expect(code(refused)).toBe('delegation_refused');
    const made = await delegate('planner', { batch });
    expect(made.status).toBe(201);
    const { results } = made.json as { results: readonly Child[] };
    expect(new Set(results.map(({ agent }) => agent.kid)).size).toBe(50);
    const signed = await Promise.all(results.map(({ agent }) => sign(agent.name)));
    expect(signed.map(code)).toEqual(Array.from({ length: 50 }, () => 'done'));
  });
});

describe('an ephemeral sub-agent', () => {
  it('ends with the connection that made it, key and all', async () => {
    const connection = new HttpAgent({ keepAlive: true, maxSockets: 1 });
    const made = await host.daemon.request(
      'POST',
      '/v1/agents/planner/delegations',
      { name: 'job', ...WIDE, ephemeral: true },
      { agent: connection },
    );
    expect(made.status).toBe(201);
    const { agent } = made.json as Child;
    expect(agent.name).toMatch(/^planner\+job-e\d+$/);
    expect(code(await sign(agent.name))).toBe('done');
    connection.destroy();
    await until(
      () => sign(agent.name),
      (answer) => code(answer) === 'agent_not_found',
    );
  });
});

describe('S6: what the grant gives', () => {
  it('changes for all below it when the issuer changes it', async () => {
    await child('planner', { name: 'late', ...WIDE });
    expect(code(await sign('planner+late'))).toBe('done');
    await host.approve({
      scopes: ['mail.*'],
      audiences: ['https://mail.example'],
      constraints: [],
      max_depth: 2,
      lifetime_seconds: 3600,
    });
    const renewed = await host.daemon.request('POST', '/v1/agents/planner/credentials', {});
    expect(renewed.status).toBe(200);
    expect(code(await sign('planner'))).toBe('authority_exceeded');
    expect(['authority_exceeded', 'delegation_revoked']).toContain(code(await sign('planner+late')));
  });
});

describe('S18: others learn of an end', () => {
  it('by the status list of the issuer: a revoked link, and the grant of a retired key', async () => {
    const wide = { scopes: ['*'], audiences: ['*'], constraints: [], max_depth: 4, lifetime_seconds: 3600 };
    await host.approve({ ...wide, status: true });
    await host.agent('worker');
    const made = await child('worker', { name: 'w', ...WIDE });
    const references = made.chain.map(
      (token) => (claims(token)['status'] as { status_list: { idx: number; uri: string } }).status_list,
    );
    expect(references).toHaveLength(2);
    expect(await revoked(references)).toEqual([false, false]);
    await host.daemon.request('POST', '/v1/agents/worker+w/revoke', {});
    await expect.poll(() => revoked(references)).toEqual([false, true]);
    const retired = await host.daemon.request('DELETE', '/v1/agents/worker');
    expect(code(retired)).toBe('done');
    await expect.poll(() => revoked(references)).toEqual([true, true]);
  });
});

/** What the issuer's lists say now; bit 0 of the list is the lowest of its first octet. */
async function revoked(references: readonly { idx: number; uri: string }[]): Promise<readonly boolean[]> {
  return Promise.all(
    references.map(async ({ idx, uri }) => {
      const answer = await host.issuer.connect().get(new URL(uri).pathname);
      const list = claims(answer.text)['status_list'] as { lst: string };
      const octets = inflateSync(Buffer.from(list.lst, 'base64url'));
      return ((octets[Math.floor(idx / 8)] ?? 0) & (1 << (idx % 8))) !== 0;
    }),
  );
}
