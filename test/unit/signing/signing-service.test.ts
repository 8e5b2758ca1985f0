import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Grant } from '../../../src/policy/authorize.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';
import {
  caller,
  NOW_MS,
  rules,
  signingFixture,
  SoftwareBackend,
  stay,
  engine,
} from '../../support/signing-fixture.ts';

const CREATE = { create: [{ uids: [1000], names: ['*'] }], jwt_types: ['*'] };
const JWT = { typ: 'order+jwt', claims: {} };

/** A backend that waits until it is let go. */
function gated() {
  const backend = new SoftwareBackend();
  const fixture = signingFixture({ backend, policy: CREATE });
  let open: () => void = () => undefined;
  const hold = (): void => {
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    backend.before = () => gate;
  };
  return {
    ...fixture,
    backend,
    hold,
    release: () => {
      open();
    },
  };
}

/** Until the operation stands in the queue or runs. */
const settle = (): Promise<void> => sleep(5);

describe('from request to signature', () => {
  it('finds the agent by id and by name', async () => {
    const { signing, agent } = signingFixture();
    const { id } = await agent('planner');
    for (const name of [id, 'planner']) {
      expect(await codeOfAsync(() => signing.jwt(caller(), name, JWT, stay()))).toBeUndefined();
    }
    expect(await codeOfAsync(() => signing.jwt(caller(), 'other', JWT, stay()))).toBe('agent_not_found');
  });

  it('a caller without a right learns nothing but that, and it is on record', async () => {
    const { signing, agent, recorder } = signingFixture();
    await agent('planner');
    // A reserved type would be another answer, for a caller who may ask.
    const forged = { typ: 'wit+jwt', claims: {} };
    expect(await codeOfAsync(() => signing.jwt(caller({ uid: 1001 }), 'planner', forged, stay()))).toBe(
      'policy_denied',
    );
    expect(recorder.decisions.at(-1)).toMatchObject({
      action: 'jwt',
      refusal: 'policy_denied',
      caller: { uid: 1001 },
      decision: { effect: 'deny' },
    });
  });

  it('S16: a signature is released only when its decision is on record', async () => {
    const { signing, agent, recorder } = signingFixture();
    await agent('planner');
    let durable = false;
    recorder.before = async () => {
      await sleep(20);
      durable = true;
    };
    const { jwt } = await signing.jwt(caller(), 'planner', JWT, stay());
    expect(jwt).not.toBe('');
    expect(durable).toBe(true);
    recorder.before = () => Promise.reject(new KeydError('internal', 'the disk is full'));
    expect(await codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()))).toBe('internal');
  });

  it('records the outcome, and of the signature only its hash', async () => {
    const backend = new SoftwareBackend();
    const { signing, agent, recorder } = signingFixture({ backend });
    const { keyId } = await agent('planner');
    await signing.jwt(caller(), 'planner', { typ: 'order+jwt', claims: { note: 'secret-note' } }, stay());
    expect(recorder.outcomes.at(-1)).toMatchObject({
      effect: 'done',
      signatureSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown,
    });
    expect(JSON.stringify(recorder.decisions)).not.toContain('secret-note');
    backend.keys.delete(keyId);
    expect(await codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()))).toBe('key_not_found');
    expect(recorder.outcomes.at(-1)).toEqual({ effect: 'failed', code: 'key_not_found' });
  });

  it('S7: the signer takes a grant and nothing that looks like one', async () => {
    const { signer, agent, backend } = signingFixture();
    const made = await agent('planner');
    const forged = {
      operation: 'raw',
      agentId: made.id,
      backend: 'pkcs11',
      share: 'uid:0',
      notAfterMs: NOW_MS + 9000,
    };
    expect(await codeOfAsync(() => signer.sign(forged as unknown as Grant, stay()))).toBe('internal');
    expect((backend as unknown as { signed: unknown[] }).signed).toHaveLength(0);
  });
});

describe('while a request waits', () => {
  it('never signs for a caller that has gone', async () => {
    const { signing, agent, backend, hold, release } = gated();
    await agent('planner');
    hold();
    const first = signing.jwt(caller(), 'planner', JWT, stay());
    const leaving = new AbortController();
    const second = codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, leaving.signal));
    await settle();
    leaving.abort();
    expect(await second).toBe('caller_gone');
    release();
    await first;
    await settle();
    expect(backend.signed).toHaveLength(1);
  });

  it('S7: rules that change meanwhile end it unsigned', async () => {
    const { signing, agent, backend, authorizer, hold, release } = gated();
    await agent('planner');
    hold();
    const first = signing.jwt(caller(), 'planner', JWT, stay());
    const second = codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()));
    await settle();
    authorizer.replace(rules(CREATE), engine());
    release();
    await first;
    expect(await second).toBe('policy_denied');
    expect(backend.signed).toHaveLength(1);
  });

  it('does not sign with a key that only bears the agent key’s id', async () => {
    const { signing, agent, backend } = gated();
    const { keyId } = await agent('planner');
    backend.keys.set(keyId, testKey('ES256'));
    expect(await codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()))).toBe('key_not_found');
    expect(backend.signed).toHaveLength(0);
  });

  it('S9: does not sign with a host or audit key, whatever agent record names it', async () => {
    const { signing, agent, backend } = gated();
    await agent('planner');
    backend.purpose = 'host';
    expect(await codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()))).toBe('key_not_found');
    expect(backend.signed).toHaveLength(0);
  });

  it('a key that is rotated or retired meanwhile does not sign', async () => {
    const { signing, service, agent, backend, hold, release, agents } = gated();
    const { id } = await agent('planner');
    await agent('doomed');
    hold();
    const running = signing.jwt(caller(), 'planner', JWT, stay());
    const rotated = codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()));
    const retired = codeOfAsync(() => signing.jwt(caller(), 'doomed', JWT, stay()));
    await settle();
    agents.replaceKey(id, { ...agentKey(agents.find(id)), keyId: 'another' });
    await service.retire(caller(), 'doomed');
    release();
    await running;
    expect(await rotated).toBe('conflict');
    expect(await retired).toBe('key_retired');
    expect(backend.signed).toHaveLength(1);
  });

  it('the deadline is answered while hardware is still busy', async () => {
    const backend = new SoftwareBackend();
    const { signing, agent } = signingFixture({ backend, policy: CREATE, deadlineMs: 40 });
    await agent('planner');
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    backend.before = () => gate;
    expect(await codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay()))).toBe('deadline_exceeded');
    open();
  });

  it('S20: a full queue answers 429 at once', async () => {
    const { signing, agent, hold, release } = gated();
    await agent('planner');
    hold();
    const asked = Array.from({ length: 18 }, () =>
      codeOfAsync(() => signing.jwt(caller(), 'planner', JWT, stay())),
    );
    await settle();
    release();
    const codes = await Promise.all(asked);
    expect(codes.filter((code) => code === 'too_many_requests')).toHaveLength(1);
    expect(codes.filter((code) => code === undefined)).toHaveLength(17);
  });
});

function agentKey<T>(agent: T | undefined): T {
  if (agent === undefined) throw new Error('no agent');
  return agent;
}
