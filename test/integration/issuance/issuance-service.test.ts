import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseDelegationToken } from '../../../src/delegation/claims.ts';
import { jwkThumbprint } from '../../../src/wire/jwk.ts';
import { MemoryIssuanceStore, Scenario } from './scenario.ts';

let scenario: Scenario;

beforeAll(async () => {
  scenario = await Scenario.start();
}, 120_000);
afterAll(() => scenario.stop());
afterEach(() => {
  scenario.clockOffsetMs = 0;
  scenario.issuer.clockOffsetMs = 0;
  scenario.agents.length = 0;
});

describe('enrolment and issuance', () => {
  it('enrols the host, pins the issuer, and obtains credentials for exactly this key', async () => {
    const store = new MemoryIssuanceStore();
    const service = scenario.service(store);
    const standing = await service.attest();
    expect(standing).toMatchObject({ assurance: 'software', developmentPolicy: 'sandbox' });
    expect(service.identity()).toMatchObject({ label: 'node-1', namePatterns: ['pay-*'] });
    expect(store.record?.issuer.keys.challenge.alg).toBe('ES256');

    const agent = await scenario.agent('pay-first');
    const { issued } = await service.obtain(agent);
    expect(issued.spiffeId).toBe('spiffe://sandbox.test/agent/node-1/pay-first');
    const leaf = new X509Certificate(issued.x509?.[0] ?? '');
    expect(leaf.publicKey.export({ format: 'jwk' })).toMatchObject({ kty: 'EC' });
    expect(service.credentials(agent)?.kid).toBe(agent.kid);
    const { claims } = parseDelegationToken(issued.grant ?? '', true);
    expect(claims).toMatchObject({ client_id: issued.spiffeId, cnf: { jkt: agent.kid } });
  });

  it('S2: keeps nothing that comes with a grant by another key than the pinned one', async () => {
    const store = new MemoryIssuanceStore();
    const service = scenario.service(store);
    await service.attest();
    const host = store.record;
    if (host === undefined) throw new Error('no host record');
    const { issuer } = host;
    store.record = { ...host, issuer: { ...issuer, keys: { ...issuer.keys, grant: issuer.keys.status } } };
    const agent = await scenario.agent('pay-regranted');
    await expect(service.obtain(agent)).rejects.toMatchObject({
      code: 'issuer_refused',
      message: expect.stringContaining('grant') as string,
    });
    expect(store.issued.size).toBe(0);
  });

  it('keeps the host keys it has, and re-attests instead of enrolling again', async () => {
    const store = new MemoryIssuanceStore();
    const service = scenario.service(store);
    await service.attest();
    const { hostKeyId, auditKeyId } = store.record ?? {};
    const logged = scenario.issuer.log.length;
    await service.attest();
    expect(store.record).toMatchObject({ hostKeyId, auditKeyId });
    const lines = scenario.issuer.log.slice(logged).join('');
    expect(lines).toContain('/v1/attest/challenge');
    expect(lines).not.toContain('/v1/attest/enroll');
  });

  it('says not_enrolled where nobody has enrolled', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    const agent = await scenario.agent('pay-early');
    await expect(service.obtain(agent)).rejects.toMatchObject({ code: 'not_enrolled' });
    expect(service.renewalFault(agent.id)?.code).toBe('not_enrolled');
  });

  it('enrols again by itself where the issuer has forgotten the host', async () => {
    const store = new MemoryIssuanceStore();
    const service = scenario.service(store);
    await service.attest();
    const host = store.record;
    if (host === undefined) throw new Error('no host record');
    // The issuer knows another host key for this AK now.
    const other = new MemoryIssuanceStore();
    await scenario.service(other).attest();
    store.record = { ...host, standing: { ...host.standing, akId: `000b${'00'.repeat(32)}` } };
    const standing = await service.attest();
    expect(standing.akId).toBe(host.standing.akId);
  });

  it('refuses a name outside the host’s approval, with the issuer’s reason', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const agent = await scenario.agent('admin');
    await expect(service.obtain(agent)).rejects.toMatchObject({ code: 'issuer_refused' });
  });

  it('does not serve credentials of an earlier key, nor expired ones', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const agent = await scenario.agent('pay-rotated');
    await service.obtain(agent);
    const rotated = await scenario.agent(agent.name, agent.id);
    expect(service.credentials(rotated)).toBeUndefined();
    expect(service.credentials(agent)).toBeDefined();
    scenario.clockOffsetMs = 3_700_000;
    expect(service.credentials(agent)).toBeUndefined();
  });
});

