import { randomFillSync } from 'node:crypto';
import { KeydError } from '../wire/problem.ts';

const POOL_OCTETS = 4096;

/** Random octets for nonces, drawn by the pool: a call to the generator costs more than the octets of one nonce. */
export function pooledRandomOctets(): (count: number) => Uint8Array {
  const pool = new Uint8Array(POOL_OCTETS);
  let used = POOL_OCTETS;
  return (count) => {
    if (count > POOL_OCTETS) throw new KeydError('internal', `at most ${POOL_OCTETS} octets at a time`);
    if (used + count > POOL_OCTETS) {
      randomFillSync(pool);
      used = 0;
    }
    const octets = pool.slice(used, used + count);
    // Given out once.
    pool.fill(0, used, used + count);
    used += count;
    return octets;
  };
}
