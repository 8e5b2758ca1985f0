import { describe, expect, it } from 'vitest';
import type { Caller } from '../../../src/caller/caller.ts';
import { judgeSigning, OVERFLOW_UID, type ApprovedNames } from '../../../src/policy/judge.ts';
import type { ActionRequest, AgentFacts, Proposal } from '../../../src/policy/proposal.ts';
import type { PolicySection } from '../../../src/policy/rules.ts';
import { authorizerWith, caller, rules } from '../../support/signing-fixture.ts';

const AGENT: AgentFacts = {
  id: '6f2b2f5e-7f5c-4a58-9d39-0a3f2f3f8a10',
  name: 'planner',
  ownerUid: 1000,
  backend: 'tpm',
  algorithm: 'ES256',
  keyId: 'k1',
  kid: 'thumbprint',
};
const LOCAL: ApprovedNames = { state: 'local' };
const SHARED = caller();
const ADMIN = (uid: number): Caller => caller({ uid, ingress: { kind: 'admin' } });
const SOCKET_OF = (agentName: string, uid = 1000): Caller =>
  caller({ uid, ingress: { kind: 'agent', agentName } });

/** By the host's rules and, below them, the shipped policy set. */
const answer = async (
  who: Caller,
  request: ActionRequest,
  section: PolicySection = {},
  approved: ApprovedNames = LOCAL,
): Promise<string> => {
  const authorizer = authorizerWith({ rules: rules(section), approvedNames: () => approved });
  const { decision, refusal } = await authorizer.authorizeAction(who, request);
  return refusal === undefined ? `permit ${decision.policies.join(' ')}` : refusal.code;
};

const create = (name: string, ownerUid = 1000): ActionRequest => ({
  action: 'agent-create',
  name,
  backend: 'tpm',
  algorithm: 'ES256',
  ownerUid,
});
const rotate = (agent = AGENT): ActionRequest => ({ action: 'agent-rotate', agent, reason: 'routine' });

const raw: Proposal = {
  agent: AGENT,
  parameters: { operation: 'raw', input: 'message', credentialsEndAtMs: undefined },
  octets: { kind: 'message', octets: Buffer.from('x') },
  binds: new Set(),
  times: undefined,
  notAfterMs: Number.MAX_SAFE_INTEGER,
};

describe('who may use an agent', () => {
  const use: ActionRequest = { action: 'agent-use', agent: AGENT };

  it('its owner, and nobody else', async () => {
    expect(await answer(SHARED, use)).toBe('permit owner-uses');
    expect(await answer(caller({ uid: 1001 }), use)).toBe('policy_denied');
  });

  it('S10: uid 0 has no implicit right on shared and agent sockets', async () => {
    expect(await answer(caller({ uid: 0, gid: 0 }), use)).toBe('policy_denied');
    expect(await answer(SOCKET_OF('planner', 0), use)).toBe('policy_denied');
    expect(await answer(caller({ uid: 0, gid: 0 }), create('a', 0))).toBe('name_not_permitted');
  });

  it('an operator does not speak for agents', async () => {
    expect(await answer(ADMIN(0), use, { roles: { operate: [{ uids: [0] }] } })).toBe('policy_denied');
  });

  it('S10: the overflow uid is refused unless a rule names it', async () => {
    const nobody = caller({ uid: OVERFLOW_UID });
    const agent = { ...AGENT, ownerUid: OVERFLOW_UID };
    expect(await answer(nobody, { action: 'agent-use', agent })).toBe('policy_denied');
    expect(
      await answer(nobody, create('a', OVERFLOW_UID), { create: [{ gids: [1000], names: ['*'] }] }),
    ).toBe('policy_denied');
    const named = { create: [{ uids: [OVERFLOW_UID], names: ['*'] }] };
    expect(await answer(nobody, { action: 'agent-use', agent }, named)).toBe('permit owner-uses');
    expect(await answer(nobody, create('a', OVERFLOW_UID), named)).toBe('permit create[0]');
  });

  it("S11: an agent's socket serves that agent and its descendants only, and the owner's uid still counts", async () => {
    expect(await answer(SOCKET_OF('planner'), use)).toBe('permit owner-uses');
    expect(await answer(SOCKET_OF('planner', 1001), use)).toBe('policy_denied');
    const child = { ...AGENT, name: 'planner+w1' };
    expect(await answer(SOCKET_OF('planner'), { action: 'agent-use', agent: child })).toBe(
      'permit owner-uses',
    );
    expect(await answer(SOCKET_OF('planner+w1'), use)).toBe('agent_not_found');
    for (const name of ['plan', 'planner2', 'other']) {
      expect(await answer(SOCKET_OF(name), use)).toBe('agent_not_found');
      expect(await answer(SOCKET_OF(name), { action: 'credentials-read', agent: AGENT })).toBe(
        'agent_not_found',
      );
    }
  });
});

