/**
 * ROCA (CVE-2017-15361): RSA keys that a range of TPMs made with too little randomness. Their private half can be
 * computed, so whoever does it activates credentials without the TPM. The vendor's certificate stays valid.
 */
import type { KeyObject } from 'node:crypto';
import { decodeBase64url } from '../../wire/base64url.ts';

/** Nemec et al., "The Return of Coppersmith's Attack", §2.1: the primes of a weak key are k·M + 65537^a mod M. */
const GENERATOR = 65537;
// M of a 2048-bit key is the product of the primes up to 701; those up to 251 leave no room for chance.
const SMALL_PRIMES = primesUpTo(251).filter((prime) => prime > 2);

/** For each small prime the residues that a weak modulus can have: the powers of the generator. */
const RESIDUES: ReadonlyMap<number, ReadonlySet<number>> = new Map(
  SMALL_PRIMES.map((prime) => [prime, powersOf(GENERATOR % prime, prime)]),
);

/** Whether an RSA public key has the mark of the weak generator; false for every other kind of key. */
export function isRocaWeak(key: KeyObject): boolean {
  const { n } = key.asymmetricKeyType === 'rsa' ? key.export({ format: 'jwk' }) : {};
  if (n === undefined) return false;
  const modulus = BigInt(`0x${Buffer.from(decodeBase64url(n)).toString('hex')}`);
  return SMALL_PRIMES.every((prime) => RESIDUES.get(prime)?.has(Number(modulus % BigInt(prime))) ?? false);
}

function powersOf(generator: number, modulus: number): ReadonlySet<number> {
  const powers = new Set<number>();
  for (let power = 1; !powers.has(power); power = (power * generator) % modulus) powers.add(power);
  return powers;
}

function primesUpTo(limit: number): readonly number[] {
  const primes: number[] = [];
  for (let candidate = 2; candidate <= limit; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  }
  return primes;
}
