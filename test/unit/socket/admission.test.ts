import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Admission } from '../../../src/socket/admission.ts';
import type { ShareLimits } from '../../../src/socket/limits.ts';
import { codeOf } from '../../support/code-of.ts';

const LIMITS: ShareLimits = {
  maxConnections: 2,
  maxRequests: 2,
  maxOctets: 100,
  maxPromptRefusalsPerSecond: 2,
  refusalDelayMs: 250,
};

test('S20: one share’s use takes nothing from another', () => {
  const admission = new Admission(LIMITS);
  admission.begin('uid:1');
  admission.begin('uid:1');
  expect(codeOf(() => admission.begin('uid:1'))).toBe('too_many_requests');
  expect(codeOf(() => admission.begin('uid:2'))).toBeUndefined();
});

test('what is released is free again, once', () => {
  const admission = new Admission(LIMITS);
  const first = admission.begin('uid:1');
  admission.begin('uid:1');
  first.release();
  first.release();
  admission.begin('uid:1');
  expect(codeOf(() => admission.begin('uid:1'))).toBe('too_many_requests');
});

test('octets count over all requests of a share and are given back with them', () => {
  const admission = new Admission(LIMITS);
  const first = admission.begin('uid:1');
  const second = admission.begin('uid:1');
  first.addOctets(60);
  expect(
    codeOf(() => {
      second.addOctets(41);
    }),
  ).toBe('too_many_requests');
  second.addOctets(40);
  first.release();
  expect(
    codeOf(() => {
      second.addOctets(60);
    }),
  ).toBeUndefined();
});

test('refusals beyond the second’s are delayed, until the next second', () => {
  let now = 0;
  const admission = new Admission(LIMITS, () => now);
  expect([1, 2, 3].map(() => admission.refusalDelay('uid:1'))).toEqual([0, 0, 250]);
  expect(admission.refusalDelay('uid:2')).toBe(0);
  now = 1_000;
  expect(admission.refusalDelay('uid:1')).toBe(0);
});

test('S20: whatever comes and goes, no share ever has more than its limits', () => {
  const step = fc.record({ share: fc.constantFrom('a', 'b'), release: fc.boolean(), octets: fc.nat(80) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const admission = new Admission(LIMITS);
      const held = new Map<string, { ticket: ReturnType<Admission['begin']>; octets: number }[]>();
      for (const { share, release, octets } of steps) {
        const mine = held.get(share) ?? [];
        held.set(share, mine);
        if (release) mine.shift()?.ticket.release();
        else if (codeOf(() => mine.push({ ticket: admission.begin(share), octets: 0 })) === undefined) {
          const last = mine.at(-1);
          if (
            last !== undefined &&
            codeOf(() => {
              last.ticket.addOctets(octets);
            }) === undefined
          )
            last.octets = octets;
        }
        expect(mine.length).toBeLessThanOrEqual(LIMITS.maxRequests);
        expect(mine.reduce((sum, entry) => sum + entry.octets, 0)).toBeLessThanOrEqual(LIMITS.maxOctets);
      }
    }),
  );
});
