import { expect, it } from 'vitest';
import { SettleableSignatures } from '../../../src/signing/settleable.ts';
import { codeOf } from '../../support/code-of.ts';

it('keeps the ten thousand that came last, whatever was forgotten in between', () => {
  const signatures = new SettleableSignatures();
  const isKnown = (number: number): boolean =>
    codeOf(() => signatures.require(`r${number}`, 'agent')) === undefined;
  for (let number = 0; number < 25_001; number += 1) {
    signatures.remember(`r${number}`, { agentId: 'agent', agentMayReport: false });
    if (number % 3 === 0) signatures.forget(`r${number}`);
  }
  // Two of three are kept, so that the last fifteen thousand hold ten.
  const known = Array.from({ length: 25_001 }, (_, number) => number).filter(isKnown);
  expect(known).toHaveLength(10_000);
  expect(known[0]).toBeGreaterThanOrEqual(10_000);
  expect(known.at(-1)).toBe(25_000);
});
