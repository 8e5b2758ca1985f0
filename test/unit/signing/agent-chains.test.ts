/** S18: how long a link holds whose key was replaced, by a clock that the test turns. */
import { describe, expect, it } from 'vitest';
import type { Agent } from '../../../src/signing/agent.ts';
import { AgentChains } from '../../../src/signing/agent-chains.ts';
import type { Delegation } from '../../../src/signing/delegation.ts';
import { codeOf } from '../../support/code-of.ts';
import { CHAIN_NOW, chainRoot, signedChain } from '../../support/delegation-chain.ts';
import { testKey } from '../../support/signed-request.ts';

const MINUTE_MS = 60_000;

/** A root agent, a sub-agent and one below it, with the keys and links of now. */
function family() {
  const grantKey = testKey();
  const { tokens, keys } = signedChain([{}, {}, {}], { grantKey });
  const agents = new Map<string, Agent>();
  for (const [depth, { jwk, thumbprint }] of keys.entries()) {
    agents.set(`id-${depth}`, {
      id: `id-${depth}`,
      name: Array.from({ length: depth + 1 }, (_, index) => `a${index}`).join('+'),
      ownerUid: 1000,
      backend: 'tpm',
      algorithm: 'ES256',
      keyId: `key-${depth}`,
      publicJwk: jwk,
      kid: thumbprint,
      createdAtMs: 0,
    });
  }
  const clock = { nowMs: CHAIN_NOW * 1000 };
  const delegation = (agentId: string): Delegation | undefined => {
    const depth = Number(agentId.slice(3));
    if (depth === 0) return undefined;
    return {
      agentId,
      parentId: `id-${depth - 1}`,
      terms: { scopes: ['*'], audiences: ['*'], constraints: [], maxDepth: 9 },
      createdAtMs: clock.nowMs,
      endsAtMs: (CHAIN_NOW + 3000) * 1000,
      ephemeral: false,
      chain: tokens.slice(0, depth + 1),
      status: undefined,
      allocated: false,
    };
  };
  const chains = new AgentChains({
    agents: { find: (id) => agents.get(id) },
    delegations: { find: delegation },
    grant: () => tokens[0],
    root: () => chainRoot(grantKey),
    now: () => clock.nowMs,
  });
  const agent = (depth: number): Agent => {
    const found = agents.get(`id-${depth}`);
    if (found === undefined) throw new Error('there is no such agent');
    return found;
  };
  return {
    code: (depth: number) => codeOf(() => chains.of(agent(depth))),
    /** Its key is replaced, and nothing is signed anew. */
    replace: (depth: number, reason: 'routine' | 'compromise') => {
      const before = agent(depth);
      const { jwk, thumbprint } = testKey();
      agents.set(before.id, { ...before, publicJwk: jwk, kid: thumbprint });
      chains.replaced(before.kid, reason);
    },
    pass: (ms: number) => {
      clock.nowMs += ms;
    },
    retire: (depth: number) => agents.delete(`id-${depth}`),
  };
}

describe('S18: links under a key that was replaced', () => {
  it('hold for less than ten minutes after a routine rotation', () => {
    const { code, replace, pass } = family();
    expect(code(2)).toBeUndefined();
    replace(1, 'routine');
    expect(code(2)).toBeUndefined();
    pass(10 * MINUTE_MS - 1);
    expect(code(2)).toBeUndefined();
    pass(1);
    expect(code(2)).toBe('delegation_revoked');
  });

  it('hold no more after a compromise, nor where the rotation is not known', () => {
    const { code, replace } = family();
    replace(1, 'compromise');
    expect(code(2)).toBe('delegation_revoked');
  });

  it('are not for the new key of their own agent: it waits for its link', () => {
    const { code, replace } = family();
    replace(2, 'routine');
    expect(code(2)).toBe('credential_unavailable');
  });
});

describe('an agent above', () => {
  it('that was retired ends those below at once', () => {
    const { code, retire } = family();
    expect(code(2)).toBeUndefined();
    retire(1);
    expect(code(2)).toBe('delegation_revoked');
  });
});
