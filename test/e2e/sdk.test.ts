/** `agentkeyd/client` against a daemon with a TPM, a token and an issuer, and a server that verifies. */
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { calculateJwkThumbprint } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type AgentHandle, type AgentKeyClient } from '../../src/client/index.ts';
import { codeOfAsync } from '../support/code-of.ts';
import { startEchoServer, type Echo, type EchoServer } from '../support/echo-server.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

const MIB = 1024 * 1024;

let sandbox: TestSandbox;
let client: AgentKeyClient;
let server: EchoServer;
let tpm: AgentHandle;
let hsm: AgentHandle;

beforeAll(async () => {
  sandbox = await startSandbox();
  client = connect({ socketPath: sandbox.description.socket });
  server = await startEchoServer(sandbox.description);
  tpm = await client.createAgent({ name: 'planner', backend: 'tpm' });
  hsm = await client.createAgent({ name: 'payer', backend: 'pkcs11', algorithm: 'Ed25519' });
}, 180_000);
afterAll(async () => {
  client.close();
  server.close();
  await sandbox.remove();
}, 60_000);

async function echoed(response: Response): Promise<Echo> {
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text) as Echo;
}

function sha256(octets: Uint8Array | string): string {
  return createHash('sha256').update(octets).digest('hex');
}

describe('agents', () => {
  it('are made, listed, found by name and id, and known by their thumbprint', async () => {
    for (const agent of [tpm, hsm]) {
      expect(agent.kid).toBe(await calculateJwkThumbprint({ ...agent.publicJwk }));
      expect((await client.agent(agent.name)).id).toBe(agent.id);
      expect((await client.agent(agent.id)).name).toBe(agent.name);
    }
    const names = (await client.listAgents()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['planner', 'payer']));
    expect(await client.status()).toMatchObject({ state: 'ready', host: { state: 'enrolled' } });
  });

  it('are made once under one idempotency key', async () => {
    const request = { name: 'once', backend: 'pkcs11', idempotencyKey: 'k-1' } as const;
    const first = await client.createAgent(request);
    expect((await client.createAgent(request)).id).toBe(first.id);
    expect(await codeOfAsync(() => client.createAgent({ name: 'once', backend: 'pkcs11' }))).toBe(
      'name_in_use',
    );
    expect(await codeOfAsync(() => client.createAgent({ ...request, name: 'other' }))).toBe(
      'idempotency_mismatch',
    );
  });

  it('S15: retiring says what was erased, on each backend in its own words', async () => {
    for (const [backend, erased, words] of [
      ['tpm', 'local-copies', /^The key's blob and salt were erased here\. .*TPM2_Clear/],
      ['pkcs11', 'hardware', /token/],
    ] as const) {
      const agent = await client.createAgent({ name: `leaver-${backend}`, backend });
      const retirement = await agent.retire();
      expect(retirement.erased).toBe(erased);
      expect(retirement.statement).toMatch(words);
      expect(await codeOfAsync(() => agent.signJwt('order+jwt', {}))).toBe('agent_not_found');
      expect(await codeOfAsync(() => agent.fetch()(server.origin))).toBe('agent_not_found');
      expect(await codeOfAsync(() => client.agent(agent.name))).toBe('agent_not_found');
      expect(await codeOfAsync(() => client.createAgent({ name: agent.name, backend }))).toBe('name_in_use');
    }
  });
});

