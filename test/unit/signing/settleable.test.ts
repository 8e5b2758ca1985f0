import { expect, it } from 'vitest';
import { SettleableSignatures } from '../../../src/signing/settleable.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
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

it('gives back the request as it was signed', () => {
  const request = {
    method: 'POST',
    target: parseTargetUri('https://api.example:8443/pay?to=a%20b'),
    headers: [
      ['content-type', 'application/json'],
      ['signature', 'sig=:AAAA:'],
    ],
    signedAtMs: 1_700_000_000_123,
  } as const;
  const signatures = new SettleableSignatures();
  signatures.remember('r', { agentId: 'agent', agentMayReport: true, request });
  expect(signatures.require('r', 'agent')).toEqual({ agentId: 'agent', agentMayReport: true, request });
  expect(codeOf(() => signatures.require('r', 'other'))).toBe('not_found');
});
