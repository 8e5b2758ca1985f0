/** S20: renewals on request take neither the issuer's quota of the host nor the turn of others. */
import { describe, expect, it } from 'vitest';
import { CredentialService } from '../../../src/daemon/credential-service.ts';
import type { CredentialRecord } from '../../../src/issuance/issuance-store.ts';
import type { IssuableAgent } from '../../../src/issuance/issuing.ts';
import { logRecorder } from '../../../src/policy/log-recorder.ts';
import type { Agent } from '../../../src/signing/agent.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { authorizerWith, caller } from '../../support/signing-fixture.ts';
import { testKey } from '../../support/signed-request.ts';

/** A service over an issuer that counts what it is asked, and answers when it is told to. */
function fixture() {
  const key = testKey();
  const agents = new Map<string, Agent>();
  const records = new Map<string, CredentialRecord>();
  const open: { readonly agentId: string; readonly settle: (thrown?: KeydError) => void }[] = [];
  const clock = { nowMs: 1_800_000_000_000 };
  let asked = 0;
  const service = new CredentialService({
    authorizer: authorizerWith(),
    recorder: logRecorder(silentLogger),
    agents: { find: (id) => agents.get(id) },
    now: () => clock.nowMs,
    issuance: {
      attestationFault: () => undefined,
      renewalFault: () => undefined,
      host: () => undefined,
      credentials: ({ id, kid }) => (records.get(id)?.kid === kid ? records.get(id) : undefined),
      obtain: ({ id, kid }: IssuableAgent) => {
        asked += 1;
        const { promise, resolve, reject } = Promise.withResolvers<CredentialRecord>();
        open.push({
          agentId: id,
          settle: (thrown) => {
            if (thrown !== undefined) {
              reject(thrown);
              return;
            }
            const expiresAtSeconds = clock.nowMs / 1000 + 600;
            const issued = {
              ear: `ear ${asked}`,
              assurance: 'hw-key',
              spiffeId: 'spiffe://td/agent/h/a',
              expiresAtSeconds,
              renewAtSeconds: expiresAtSeconds - 200,
            } as const;
            const record = { agentId: id, kid, issued };
            records.set(id, record);
            resolve(record);
          },
        });
        return promise;
      },
    },
  });
  const add = (id: string, kid = `kid of ${id}`, ownerUid = 1000): void => {
    agents.set(id, {
      ...{ id, name: id, ownerUid, backend: 'tpm', algorithm: 'ES256', keyId: id },
      ...{ publicJwk: key.jwk, kid, createdAtMs: 0 },
    });
  };
  return { service, add, open, clock, asked: () => asked };
}

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

describe('S20: renewal on request', () => {
  it('S20: asks the issuer once for all who ask at the same time and soon after', async () => {
    const { service, add, open, clock, asked } = fixture();
    add('a');
    const all = Array.from({ length: 50 }, () => service.renew(caller(), 'a'));
    await turn();
    open[0]?.settle();
    const ears = (await Promise.all(all)).map(({ ear }) => ear);
    expect(new Set(ears)).toEqual(new Set(['ear 1']));
    clock.nowMs += 29_000;
    expect((await service.renew(caller(), 'a')).ear).toBe('ear 1');
    expect(asked()).toBe(1);
  });

  it('S20: asks again after a while, and at once for a new key', async () => {
    const { service, add, open, clock, asked } = fixture();
    add('a');
    for (const [number, prepare] of [
      [1, () => undefined],
      [2, () => (clock.nowMs += 31_000)],
      [3, () => { add('a', 'rotated'); }], // prettier-ignore
    ] as const) {
      prepare();
      const renewal = service.renew(caller(), 'a');
      await turn();
      open[number - 1]?.settle();
      expect((await renewal).ear).toBe(`ear ${number}`);
    }
    expect(asked()).toBe(3);
  });

  it('S20: a refusal is not asked for again before its time', async () => {
    const { service, add, open, clock, asked } = fixture();
    add('a');
    const first = codeOfAsync(() => service.renew(caller(), 'a'));
    await turn();
    open[0]?.settle(new KeydError('issuer_unavailable', 'quota', { retryAfterSeconds: 10 }));
    expect(await first).toBe('issuer_unavailable');
    clock.nowMs += 9_000;
    expect(await codeOfAsync(() => service.renew(caller(), 'a'))).toBe('issuer_unavailable');
    expect(asked()).toBe(1);
    clock.nowMs += 1_001;
    const second = service.renew(caller(), 'a');
    await turn();
    open[1]?.settle();
    expect((await second).ear).toBe('ear 2');
  });

  it('S20: one caller with many agents has one exchange under way; another caller is not behind it', async () => {
    const { service, add, open } = fixture();
    const mine = Array.from({ length: 20 }, (_, index) => `a${index}`);
    for (const id of mine) add(id);
    add('b', 'kid of b', 1001);
    const all = mine.map((id) => service.renew(caller(), id));
    const theirs = service.renew(caller({ uid: 1001 }), 'b');
    await turn();
    expect(open.map(({ agentId }) => agentId).sort()).toEqual(['a0', 'b']);
    open.find(({ agentId }) => agentId === 'b')?.settle();
    expect((await theirs).assurance).toBe('hw-key');
    for (let index = 0; index < mine.length; index += 1) {
      await turn();
      open.filter(({ agentId }) => agentId !== 'b')[index]?.settle();
    }
    await Promise.all(all);
  });
});