describe('a sub-agent', () => {
  it('gets credentials by the chain that its parent’s key signed, and none before there is one', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const parent = await scenario.agent('pay-parent');
    const { grant } = (await service.obtain(parent)).issued;
    const child = await scenario.agent('pay-parent+w1');
    await expect(service.obtain(child)).rejects.toMatchObject({ code: 'credential_unavailable' });
    scenario.chains.set(child.id, await scenario.delegate([grant ?? ''], parent, child));
    const { issued } = await service.obtain(child);
    expect(issued.spiffeId).toBe('spiffe://sandbox.test/agent/node-1/pay-parent/w1');
    expect(issued).not.toHaveProperty('grant');
    expect(service.credentials(child)?.kid).toBe(child.kid);
  });

  it('S18: gets none for a key that replaced the one in its chain', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const parent = await scenario.agent('pay-parent-2');
    const { grant } = (await service.obtain(parent)).issued;
    const child = await scenario.agent('pay-parent-2+w1');
    scenario.chains.set(child.id, await scenario.delegate([grant ?? ''], parent, child));
    const replaced = await scenario.agent(child.name, child.id);
    await expect(service.obtain(replaced)).rejects.toMatchObject({
      code: 'issuer_refused',
      message: expect.stringContaining('another key') as string,
    });
  });
});

describe('S18: indices of status lists', () => {
  it('are the host’s to ask for and to revoke, more than one request takes, while renewals are under way', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const indices = service.statusIndices();
    const renewal = service.attest();
    const given = await indices.allocate(130);
    expect(new Set(given.map(({ idx }) => idx)).size).toBe(130);
    expect(given[0]?.uri).toBe(`${scenario.url}/v1/status/1`);
    await indices.revoke(given);
    await indices.revoke(given.slice(0, 2));
    await renewal;
  });

  it('say not_enrolled, issuer_unavailable and issuer_refused', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await expect(service.statusIndices().allocate(1)).rejects.toMatchObject({ code: 'not_enrolled' });
    const store = new MemoryIssuanceStore();
    await scenario.service(store).attest();
    const endpoint = { url: 'https://localhost:1', ca: scenario.issuer.tlsCa, timeoutMs: 2_000 };
    const down = scenario.service(store, { endpoint });
    await expect(down.statusIndices().allocate(1)).rejects.toMatchObject({ code: 'issuer_unavailable' });
    const elsewhere = [{ idx: 1, uri: 'https://other.example/v1/status/1' }];
    await expect(scenario.service(store).statusIndices().revoke(elsewhere)).rejects.toMatchObject({
      code: 'issuer_refused',
    });
  });
});

describe('S1: an agent whose key signs raw octets', () => {
  it('asks for a certificate only, and loses the tokens it had before', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    await service.attest();
    const agent = await scenario.agent('pay-raw');
    expect((await service.obtain(agent)).issued.wit).toBeDefined();
    scenario.rawSigners.add(agent.name);
    expect(service.credentials(agent)).toBeUndefined();
    const { issued } = await service.obtain(agent);
    expect(issued).not.toHaveProperty('wit');
    expect(issued).not.toHaveProperty('agentToken');
    expect(issued).not.toHaveProperty('grant');
    expect(issued.x509).toHaveLength(1);
    expect(service.credentials(agent)).toBeDefined();
  });
});

