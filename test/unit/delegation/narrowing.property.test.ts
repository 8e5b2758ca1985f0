/** Random chains: whatever narrows is accepted, whatever widens one member of one link is refused. */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { verifyChain, type ChainRules } from '../../../src/delegation/chain.ts';
import { atStep, CHAIN_NOW, chainRoot, signedChain } from '../../support/delegation-chain.ts';
import { narrowed, rootTerms, WIDENINGS, type Terms } from '../../support/delegation-terms.ts';
import { refusalOf } from '../../support/refusal.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { testKey } from '../../support/signed-request.ts';

const CASES = { narrowed: 800, widened: 1600 } as const;
const MAX_DEPTH = 6;
/** AGENTKEYD_TEST_SEED repeats a run. */
const SEED = Number(process.env['AGENTKEYD_TEST_SEED'] ?? randomInt(2 ** 31));

const grantKey = testKey('Ed25519');
const keys = Array.from({ length: MAX_DEPTH + 1 }, () => testKey('Ed25519'));
const rules: ChainRules = { ...chainRoot(grantKey), nowSeconds: CHAIN_NOW, clockSkewSeconds: 5 };

function randomChain(random: SeededRandom): readonly Terms[] {
  const depth = random.integer(1, MAX_DEPTH);
  const terms = [rootTerms(random, depth)];
  for (let above = terms[0]; above !== undefined && terms.length <= depth; above = terms.at(-1)) {
    terms.push(narrowed(random, above, depth));
  }
  return terms;
}

const refusal = (terms: readonly Terms[]): string =>
  refusalOf(() => verifyChain(signedChain(terms, { grantKey, keys }).tokens, rules));

/** Runs every case; what fails says by which seed it is made again. */
function forEachCase(count: number, check: (random: SeededRandom, seed: string) => void): void {
  for (let index = 0; index < count; index += 1) {
    check(new SeededRandom(SEED + index), `AGENTKEYD_TEST_SEED=${SEED}, case ${index}`);
  }
}

describe('a chain', () => {
  it('is accepted whatever its links leave out of what they were given', () => {
    forEachCase(CASES.narrowed, (random, seed) => {
      const terms = randomChain(random);
      expect(refusal(terms), `${seed}: ${JSON.stringify(terms)}`).toBe('accepted');
    });
  });

  it('is refused where one member of one link is wider than above it, at the step of that member', () => {
    const tried = new Map<string, number>();
    forEachCase(CASES.widened, (random, seed) => {
      const terms = randomChain(random);
      const at = random.integer(1, terms.length - 1);
      const parent = terms[at - 1];
      const child = terms[at];
      if (parent === undefined || child === undefined) throw new Error('there is no such link');
      const {
        name,
        step,
        terms: wider,
      } = random.pick(
        WIDENINGS.flatMap((widening) => {
          const made = widening.widen(random, parent, child, at);
          return made === undefined ? [] : [{ ...widening, terms: made }];
        }),
      );
      tried.set(name, (tried.get(name) ?? 0) + 1);
      const widened = terms.map((each, index) => (index === at ? wider : each));
      const what = `${seed}: ${name} at ${at} of ${JSON.stringify(widened)}`;
      expect(refusal(widened), what).toMatch(atStep(step));
    });
    // Every member, every kind and type of constraint was among them.
    for (const { name } of WIDENINGS) expect(tried.get(name) ?? 0, name).toBeGreaterThan(5);
  });
});
