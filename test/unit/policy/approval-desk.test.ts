/** S12: what a person allows is exactly what is signed, once; over the whole way from request to signature. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import type { Caller } from '../../../src/caller/caller.ts';
import { openApprovalStore } from '../../../src/daemon/state/approval-store.ts';
import { STATE_MIGRATIONS } from '../../../src/daemon/state/migrations.ts';
import { ApprovalDesk, PendingApproval, type Approval } from '../../../src/policy/approval-desk.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { caller, engine, rules, signingFixture, stay, NOW_MS } from '../../support/signing-fixture.ts';

const ASK = `@id("ask") @approval("person")
permit (principal, action == Action::"http-message", resource) when { context.path == "/ask" };`;
const APPROVER = caller({ uid: 2000, gid: 2000, ingress: { kind: 'admin' } });
const REQUEST = { profile: 'rfc9421', method: 'GET', targetUri: 'https://a.example/ask' } as const;
const EXPIRY_MS = 60_000;

function desk(now: () => number = () => NOW_MS, database = new DatabaseSync(':memory:')) {
  if (database.prepare("SELECT name FROM sqlite_master WHERE name = 'approvals'").get() === undefined) {
    for (const script of STATE_MIGRATIONS) database.exec(script);
  }
  const store = openApprovalStore(database);
  return { database, desk: new ApprovalDesk({ store, expiryMs: EXPIRY_MS, maxPerShare: 3, now }) };
}

const agent = {
  id: 'a',
  name: 'planner',
  ownerUid: 1000,
  backend: 'tpm',
  algorithm: 'ES256',
  keyId: 'k',
  kid: 't',
} as const;

const ask = (to: ApprovalDesk, digest = 'd', who: Caller = caller(), answer: unknown = 'signed'): Approval =>
  to.open({
    caller: who,
    agent,
    digest,
    operation: 'http-message',
    summary: {},
    policies: ['ask'],
    charges: [],
    level: 'person',
    run: (id) => {
      to.claim(id, who, digest);
      return Promise.resolve(answer);
    },
  }).approval;

describe('S12: the approver', () => {
  const asker = caller({ unit: 'agent.service', cgroup: '/system.slice/agent.service' });
  it.each<[string, Partial<Caller>, boolean]>([
    ['another uid', {}, true],
    ['another uid elsewhere', { unit: 'sshd.service', cgroup: '/system.slice/sshd.service' }, true],
    ['the same uid', { uid: 1000 }, false],
    ['the same uid elsewhere', { uid: 1000, unit: 'sshd.service' }, false],
    ['root in the same unit', { uid: 0, unit: 'agent.service' }, false],
    ['root in the same cgroup', { uid: 0, cgroup: '/system.slice/agent.service' }, false],
  ])('%s', (_what, more, may) => {
    const { desk: to } = desk();
    const { id } = ask(to, 'd', asker);
    const code = codeOf(() => to.decide({ ...APPROVER, ...more }, id, 'allow'));
    expect(code).toBe(may ? undefined : 'policy_denied');
    expect(to.find(id).state).toBe(may ? 'allowed' : 'pending');
  });

  it('is in another container and another login session', () => {
    const { desk: to } = desk();
    for (const fact of [{ containerId: 'c'.repeat(64) }, { cgroup: '/user.slice/user-1000.slice' }]) {
      const { id } = ask(to, JSON.stringify(fact), caller(fact));
      expect(codeOf(() => to.decide({ ...APPROVER, uid: 0, ...fact }, id, 'allow'))).toBe('policy_denied');
    }
  });

  it('is still compared with who asked after a restart', () => {
    const { database, desk: before } = desk();
    const { id } = ask(before, 'd', asker);
    const { desk: after } = desk(undefined, database);
    expect(codeOf(() => after.decide({ ...APPROVER, unit: 'agent.service' }, id, 'allow'))).toBe(
      'policy_denied',
    );
    expect(after.decide(APPROVER, id, 'allow')).toMatchObject({ state: 'allowed', decidedBy: { uid: 2000 } });
  });
});

describe('S12: an approval', () => {
  it('is for whoever asked, and is collected once', async () => {
    const { desk: to } = desk();
    const { id } = ask(to);
    expect(await to.collect(caller(), id, stay())).toBeInstanceOf(PendingApproval);
    to.decide(APPROVER, id, 'allow');
    expect(await codeOfAsync(() => to.collect(caller({ uid: 1001 }), id, stay()))).toBe('approval_not_found');
    expect(await to.collect(caller(), id, stay())).toBe('signed');
    expect(to.find(id).state).toBe('used');
    expect(await codeOfAsync(() => to.collect(caller(), id, stay()))).toBe('approval_void');
  });

  it('ends unused, pending or allowed, and can not be decided twice', async () => {
    let now = NOW_MS;
    const { desk: to } = desk(() => now);
    const [pending, allowed] = [ask(to, 'p'), ask(to, 'a')];
    to.decide(APPROVER, allowed.id, 'allow');
    expect(codeOf(() => to.decide(APPROVER, allowed.id, 'deny'))).toBe('approval_void');
    now += EXPIRY_MS;
    for (const { id } of [pending, allowed]) {
      expect(to.find(id).state).toBe('expired');
      expect(await codeOfAsync(() => to.collect(caller(), id, stay()))).toBe('approval_void');
      expect(codeOf(() => to.decide(APPROVER, id, 'allow'))).toBe('approval_void');
    }
  });

  it('of one is not the approval of another, though they are alike', async () => {
    const { desk: to } = desk();
    const [first, second] = [ask(to), ask(to)];
    expect(second.id).not.toBe(first.id);
    to.decide(APPROVER, first.id, 'allow');
    expect(await to.collect(caller(), first.id, stay())).toBe('signed');
    expect(to.find(second.id).state).toBe('pending');
  });

  it('that a passkey has to allow can be denied, and not allowed', () => {
    const { desk: to } = desk();
    const { approval } = to.open({
      ...{ caller: caller(), agent, digest: 'd', operation: 'csr', summary: {}, policies: [], charges: [] },
      level: 'passkey',
      run: () => Promise.resolve(),
    });
    expect(codeOf(() => to.decide(APPROVER, approval.id, 'allow'))).toBe('policy_denied');
    expect(to.decide(APPROVER, approval.id, 'deny').state).toBe('denied');
  });

  it('S20: is one of a few of its caller; others have their own', () => {
    const { database, desk: to } = desk();
    for (const digest of ['a', 'b', 'c']) ask(to, digest);
    expect(codeOf(() => ask(to, 'd'))).toBe('too_many_requests');
    expect(codeOf(() => ask(to, 'd', caller({ uid: 1001 })))).toBeUndefined();
    // Also of those from before a restart.
    expect(codeOf(() => ask(desk(undefined, database).desk, 'd'))).toBe('too_many_requests');
  });
});

describe('S12: an approval outlives the daemon', () => {
  it('pending or allowed: the same request finds it, another does not', async () => {
    const { database, desk: before } = desk();
    const [pending, allowed] = [ask(before, 'p'), ask(before, 'a')];
    before.decide(APPROVER, allowed.id, 'allow');
    const { desk: to } = desk(undefined, database);
    expect(await codeOfAsync(() => to.collect(caller(), allowed.id, stay()))).toBe('request_needed');
    expect(ask(to, 'other').id).not.toBe(allowed.id);
    expect(ask(to, 'a', caller({ uid: 1001 })).id).not.toBe(allowed.id);
    expect(ask(to, 'a')).toMatchObject({ id: allowed.id, state: 'allowed' });
    expect(await to.collect(caller(), allowed.id, stay())).toBe('signed');
    expect(ask(to, 'p').id).toBe(pending.id);
    to.decide(APPROVER, pending.id, 'allow');
    expect(await to.collect(caller(), pending.id, stay())).toBe('signed');
  });

  it('and so does its use', async () => {
    const { database, desk: before } = desk();
    const { id } = ask(before);
    before.decide(APPROVER, id, 'allow');
    await before.collect(caller(), id, stay());
    const { desk: to } = desk(undefined, database);
    expect(await codeOfAsync(() => to.collect(caller(), id, stay()))).toBe('approval_void');
    expect(ask(to).id).not.toBe(id);
  });
});

describe('S12: at release everything is judged again', () => {
  const setUp = async () => {
    let now = NOW_MS;
    const fixture = signingFixture({ policies: [ASK], now: () => now });
    const made = await fixture.agent();
    const pending = await fixture.attended.httpMessage(caller(), made.id, REQUEST, stay());
    if (!(pending instanceof PendingApproval)) throw new Error('nobody was asked');
    const { id } = pending.approval;
    fixture.approvals.decide(APPROVER, id, 'allow');
    const collect = () => fixture.approvals.collect(caller(), id, stay());
    return { ...fixture, made, id, collect, later: (ms: number) => void (now += ms) };
  };
  const replaced = (...policies: readonly string[]) =>
    [rules({ create: [{ uids: [1000], names: ['*'] }], jwt_types: ['*'] }), engine(...policies)] as const;

  it('and signed where nothing has changed', async () => {
    const { collect, recorder, later } = await setUp();
    later(30_000);
    expect(await collect()).toMatchObject({ headers: { signature: expect.any(String) as string } });
    expect(recorder.decisions.map(({ decision }) => decision.effect).slice(-2)).toEqual([
      'pending',
      'permit',
    ]);
    expect(await codeOfAsync(collect)).toBe('approval_void');
  });

  it('a new key voids it', async () => {
    const { collect, made, service, backend } = await setUp();
    await service.rotate(caller(), made.id, { reason: 'routine' });
    expect(await codeOfAsync(collect)).toBe('approval_void');
    expect((backend as unknown as { signed: unknown[] }).signed).toEqual([]);
  });

  it.each([
    ['another deciding policy', [ASK.replace('"ask"', '"ask-2"')], 'approval_void'],
    ['a stricter demand', [ASK.replace('"person"', '"passkey"')], 'approval_void'],
    ['one more policy', [ASK, ASK.replace('"ask"', '"ask-2"')], 'approval_void'],
    ['a cost', [ASK.replace('@approval', '@meter("USD.2 =1") @approval')], 'no_grant'],
    ['a forbid', [ASK, '@id("no") forbid (principal, action, resource);'], 'policy_denied'],
  ])('%s voids it', async (_what, policies, expected) => {
    const { collect, authorizer, approvals, id, backend } = await setUp();
    authorizer.replace(...replaced(...policies));
    expect(await codeOfAsync(collect)).toBe(expected);
    expect(approvals.find(id).state).toBe('void');
    // And stays so when the former set is back.
    authorizer.replace(...replaced(ASK));
    expect(await codeOfAsync(collect)).toBe('approval_void');
    expect((backend as unknown as { signed: unknown[] }).signed).toEqual([]);
  });

  it('another request of the same kind is another approval', async () => {
    const { attended, made, id } = await setUp();
    const other = await attended.httpMessage(
      caller(),
      made.id,
      { ...REQUEST, headers: [['accept', 'a/b']] },
      stay(),
    );
    expect(other).toBeInstanceOf(PendingApproval);
    expect((other as PendingApproval).approval.id).not.toBe(id);
    expect((other as PendingApproval).approval.state).toBe('pending');
  });
});