describe('who may create', () => {
  const section: PolicySection = { create: [{ uids: [1000], names: ['dev-*', 'planner'] }] };

  it('S6: only names that a rule gives this caller', async () => {
    expect(await answer(SHARED, create('dev-1'), section)).toBe('permit create[0]');
    expect(await answer(SHARED, create('payments-prod'), section)).toBe('name_not_permitted');
    expect(await answer(caller({ uid: 1001 }), create('dev-1', 1001), section)).toBe('name_not_permitted');
    expect(await answer(SHARED, create('dev-1'))).toBe('name_not_permitted');
  });

  it('not for another uid, unless an operator does', async () => {
    expect(await answer(SHARED, create('dev-1', 0), section)).toBe('policy_denied');
    const operators = { roles: { operate: [{ uids: [0] }] } };
    expect(await answer(ADMIN(0), create('dev-1', 1000), operators)).toBe('permit roles.operate[0]');
    expect(await answer(ADMIN(1), create('dev-1', 1), { ...operators, ...section })).toBe('policy_denied');
  });

  it("S6: always within the names the host's approval covers, for operators as well", async () => {
    const approved: ApprovedNames = { state: 'approved', patterns: ['planner'] };
    const all: PolicySection = { ...section, roles: { operate: [{ uids: [0] }] } };
    expect(await answer(SHARED, create('planner'), all, approved)).toBe('permit create[0]');
    expect(await answer(SHARED, create('dev-1'), all, approved)).toBe('name_not_permitted');
    expect(await answer(ADMIN(0), create('dev-1'), all, approved)).toBe('name_not_permitted');
    expect(await answer(SHARED, create('planner'), all, { state: 'pending' })).toBe('not_enrolled');
    expect(await answer(ADMIN(0), create('planner'), all, { state: 'pending' })).toBe('not_enrolled');
  });

  it("S11: not through an agent's socket", async () => {
    expect(await answer(SOCKET_OF('planner'), create('planner'), section)).toBe('policy_denied');
  });

  it('a role counts on the admin socket only', async () => {
    const operators: PolicySection = { roles: { operate: [{ uids: [1000] }] } };
    expect(await answer(SHARED, create('dev-1'), operators)).toBe('name_not_permitted');
    expect(await answer(SHARED, { action: 'host-enrol' }, operators)).toBe('policy_denied');
    expect(await answer(SHARED, { action: 'agent-export-tss2', agent: AGENT }, operators)).toBe(
      'policy_denied',
    );
    expect(await answer(ADMIN(1000), { action: 'host-enrol' }, operators)).toBe('permit roles.operate[0]');
    expect(await answer(ADMIN(1000), { action: 'agent-export-tss2', agent: AGENT }, operators)).toBe(
      'permit roles.operate[0]',
    );
  });
});

describe('who may rotate and retire', () => {
  const section: PolicySection = { create: [{ uids: [1000, 1001], names: ['planner'] }] };
  const retire: ActionRequest = { action: 'agent-retire', agent: AGENT };

  it('S6: the owner where a rule covers the name, never another caller of that rule', async () => {
    for (const request of [rotate(), retire]) {
      expect(await answer(SHARED, request, section)).toBe('permit owner create[0]');
      expect(await answer(SHARED, request)).toBe('policy_denied');
      expect(await answer(caller({ uid: 1001 }), request, section)).toBe('policy_denied');
      expect(await answer(ADMIN(0), request, { roles: { operate: [{ uids: [0] }] } })).toBe(
        'permit roles.operate[0]',
      );
      expect(await answer(ADMIN(0), request)).toBe('policy_denied');
    }
  });

  it('a sub-agent goes with the name of its root agent', async () => {
    expect(await answer(SHARED, rotate({ ...AGENT, name: 'planner+w1' }), section)).toBe(
      'permit owner create[0]',
    );
    expect(await answer(SHARED, rotate({ ...AGENT, name: 'other+planner' }), section)).toBe('policy_denied');
  });
});

describe('reading', () => {
  it('the owner and operators', async () => {
    for (const action of ['agent-show', 'credentials-read', 'credentials-renew'] as const) {
      expect(await answer(SHARED, { action, agent: AGENT })).toBe('permit owner-uses');
      expect(await answer(caller({ uid: 5 }), { action, agent: AGENT })).toBe('policy_denied');
      expect(await answer(ADMIN(0), { action, agent: AGENT }, { roles: { operate: [{ uids: [0] }] } })).toBe(
        'permit roles.operate[0]',
      );
    }
  });

  it('quotes for third parties need a rule', async () => {
    const quote: ActionRequest = { action: 'host-quote', audience: 'verifier.example', pcrs: [0] };
    expect(await answer(SHARED, quote)).toBe('policy_denied');
    expect(await answer(SHARED, quote, { quote: [{ uids: [1000] }] })).toBe('permit quote[0]');
    expect(await answer(SOCKET_OF('planner'), quote, { quote: [{ uids: [1000] }] })).toBe('policy_denied');
  });
});

describe('raw signing', () => {
  const judged = (section: PolicySection, proposal: Proposal, who = SHARED): string => {
    const judgement = judgeSigning(rules(section), who, proposal);
    return judgement.effect === 'permit' ? judgement.policies.join(' ') : judgement.code;
  };

  it('is off unless the agent is named', () => {
    expect(judged({}, raw)).toBe('raw_signing_off');
    expect(judged({ allow_raw: ['planner2'] }, raw)).toBe('raw_signing_off');
    expect(judged({ allow_raw: ['planner'] }, raw)).toBe('allow_raw');
  });

  it('S1: is off while the key has credentials', () => {
    const withCredentials: Proposal = {
      ...raw,
      parameters: { operation: 'raw', input: 'digest', credentialsEndAtMs: 1_800_000_000_000 },
    };
    expect(judged({ allow_raw: ['planner'] }, withCredentials)).toBe('raw_signing_off');
  });
});
