import { describe, expect, it } from 'vitest';
import type { Agent } from '../../../src/signing/agent.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { caller, credentialsFor, signingFixture, SoftwareBackend } from '../../support/signing-fixture.ts';

const ADMIN = caller({ uid: 0, ingress: { kind: 'admin' } });
const POLICY = {
  create: [{ uids: [1000, 1001], names: ['*'] }],
  roles: { operate: [{ uids: [0] }] },
};
const request = (name: string) => ({ name, backend: 'pkcs11', algorithm: 'ES256' }) as const;

describe('create', () => {
  it('makes a key in hardware and an agent that its owner owns', async () => {
    const created: Agent[] = [];
    const { service, recorder } = signingFixture({
      policy: POLICY,
      hooks: { created: (agent) => created.push(agent) },
    });
    const view = await service.create(caller(), { name: 'planner', backend: 'pkcs11' });
    expect(view).toMatchObject({
      name: 'planner',
      backend: 'pkcs11',
      algorithm: 'ES256',
      ownerUid: 1000,
      assurance: 'software',
      createdAt: '2027-01-15T08:00:00.500Z',
      identifiers: {
        spiffeId: 'spiffe://agents.example/agent/host1/planner',
        aauthId: 'aauth:host1.planner@agents.example',
      },
    });
    expect(view.kid).toMatch(/^[\w-]{43}$/);
    expect(created.map(({ id }) => id)).toEqual([view.id]);
    expect(recorder.decisions.at(-1)).toMatchObject({
      action: 'agent-create',
      decision: { effect: 'permit' },
    });
    expect(recorder.outcomes).toEqual([{ effect: 'done' }]);
  });

  it.each(['Planner', 'a+b', '', '../x', 'a'.repeat(64), '-a', 'a b'])(
    'the name %j is refused',
    async (name) => {
      const { service } = signingFixture({ policy: POLICY });
      expect(await codeOfAsync(() => service.create(caller(), request(name)))).toBe('invalid_name');
    },
  );

  it('S6: a name is never given twice, not even after retirement', async () => {
    const { service } = signingFixture({ policy: POLICY });
    await service.create(caller(), request('planner'));
    expect(await codeOfAsync(() => service.create(caller(), request('planner')))).toBe('name_in_use');
    await service.retire(caller(), 'planner');
    expect(await codeOfAsync(() => service.create(caller(), request('planner')))).toBe('name_in_use');
  });

  it('a name whose key could not be made is given back, and nothing is left in hardware', async () => {
    const backend = new SoftwareBackend();
    const { service, agents } = signingFixture({ policy: POLICY, backend });
    backend.before = () => Promise.reject(new KeydError('tpm_lockout', 'locked'));
    expect(await codeOfAsync(() => service.create(caller(), request('planner')))).toBe('tpm_lockout');
    expect(agents.list()).toEqual([]);
    backend.before = () => Promise.resolve();
    await service.create(caller(), request('planner'));
    expect(backend.keys.size).toBe(1);
  });

  it('a key that comes after the deadline is destroyed and nobody owns it', async () => {
    const backend = new SoftwareBackend();
    const { service, agents } = signingFixture({ policy: POLICY, backend, deadlineMs: 30 });
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    backend.before = () => gate;
    const destroyed = new Promise<void>((resolve) => {
      const destroy = backend.destroy.bind(backend);
      backend.destroy = async (keyId) => {
        const erasure = await destroy(keyId);
        resolve();
        return erasure;
      };
    });
    expect(await codeOfAsync(() => service.create(caller(), request('planner')))).toBe('deadline_exceeded');
    open();
    await destroyed;
    expect(backend.keys.size).toBe(0);
    expect(agents.list()).toEqual([]);
    await service.create(caller(), request('planner'));
  });

  it('only what the backend makes', async () => {
    const backend = new SoftwareBackend();
    backend.description = { algorithms: ['ES256'] };
    const { service } = signingFixture({ policy: POLICY, backend });
    expect(await codeOfAsync(() => service.create(caller(), { ...request('a'), algorithm: 'RS256' }))).toBe(
      'unsupported_algorithm',
    );
    expect(await codeOfAsync(() => service.create(caller(), { ...request('a'), backend: 'tpm' }))).toBe(
      'backend_unavailable',
    );
    expect(await codeOfAsync(() => service.create(caller(), request('a')))).toBeUndefined();
  });

  it('S20: an owner has a bounded number of agents', async () => {
    const { service } = signingFixture({ policy: POLICY, maxAgentsPerOwner: 2 });
    await service.create(caller(), request('a'));
    await service.create(caller(), request('b'));
    expect(await codeOfAsync(() => service.create(caller(), request('c')))).toBe('too_many_requests');
    await service.create(caller({ uid: 1001 }), request('c'));
    await service.retire(caller(), 'a');
    await service.create(caller(), request('d'));
  });
});

