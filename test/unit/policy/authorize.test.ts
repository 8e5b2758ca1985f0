import { describe, expect, it } from 'vitest';
import * as authorizeModule from '../../../src/policy/authorize.ts';
import type { AuthorizeContext, Authorizer, Grant } from '../../../src/policy/authorize.ts';
import type { DecisionPoint, SecondOpinion, SigningAuthorization } from '../../../src/policy/decision.ts';
import type { Proposal } from '../../../src/policy/proposal.ts';
import type { PolicyRequest } from '../../../src/policy/verdict.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';
import { authorizerWith, caller, engine, rules, stay } from '../../support/signing-fixture.ts';

const NOW = 1_800_000_000_000;

const proposal = (octets: Uint8Array, notAfterMs = NOW + 10_000): Proposal => ({
  agent: {
    id: 'agent-1',
    name: 'planner',
    ownerUid: 1000,
    backend: 'tpm',
    algorithm: 'ES256',
    keyId: 'key-1',
    kid: 'thumbprint',
  },
  parameters: { operation: 'raw', input: 'message', credentialsEndAtMs: undefined },
  octets: { kind: 'message', octets },
  binds: new Set(),
  times: undefined,
  notAfterMs,
});

const authorizer = (now = () => NOW): Authorizer =>
  authorizerWith({ rules: rules({ allow_raw: ['planner'] }), now });

const grantOf = (authorization: SigningAuthorization): Grant => {
  if ('refusal' in authorization) throw authorization.refusal;
  if ('pending' in authorization) throw new Error('a person would have to allow this');
  return authorization.grant;
};

const granted = async (
  by: Authorizer,
  octets = Buffer.from('judged'),
  notAfterMs?: number,
): Promise<Grant> => {
  const authorization = await by.authorize(caller(), proposal(octets, notAfterMs), { signal: stay() });
  return grantOf(authorization);
};

describe('S7: a grant', () => {
  it('holds the octets as they were judged, whatever becomes of the buffer and the caller', async () => {
    const by = authorizer();
    const octets = Buffer.from('pay 3000');
    const who = caller({ groups: [1] });
    const authorization = await by.authorize(who, proposal(octets), { signal: stay() });
    const grant = grantOf(authorization);
    octets.write('pay 9999');
    (who as { uid: number }).uid = 0;
    const contents = by.redeem(grant);
    expect(Buffer.from(contents.octets.octets).toString()).toBe('pay 3000');
    expect(contents).toMatchObject({
      keyId: 'key-1',
      kid: 'thumbprint',
      policies: ['allow_raw', 'owner-signs-raw'],
      policyVersion: 1,
      caller: { uid: 1000 },
    });
    expect(Object.isFrozen(contents)).toBe(true);
    expect(Object.isFrozen(contents.caller?.groups)).toBe(true);
    expect(Object.isFrozen(grant)).toBe(true);
  });

  it('works once', async () => {
    const by = authorizer();
    const grant = await granted(by);
    by.redeem(grant);
    expect(codeOf(() => by.redeem(grant))).toBe('internal');
  });

  it('can not be made, copied or subclassed outside policy', async () => {
    const by = authorizer();
    const grant = await granted(by);
    expect(Object.keys(authorizeModule)).toEqual(['Authorizer']);
    const impostors: unknown[] = [
      {},
      null,
      undefined,
      'grant',
      Object.assign({}, grant),
      structuredClone(grant),
      Object.create(grant),
      Object.create(Object.getPrototypeOf(grant) as object),
      new Proxy(grant, {}),
      JSON.parse(JSON.stringify(grant)),
      // The class can be reached from an instance; what it makes has no content.
      Reflect.construct(grant.constructor as new (...args: unknown[]) => object, [
        caller(),
        proposal(Buffer.from('forged')),
      ]),
    ];
    for (const impostor of impostors) expect(codeOf(() => by.redeem(impostor as Grant))).toBe('internal');
    expect(Buffer.from(by.redeem(grant).octets.octets).toString()).toBe('judged');
  });

  it('is of use only where it was minted', async () => {
    const grant = await granted(authorizer());
    expect(codeOf(() => authorizer().redeem(grant))).toBe('internal');
  });

  it('ends with the rules that allowed it', async () => {
    const by = authorizer();
    const grant = await granted(by);
    by.replace(rules({ allow_raw: ['planner'] }), engine());
    expect(by.policyVersion).toBe(2);
    expect(codeOf(() => by.redeem(grant))).toBe('policy_denied');
    expect(codeOf(() => by.redeem(grant))).toBe('internal');
  });

  it('ends at its deadline', async () => {
    let now = NOW;
    const by = authorizer(() => now);
    const grant = await granted(by, Buffer.from('x'), NOW + 1000);
    now = NOW + 1001;
    expect(codeOf(() => by.redeem(grant))).toBe('deadline_exceeded');
  });
});