describe('agent.fetch', () => {
  it('works at once after creation, in both profiles and on both backends', async () => {
    for (const backend of ['tpm', 'pkcs11'] as const) {
      for (const profile of ['rfc9421', 'aauth'] as const) {
        const agent = await client.createAgent({ name: `new-${backend}-${profile}`, backend });
        const answer = await agent.fetch({ profile })(`${server.origin}/hello?a=1&b=%20`);
        const { identifiers } = agent.view;
        expect(await echoed(answer)).toMatchObject({
          method: 'GET',
          url: '/hello?a=1&b=%20',
          length: 0,
          thumbprint: agent.kid,
          profile,
          agent: profile === 'aauth' ? identifiers.aauthId : identifiers.spiffeId,
        });
      }
    }
  });

  it.each(['rfc9421', 'aauth'] as const)(
    'takes every kind of body that fetch takes (%s)',
    async (profile) => {
      const post = async (body: BodyInit, init: RequestInit = {}): Promise<Echo> =>
        echoed(await tpm.fetch({ profile })(`${server.origin}/in`, { method: 'POST', body, ...init }));

      const json = '{"to":"ACME","amount":"30.00"}';
      expect(await post(json, { headers: { 'content-type': 'application/json' } })).toMatchObject({
        text: json,
        contentType: 'application/json',
      });
      expect(await post(new URLSearchParams({ a: '1 2' }))).toMatchObject({
        text: 'a=1+2',
        contentType: 'application/x-www-form-urlencoded;charset=UTF-8',
      });
      const octets = randomBytes(70_000);
      expect(await post(octets)).toMatchObject({ sha256: sha256(octets), contentType: null });
      expect(await post(new Blob([octets], { type: 'image/png' }))).toMatchObject({
        sha256: sha256(octets),
        contentType: 'image/png',
      });
      expect(await post('')).toMatchObject({ length: 0, sha256: sha256('') });

      const form = new FormData();
      form.set('note', 'grüße');
      form.set('file', new Blob([octets]), 'a.bin');
      const sent = await post(form);
      expect(sent.contentType).toMatch(/^multipart\/form-data; ?boundary=/);
      expect(sent.length).toBeGreaterThan(70_000);

      const stream = new ReadableStream<Uint8Array>({
        async start(controller) {
          for (const part of ['one,', 'two,', 'three']) {
            await delay(5);
            controller.enqueue(new TextEncoder().encode(part));
          }
          controller.close();
        },
      });
      expect(await post(stream, { duplex: 'half' } as RequestInit)).toMatchObject({ text: 'one,two,three' });

      const request = new Request(`${server.origin}/request`, { method: 'PUT', body: 'from a Request' });
      expect(await echoed(await tpm.fetch({ profile })(request))).toMatchObject({
        method: 'PUT',
        url: '/request',
        text: 'from a Request',
      });
    },
  );

  it('carries a body of exactly 1 MiB, and refuses one octet more before anything is sent', async () => {
    const body = randomBytes(MIB);
    const sent = await echoed(await hsm.fetch()(`${server.origin}/big`, { method: 'POST', body }));
    expect(sent).toMatchObject({ length: MIB, sha256: sha256(body) });

    const before = server.requests;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(65_536));
      },
    });
    for (const tooLong of [new Uint8Array(MIB + 1), endless]) {
      const init = { method: 'POST', body: tooLong, duplex: 'half' } as RequestInit;
      expect(await codeOfAsync(() => hsm.fetch()(`${server.origin}/big`, init))).toBe('body_too_large');
    }
    expect(server.requests).toBe(before);
  });

  it('signs redirects within the origin anew, and follows none out of it (S5)', async () => {
    const to = (status: number, url: string): string =>
      `${server.origin}/to/${status}?${encodeURIComponent(url)}`;
    const init = { method: 'POST', body: 'x' };
    expect(await echoed(await tpm.fetch()(to(303, '/next'), init))).toMatchObject({
      method: 'GET',
      length: 0,
    });
    expect(await echoed(await tpm.fetch()(to(307, '/next'), init))).toMatchObject({
      method: 'POST',
      text: 'x',
    });
    const before = server.requests;
    expect(await codeOfAsync(() => tpm.fetch()(to(307, 'http://evil.example/'), init))).toBe(
      'verification_failed',
    );
    expect(server.requests).toBe(before + 1);
    expect((await tpm.fetch()(to(307, '/next'), { ...init, redirect: 'manual' })).status).toBe(307);
  });

  it('neither signs nor sends a fragment', async () => {
    expect(await echoed(await tpm.fetch()(`${server.origin}/page?x=1#here`))).toMatchObject({
      url: '/page?x=1',
    });
  });

  it('ends with the reason of its signal: before signing, and while the server thinks', async () => {
    const reason = new Error('enough');
    const before = server.requests;
    await expect(tpm.fetch()(`${server.origin}/a`, { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    expect(server.requests).toBe(before);
    const controller = new AbortController();
    const pending = tpm.fetch()(`${server.origin}/slow`, { signal: controller.signal });
    await expect.poll(() => server.requests, { timeout: 10_000 }).toBe(before + 1);
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
    await expect(
      tpm.fetch()(`${server.origin}/slow`, { signal: AbortSignal.timeout(500) }),
    ).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });

  it('leaves a WIT of the caller’s own alone, which the daemon refuses where it is another key’s', async () => {
    const wit = (await hsm.credentials()).wit ?? '';
    const headers = { 'Workload-Identity-Token': wit };
    expect((await echoed(await hsm.fetch()(`${server.origin}/own`, { headers }))).thumbprint).toBe(hsm.kid);
    expect(await codeOfAsync(() => tpm.fetch()(`${server.origin}/own`, { headers }))).toBe('token_not_bound');
  });

  it.each(['tpm', 'pkcs11'] as const)(
    'goes on after rotation, by whomever, with the new key’s WIT (%s)',
    async (backend) => {
      const first = await client.createAgent({ name: `turner-${backend}`, backend });
      const [wit, aauth] = [first.fetch(), first.fetch({ profile: 'aauth' })];
      const url = `${server.origin}/turn`;
      expect((await echoed(await wit(url))).thumbprint).toBe(first.kid);

      const second = await first.rotate({ reason: 'compromise' });
      expect(second).toMatchObject({ id: first.id, name: first.name });
      expect(second.kid).not.toBe(first.kid);
      // The old handle remembers the old WIT; the daemon refuses it beside the new key, and it asks anew.
      expect((await echoed(await wit(url))).thumbprint).toBe(second.kid);
      expect((await echoed(await aauth(url))).thumbprint).toBe(second.kid);

      const elsewhere = connect({ socketPath: sandbox.description.socket });
      const third = await (await elsewhere.agent(first.id)).rotate();
      elsewhere.close();
      expect((await echoed(await aauth(url))).thumbprint).toBe(third.kid);
      expect((await echoed(await second.fetch()(url))).thumbprint).toBe(third.kid);
      const many = await Promise.all(Array.from({ length: 16 }, () => wit(url)));
      for (const answer of many) expect((await echoed(answer)).thumbprint).toBe(third.kid);
    },
  );

  it('hands the signing over to a fetch of the caller’s choice, with headers of his own', async () => {
    let sent: Headers | undefined;
    const spy: typeof fetch = (_url, init) => {
      sent = new Headers(init?.headers);
      return Promise.resolve(new Response('ok'));
    };
    const attach = (): Promise<Record<string, string>> => Promise.resolve({ 'x-trace': 't-1' });
    await tpm.fetch({ fetch: spy, attach })('https://api.example/a', { headers: { accept: 'text/plain' } });
    expect(sent?.get('x-trace')).toBe('t-1');
    expect(sent?.get('accept')).toBe('text/plain');
    expect(sent?.has('workload-identity-token')).toBe(false);
    expect(sent?.get('signature-input')).toContain(`keyid="${tpm.kid}"`);
  });
});

describe('errors', () => {
  it('carry the code to branch on', async () => {
    const message = { profile: 'rfc9421', method: 'GET', targetUri: 'https://api.example/' } as const;
    const cases: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['agent_not_found', () => client.agent('nobody')],
      ['invalid_name', () => client.agent('../../status')],
      ['invalid_name', () => client.createAgent({ name: 'Not Allowed', backend: 'tpm' })],
      ['type_reserved', () => tpm.signJwt('wit+jwt', {})],
      ['claim_reserved', () => tpm.signJwt('order+jwt', { cnf: {} })],
      ['raw_signing_off', () => tpm.signRaw(Buffer.from('x'))],
      [
        'invalid_target_uri',
        () => tpm.signHttpMessage({ ...message, targetUri: 'https://api.example/a/../b' }),
      ],
      [
        'issuer_authority',
        () => tpm.signHttpMessage({ ...message, targetUri: `${sandbox.description.issuerUrl}/v1/issue` }),
      ],
      ['invalid_header', () => tpm.signHttpMessage({ ...message, headers: [['signature', 'x']] })],
      ['malformed_request', () => client.call('POST', '/v1/agents', { name: 'x', backend: 'cloud' })],
      ['not_found', () => client.call('GET', '/v1/nothing')],
      ['not_found', () => client.call('POST', `/v1/agents/${tpm.id}/export-tss2`, {})],
    ];
    for (const [code, act] of cases) expect(await codeOfAsync(act), String(act)).toBe(code);
    await expect(client.call('POST', '/v1/agents', { name: 1, nope: 1 })).rejects.toMatchObject({
      faults: expect.arrayContaining([
        expect.stringContaining('name'),
        expect.stringContaining('nope'),
      ]) as string[],
    });
  });

  it('tell an absent daemon from a slow one', async () => {
    const nobody = connect({ socketPath: '/nonexistent/agentkeyd.sock' });
    expect(await codeOfAsync(() => nobody.status())).toBe('daemon_unreachable');
    const path = join(sandbox.dir, 'mute');
    const mute = createServer();
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    const slow = connect({ socketPath: path, timeoutMs: 200 });
    try {
      expect(await codeOfAsync(() => slow.status())).toBe('deadline_exceeded');
    } finally {
      slow.close();
      mute.close();
    }
  });
});
