import { describe, expect, it } from 'vitest';
import { networkOf } from '../../../src/issuer/http/network.ts';
import { RateLimiter } from '../../../src/issuer/rate-limiter.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';

describe('networkOf', () => {
  it.each([
    ['192.0.2.77', '192.0.2.0/24'],
    ['::ffff:192.0.2.77', '192.0.2.0/24'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ])('%s counts in %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it('puts together what can not be told apart', () => {
    expect(networkOf(undefined)).toBe('unknown');
    expect(networkOf('garbage')).toBe('unknown');
    expect(networkOf('2001:db8:1:2:aaaa::1')).toBe(networkOf('2001:db8:1:2:bbbb::1'));
  });
});

describe('RateLimiter', () => {
  it('S20: lets a burst through, then one at a time, and never counts one for another', () => {
    let now = 0;
    const limiter = new RateLimiter(6, 'requests', () => now);
    const take = (key: string): string | undefined =>
      codeOf(() => {
        limiter.take(key);
      });
    for (let count = 0; count < 6; count += 1) expect(take('a')).toBeUndefined();
    expect(take('a')).toBe('too_many_requests');
    expect(take('b')).toBeUndefined();
    now += 9_999;
    expect(take('a')).toBe('too_many_requests');
    now += 1;
    expect(take('a')).toBeUndefined();
    expect(take('a')).toBe('too_many_requests');
  });

  it('says when to come back, and a clock that steps back gives nothing away', () => {
    let now = 1_000_000;
    const limiter = new RateLimiter(2, 'requests', () => now);
    limiter.take('a');
    limiter.take('a');
    try {
      limiter.take('a');
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(KeydError);
      expect(thrown).toMatchObject({ retryAfterSeconds: 30 });
    }
    now -= 500_000;
    expect(
      codeOf(() => {
        limiter.take('a');
      }),
    ).toBe('too_many_requests');
  });

  it('S20: forgets who is idle before it refuses who is new', () => {
    let now = 0;
    const limiter = new RateLimiter(1, 'requests', () => now);
    for (let key = 0; key < 50_000; key += 1) limiter.take(`flood-${key}`);
    expect(
      codeOf(() => {
        limiter.take('new');
      }),
    ).toBe('too_many_requests');
    now += 60_000;
    expect(
      codeOf(() => {
        limiter.take('new');
      }),
    ).toBeUndefined();
  });
});