describe('rules in force', () => {
  it('are a copy, replaced as a whole', async () => {
    const mine = { allow_raw: ['planner'] };
    const given = rules(mine);
    const by = authorizerWith({ rules: given });
    (given.allowRaw as string[]).length = 0;
    expect(by.mayRawSign('planner')).toBe(true);
    by.replace(rules(), engine());
    expect(by.mayRawSign('planner')).toBe(false);
    const authorization = await by.authorize(caller(), proposal(Buffer.from('x')), { signal: stay() });
    expect(authorization).toMatchObject({
      decision: { effect: 'deny', policyVersion: 2 },
      refusal: { code: 'raw_signing_off' },
    });
  });
});

describe('the external decision point', () => {
  const says = (...opinions: readonly (SecondOpinion | (() => SecondOpinion))[]) => {
    const asked: PolicyRequest[] = [];
    const decisionPoint: DecisionPoint = {
      ask: (request) => {
        const opinion = opinions[asked.length];
        asked.push(request);
        if (opinion === undefined) throw new Error('asked too often');
        return Promise.resolve(typeof opinion === 'function' ? opinion() : opinion);
      },
    };
    return { asked, decisionPoint };
  };
  const YES = { permitted: true } as const;
  const no = { permitted: false, refusal: new KeydError('decision_point_denied', 'no') } as const;
  const OPEN = { rules: rules({ allow_raw: ['planner'] }), now: () => NOW };
  const ask = (by: Authorizer, context: Partial<AuthorizeContext> = {}) =>
    by.authorize(caller(), proposal(Buffer.from('x')), { signal: stay(), ...context });

  it('permits beside the policies, and is named among them', async () => {
    const { asked, decisionPoint } = says(YES);
    const authorization = await ask(authorizerWith({ ...OPEN, decisionPoint }));
    expect(authorization.decision).toMatchObject({
      effect: 'permit',
      policies: ['allow_raw', 'owner-signs-raw', 'decision-point'],
    });
    expect('grant' in authorization).toBe(true);
    expect(asked).toHaveLength(1);
  });

  it('is not asked about what policies deny', async () => {
    const { asked, decisionPoint } = says(YES);
    const authorization = await ask(authorizerWith({ now: () => NOW, decisionPoint }));
    expect(authorization).toMatchObject({ refusal: { code: 'raw_signing_off' } });
    expect(asked).toEqual([]);
  });

  it('denies alone: no grant, nothing reserved, nobody asked', async () => {
    const { decisionPoint } = says(no);
    let approvals = 0;
    const authorization = await ask(authorizerWith({ ...OPEN, decisionPoint }), {
      approved: () => {
        approvals += 1;
      },
    });
    expect(authorization).toMatchObject({
      decision: { effect: 'deny', policies: ['decision-point'] },
      refusal: { code: 'decision_point_denied' },
    });
    expect('grant' in authorization).toBe(false);
    expect(approvals).toBe(0);
  });

  it('S19: denies where it throws or rejects', async () => {
    const broken: readonly DecisionPoint['ask'][] = [
      () => Promise.reject(new Error('broken')),
      () => {
        throw new TypeError('broken');
      },
    ];
    for (const fault of broken) {
      const authorization = await ask(authorizerWith({ ...OPEN, decisionPoint: { ask: fault } }));
      expect(authorization).toMatchObject({ decision: { effect: 'deny' }, refusal: { code: 'internal' } });
    }
  });

  it('is asked before a person is, and again at release', async () => {
    const policies = '@id("ask") @approval("person") permit (principal, action == Action::"raw", resource);';
    const { asked, decisionPoint } = says(YES, no);
    const by = authorizerWith({ ...OPEN, engine: engine(policies), decisionPoint });
    expect(await ask(by)).toMatchObject({ decision: { effect: 'pending' }, pending: { level: 'person' } });
    let claims = 0;
    const released = await ask(by, {
      approved: () => {
        claims += 1;
      },
    });
    expect(released).toMatchObject({ refusal: { code: 'decision_point_denied' } });
    expect([asked.length, claims]).toEqual([2, 0]);
  });

  it('S12: what changed while it was asked is judged again', async () => {
    const { decisionPoint } = says(
      () => {
        by.replace(rules(), engine());
        return YES;
      },
      () => {
        by.replace(
          rules({ allow_raw: ['planner'] }),
          engine('@id("ask") @approval("person") permit (principal, action == Action::"raw", resource);'),
        );
        return YES;
      },
    );
    const by = authorizerWith({ ...OPEN, decisionPoint });
    expect(await ask(by)).toMatchObject({ refusal: { code: 'raw_signing_off' } });
    by.replace(rules({ allow_raw: ['planner'] }), engine());
    // What it permitted asked nobody; what the policies now want is a person: it was not asked about that.
    expect(await ask(by)).toMatchObject({
      decision: { effect: 'deny', policies: ['allow_raw', 'owner-signs-raw', 'ask'] },
      refusal: { code: 'policy_denied' },
    });
  });
});