it('S20: the bound holds for agents that are made at the same time', async () => {
  const { service, agents } = signingFixture({ policy: POLICY, maxAgentsPerOwner: 2 });
  const codes = await Promise.all(
    ['a', 'b', 'c', 'd'].map((name) => codeOfAsync(() => service.create(caller(), request(name)))),
  );
  expect(codes.filter((code) => code === 'too_many_requests')).toHaveLength(2);
  expect(agents.list()).toHaveLength(2);
  // A name that is taken gives its place back.
  await service.retire(caller(), 'a').catch(() => service.retire(caller(), 'b'));
  expect(await codeOfAsync(() => service.create(caller(), request('a')))).toBe('name_in_use');
  await service.create(caller(), request('e'));
});

describe('list and show', () => {
  it('show a caller its own agents only, and an operator all', async () => {
    const { service } = signingFixture({ policy: POLICY });
    await service.create(caller(), request('a'));
    await service.create(caller({ uid: 1001 }), request('b'));
    const names = async (who = caller()) => (await service.list(who)).map(({ name }) => name);
    expect(await names()).toEqual(['a']);
    expect(await names(caller({ uid: 1001 }))).toEqual(['b']);
    expect(await names(caller({ uid: 0 }))).toEqual([]);
    expect(await names(ADMIN)).toEqual(['a', 'b']);
    expect(await names(caller({ ingress: { kind: 'agent', agentName: 'b' } }))).toEqual([]);
    expect(await codeOfAsync(() => service.show(caller(), 'b'))).toBe('policy_denied');
    expect(await codeOfAsync(() => service.show(caller(), 'c'))).toBe('agent_not_found');
    expect((await service.show(ADMIN, 'b')).ownerUid).toBe(1001);
  });

  it('show agents whose backend has left the configuration', async () => {
    const { service, agents } = signingFixture({ policy: POLICY });
    await service.create(caller(), request('a'));
    const [here] = agents.list();
    if (here === undefined) throw new Error('the agent was not kept');
    agents.reserveName('gone-1', 'b', 1000);
    agents.add({ ...here, id: 'gone-1', name: 'b', backend: 'tpm', keyId: 'k' });
    expect((await service.list(caller())).map(({ name, assurance }) => [name, assurance])).toEqual([
      ['a', 'software'],
      ['b', 'software'],
    ]);
    expect((await service.show(caller(), 'b')).assuranceReason).toContain('not configured');
    expect(await codeOfAsync(() => service.retire(caller(), 'b'))).toBe('backend_unavailable');
  });

  it('tell what the issuer has appraised, where it has', async () => {
    const { service } = signingFixture({ policy: POLICY, credentials: () => credentialsFor(60) });
    expect(await service.create(caller(), request('a'))).toMatchObject({ assurance: 'hw-key' });
  });
});

