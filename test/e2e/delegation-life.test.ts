/** Sub-agents over their life, in TPM and token, as programs and resource servers meet them (S15, S18). */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type AgentHandle, type AgentKeyClient } from '../../src/client/index.ts';
import type { ReceivedRequest } from '../../src/verify/received-request.ts';
import {
  createVerifier,
  MemoryNonceStore,
  StatusLists,
  trustedKeys,
  type StatusListsOptions,
  type VerifiedRequest,
} from '../../src/verify/index.ts';
import { decodeJwt } from '../../src/wire/jws.ts';
import { codeOfAsync } from '../support/code-of.ts';
import { issuerJson, issuerPage } from '../support/issuer-web.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

const ORIGIN = 'https://api.example';
const WIDE = { scopes: ['*'], aud: ['*'], expiresIn: 900 } as const;

let sandbox: TestSandbox;
let client: AgentKeyClient;
let freshStatus: (more?: Partial<StatusListsOptions>) => StatusLists;
let verify: (request: ReceivedRequest) => Promise<VerifiedRequest>;

beforeAll(async () => {
  sandbox = await startSandbox();
  const { description } = sandbox;
  client = connect({ socketPath: description.socket });
  const keys = async (purpose: string) =>
    trustedKeys(await issuerJson(description, `/v1/keys/${purpose}.json`));
  const statusKeys = await keys('status');
  freshStatus = (more) =>
    new StatusLists({
      authorities: [{ prefix: `${description.issuerUrl}/v1/status/`, keys: statusKeys }],
      maxStatusAgeSeconds: 300,
      fetch: (uri) => issuerPage(description, uri),
      ...more,
    });
  const { issuer, trustDomain } = description;
  const verifier = createVerifier({
    origins: [ORIGIN],
    profiles: ['rfc9421'],
    credentials: { wit: { trustDomain, keys: await keys('wit') } },
    nonceStore: new MemoryNonceStore({ maxEntries: 1000 }),
    acceptSoftware: true,
    delegation: {
      roots: [{ issuer, trustDomain, keys: await keys('grant'), acceptDevelopment: true }],
      requiredScopes: ['payments.write'],
      costs: () => new Map(),
      get status() {
        return freshStatus();
      },
    },
  });
  verify = (request) => verifier.verify(request);
}, 180_000);
afterAll(async () => {
  client.close();
  await sandbox.remove();
}, 60_000);

/** A payment as the agent's own fetch would send it. */
async function payment(agent: AgentHandle, amount = 5): Promise<ReceivedRequest> {
  const body = JSON.stringify({ amount });
  let sent: ReceivedRequest | undefined;
  const spy: typeof fetch = (url, init) => {
    const headers = [...new Headers(init?.headers)];
    const { host, pathname } = new URL(url instanceof Request ? url.url : url);
    sent = {
      method: 'POST',
      url: pathname,
      headers: [['host', host], ['content-length', String(body.length)], ...headers],
      body: Buffer.from(body),
    };
    return Promise.resolve(new Response());
  };
  await agent.fetch({ fetch: spy })(`${ORIGIN}/payments`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (sent === undefined) throw new Error('nothing was sent');
  return sent;
}

/** Asks again while a link is being renewed, as the daemon says to. */
async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (thrown) {
      if (tries > 100 || (thrown as { code?: string }).code !== 'credential_unavailable') throw thrown;
      await delay(100);
    }
  }
}

const confirmed = (chain: readonly string[]): readonly unknown[] =>
  chain.map((token) => (decodeJwt(token).claims['cnf'] as { jkt?: string }).jkt);

const reference = (link: string | undefined): { idx: number; uri: string } =>
  (decodeJwt(link ?? '').claims['status'] as { status_list: { idx: number; uri: string } }).status_list;

/** Until the issuer's list says that the link was revoked. */
async function isPublished(link: string | undefined): Promise<void> {
  const ask = (): Promise<string | undefined> => codeOfAsync(() => freshStatus().check(reference(link)));
  for (let tries = 0; tries < 50 && (await ask()) === undefined; tries += 1) await delay(200);
  expect(await ask()).toBe('delegation_revoked');
}