describe('keeping fresh', () => {
  it('attests and fetches what is missing at start, and again when woken', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    const first = await scenario.agent('pay-loop-1');
    scenario.agents.push(first);
    service.start();
    await expect.poll(() => service.credentials(first)?.kid, { timeout: 20_000 }).toBe(first.kid);
    const second = await scenario.agent('pay-loop-2');
    scenario.agents.push(second);
    service.wake();
    await expect.poll(() => service.credentials(second)?.kid, { timeout: 20_000 }).toBe(second.kid);
    await service.stop();
  });

  it('renews at two thirds of a credential’s life, before it expires', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    const agent = await scenario.agent('pay-renewed');
    scenario.agents.push(agent);
    await service.attest();
    const before = (await service.obtain(agent)).issued;
    const life = before.expiresAtSeconds - Date.now() / 1000;
    expect(before.renewAtSeconds - Date.now() / 1000).toBeLessThan(life * 0.7);
    scenario.clockOffsetMs = before.renewAtSeconds * 1000 - Date.now() + 1000;
    scenario.issuer.clockOffsetMs = scenario.clockOffsetMs;
    service.start();
    await expect
      .poll(() => service.credentials(agent)?.issued.expiresAtSeconds, { timeout: 20_000 })
      .toBeGreaterThan(before.expiresAtSeconds);
    await service.stop();
  });

  it('serves what it has while the issuer is down, names the fault, and recovers', async () => {
    const service = scenario.service(new MemoryIssuanceStore());
    const agent = await scenario.agent('pay-outage');
    await service.attest();
    await service.obtain(agent);
    const down = scenario.service(new MemoryIssuanceStore(), {
      endpoint: { url: 'https://localhost:1', ca: scenario.issuer.tlsCa, timeoutMs: 2_000 },
    });
    await expect(down.attest()).rejects.toMatchObject({ code: 'issuer_unavailable' });
    expect(down.attestationFault()?.code).toBe('issuer_unavailable');
    expect(service.credentials(agent)).toBeDefined();
    await service.attest();
    expect(service.attestationFault()).toBeUndefined();
  });
});

describe('S9: one meaning, one connection, one issuer', () => {
  it('refuses an issuer whose challenge key is not the pinned one, before anything is attested', async () => {
    const store = new MemoryIssuanceStore();
    await scenario.service(store).attest();
    const pinned = store.record?.issuer.keys.challenge;
    if (pinned === undefined) throw new Error('nothing was pinned');
    const strict = scenario.service(store, { challengeKeyThumbprint: 'A'.repeat(43) });
    await expect(strict.enrol()).rejects.toMatchObject({ code: 'issuer_refused' });
    const right = scenario.service(store, { challengeKeyThumbprint: jwkThumbprint(pinned) });
    await expect(right.enrol()).resolves.toBeDefined();
  });

  it('refuses to be downgraded to zeros where the exporter is configured', async () => {
    const store = new MemoryIssuanceStore();
    const proxied = scenario.service(store, { channelBinding: 'proxied' });
    await expect(proxied.attest()).rejects.toMatchObject({ code: 'issuer_refused' });
    expect(store.record).toBeUndefined();
  });

  it('a middleman who ends TLS with a trusted certificate relays evidence that the issuer refuses', async () => {
    const tls = join(dirname(scenario.issuer.sandbox.caFile));
    const middle = createTlsServer(
      { key: await readFile(join(tls, 'server.key')), cert: await readFile(join(tls, 'server.pem')) },
      (from) => {
        const to = connect({ host: 'localhost', port: scenario.issuer.port, ca: scenario.issuer.tlsCa });
        const end = (): void => {
          from.destroy();
          to.destroy();
        };
        for (const socket of [from, to] as readonly TLSSocket[]) socket.on('error', end).on('close', end);
        from.pipe(to);
        to.pipe(from);
      },
    );
    await new Promise<void>((resolve) => middle.listen(0, 'localhost', resolve));
    const address = middle.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const store = new MemoryIssuanceStore();
    const relayed = scenario.service(store, {
      endpoint: { url: `https://localhost:${port}`, ca: scenario.issuer.tlsCa, timeoutMs: 10_000 },
    });
    await expect(relayed.attest()).rejects.toMatchObject({
      code: 'issuer_refused',
      message: expect.stringContaining('check 14') as string,
    });
    expect(store.record).toBeUndefined();
    middle.close();
  });
});