describe('rotate', () => {
  it('gives a new key, then destroys the old one', async () => {
    const backend = new SoftwareBackend();
    const told: [string, string][] = [];
    const { service } = signingFixture({
      policy: POLICY,
      backend,
      hooks: { rotated: (agent, previous) => told.push([agent.kid, previous.kid]) },
    });
    const before = await service.create(caller(), request('a'));
    const after = await service.rotate(caller(), 'a', {});
    expect(after.id).toBe(before.id);
    expect(after.kid).not.toBe(before.kid);
    expect([...backend.keys.values()].map(({ thumbprint }) => thumbprint)).toEqual([after.kid]);
    expect(told).toEqual([[after.kid, before.kid]]);
  });

  it('a failure leaves the old key in use', async () => {
    const backend = new SoftwareBackend();
    const { service } = signingFixture({ policy: POLICY, backend });
    const before = await service.create(caller(), request('a'));
    backend.before = () => Promise.reject(new KeydError('tpm_unavailable', 'gone'));
    expect(await codeOfAsync(() => service.rotate(caller(), 'a', { reason: 'compromise' }))).toBe(
      'tpm_unavailable',
    );
    expect((await service.show(caller(), 'a')).kid).toBe(before.kid);
    expect(backend.keys.size).toBe(1);
  });

  it('a key that comes after the deadline is destroyed, and the old one stays', async () => {
    const backend = new SoftwareBackend();
    const { service } = signingFixture({ policy: POLICY, backend, deadlineMs: 30 });
    const before = await service.create(caller(), request('a'));
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    backend.before = () => gate;
    expect(await codeOfAsync(() => service.rotate(caller(), 'a', {}))).toBe('deadline_exceeded');
    open();
    // The next rotation waits behind the late key.
    backend.before = () => Promise.resolve();
    const after = await service.rotate(caller(), 'a', {});
    expect([...backend.keys.values()].map(({ thumbprint }) => thumbprint)).toEqual([after.kid]);
    expect(after.kid).not.toBe(before.kid);
  });

  it('rotations and retirement of one agent follow one another', async () => {
    const backend = new SoftwareBackend();
    const { service } = signingFixture({ policy: POLICY, backend });
    await service.create(caller(), request('a'));
    const results = await Promise.all([
      codeOfAsync(() => service.rotate(caller(), 'a', {})),
      codeOfAsync(() => service.rotate(caller(), 'a', {})),
      codeOfAsync(() => service.retire(caller(), 'a')),
      codeOfAsync(() => service.rotate(caller(), 'a', {})),
    ]);
    expect(results).toEqual([undefined, undefined, undefined, 'agent_not_found']);
    expect(backend.keys.size).toBe(0);
  });
});

describe('retire', () => {
  it('S15: destroys the key and says what that erased', async () => {
    const backend = new SoftwareBackend();
    const { service, agents } = signingFixture({ policy: POLICY, backend });
    await service.create(caller(), request('a'));
    expect(await service.retire(caller(), 'a')).toEqual({ erased: 'hardware', statement: 'gone' });
    expect(backend.keys.size).toBe(0);
    expect(agents.find('a')).toBeUndefined();
  });

  it('hardware that is away changes nothing', async () => {
    const backend = new SoftwareBackend();
    const { service } = signingFixture({ policy: POLICY, backend });
    await service.create(caller(), request('a'));
    const destroy = backend.destroy.bind(backend);
    backend.destroy = () => Promise.reject(new KeydError('token_unavailable', 'unplugged'));
    expect(await codeOfAsync(() => service.retire(caller(), 'a'))).toBe('token_unavailable');
    backend.destroy = destroy;
    expect((await service.show(caller(), 'a')).name).toBe('a');
    await service.retire(caller(), 'a');
  });

  it('S6: not for another caller', async () => {
    const { service, recorder } = signingFixture({ policy: POLICY });
    await service.create(caller(), request('a'));
    expect(await codeOfAsync(() => service.retire(caller({ uid: 1001 }), 'a'))).toBe('policy_denied');
    expect(recorder.decisions.at(-1)).toMatchObject({ action: 'agent-retire', refusal: 'policy_denied' });
    await service.retire(ADMIN, 'a');
  });

  it('a hook that throws changes nothing', async () => {
    const { service } = signingFixture({
      policy: POLICY,
      hooks: {
        retired: () => {
          throw new Error('a hook');
        },
      },
    });
    await service.create(caller(), request('a'));
    await service.retire(caller(), 'a');
    expect(await service.list(caller())).toEqual([]);
  });
});

describe('export', () => {
  it('is for operators, and for keys that have a file', async () => {
    const { service } = signingFixture({ policy: POLICY });
    await service.create(caller(), request('a'));
    expect(await codeOfAsync(() => service.exportTss2(caller(), 'a'))).toBe('policy_denied');
    expect(await codeOfAsync(() => service.exportTss2(ADMIN, 'a'))).toBe('conflict');
    const tpm = signingFixture({ policy: POLICY, backend: new SoftwareBackend('tpm') });
    await tpm.service.create(caller(), { ...request('a'), backend: 'tpm' });
    expect(await codeOfAsync(() => tpm.service.exportTss2(ADMIN, 'a'))).toBe('key_not_found');
  });
});