describe.each(['tpm', 'pkcs11'] as const)('in a %s', { timeout: 120_000 }, (backend) => {
  let root: AgentHandle;
  beforeAll(async () => {
    root = await client.createAgent({ name: `root-${backend}`, backend });
    await root.renewCredentials();
  });

  it('six links deep, a request is verified offline, every agent named; none is deeper than may be', async () => {
    const line = [root];
    for (let depth = 1; depth <= 6; depth += 1) {
      const parent = line.at(-1) ?? root;
      const terms = { ...WIDE, expiresIn: 900 - depth, maxDepth: 6 };
      line.push(await parent.delegate({ name: `d${depth}`, ...terms }));
    }
    const leaf = line.at(-1) ?? root;
    const { delegation } = await verify(await payment(leaf));
    const { spiffeId } = leaf.view.identifiers;
    expect(delegation?.agents.map(({ clientId }) => clientId).at(-1)).toBe(spiffeId);
    expect(delegation?.agents).toHaveLength(7);
    expect(delegation?.principal).toMatch(/^uid:\d+@sandbox$/);
    const deeper = { name: 'd7', ...WIDE, expiresIn: 60 };
    expect(await codeOfAsync(() => leaf.delegate(deeper))).toBe('delegation_refused');
  });

  it('S18: a routinely rotated parent signs its links anew; agents below go on without being asked', async () => {
    const parent = await root.delegate({ name: 'turning', ...WIDE });
    const child = await parent.delegate({ name: 'w', ...WIDE, expiresIn: 800 });
    const before = await child.chain();
    const rotated = await parent.rotate();
    expect(rotated.kid).not.toBe(parent.kid);
    await expect
      .poll(async () => confirmed(await patiently(() => child.chain())), { timeout: 20_000 })
      .toEqual([root.kid, rotated.kid, child.kid]);
    const chain = await child.chain();
    expect(chain[0]).toBe(before[0]);
    expect(chain[2]).not.toBe(before[2]);
    await verify(await patiently(() => payment(child)));
  });

  it('S18: a rotated root agent gets a new grant, and all below it new links', async () => {
    const head = await client.createAgent({ name: `head-${backend}`, backend });
    await head.renewCredentials();
    const parent = await head.delegate({ name: 'p', ...WIDE });
    const child = await parent.delegate({ name: 'c', ...WIDE, expiresIn: 800 });
    const rotated = await head.rotate({ reason: 'routine' });
    await rotated.renewCredentials();
    await expect
      .poll(async () => confirmed(await patiently(() => child.chain())), { timeout: 20_000 })
      .toEqual([rotated.kid, parent.kid, child.kid]);
    await verify(await patiently(() => payment(child)));
  });

  it('S18: a compromised parent ends what is below it at once, and its old link for everybody', async () => {
    const parent = await root.delegate({ name: 'stolen', ...WIDE });
    const child = await parent.delegate({ name: 'w', ...WIDE, expiresIn: 800 });
    const byThief = await payment(parent);
    const byChild = await payment(child);
    const [, old] = await parent.chain();
    const rotated = await parent.rotate({ reason: 'compromise' });
    expect(await codeOfAsync(() => payment(child))).toBe('agent_not_found');
    await isPublished(old);
    expect(await codeOfAsync(() => verify(byThief))).toBe('delegation_revoked');
    expect(await codeOfAsync(() => verify(byChild))).toBe('delegation_revoked');
    const [, fresh] = await patiently(() => rotated.chain());
    expect(reference(fresh)).not.toEqual(reference(old));
    await verify(await patiently(() => payment(rotated)));
  });

  it('S18: an end reaches a server that asks for status, and one whose copy is older than declared refuses', async () => {
    const made = await root.delegate({ name: 'ending', ...WIDE });
    const early = await payment(made);
    const late = await payment(made);
    await verify(early);
    const [, link] = await made.chain();
    await made.revoke();
    await isPublished(link);
    expect(await codeOfAsync(() => verify(late))).toBe('delegation_revoked');
    // A copy as old as was declared is not used any more, whatever it says; without a newer one nothing is.
    const other = await root.delegate({ name: 'lasting', ...WIDE });
    const [, valid] = await other.chain();
    let ahead = 0;
    const kept = freshStatus({ clock: () => Date.now() + ahead });
    await kept.check(reference(valid));
    ahead = 301_000;
    expect(await codeOfAsync(() => kept.check(reference(valid)))).toBe('status_unavailable');
  });

  it('S15: an ephemeral one is made, attested, signs and ends in its connection', async () => {
    const job = await root.delegateEphemeral({ name: 'job', ...WIDE });
    const { wit, assurance } = await job.renewCredentials();
    expect(assurance).toBe('software');
    const { cnf, sub } = decodeJwt(wit ?? '').claims as { cnf: { jwk: object }; sub: string };
    expect(cnf.jwk).toEqual(job.publicJwk);
    expect(sub).toBe(job.view.identifiers.spiffeId);
    const { agent } = await verify(await payment(job));
    expect(agent.thumbprint).toBe(job.kid);
    await job.close();
    expect(await codeOfAsync(() => payment(job))).toBe('agent_not_found');
  });
});
