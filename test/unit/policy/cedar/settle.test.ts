/** `@settle`: whose word may lower a cost is the resource's, unless every policy that meters it says otherwise (S8). */
import { describe, expect, it } from 'vitest';
import { parseAnnotations } from '../../../../src/policy/cedar/annotations.ts';

const METER = { id: 'p', meter: 'USD.2 body:/amount' };

describe('@settle', () => {
  it('is the resource’s without it', () => {
    expect(parseAnnotations(METER)).toMatchObject({ faults: [], annotations: { settle: 'resource' } });
    expect(parseAnnotations({ ...METER, settle: 'agent' })).toMatchObject({
      faults: [],
      annotations: { settle: 'agent' },
    });
  });

  it.each([
    [{ ...METER, settle: 'anybody' }],
    [{ ...METER, settle: '' }],
    [{ ...METER, settle: null }],
    [{ id: 'p', settle: 'agent' }],
  ])('is a fault as in %j', (given) => {
    expect(parseAnnotations(given).faults).toHaveLength(1);
  });
});
