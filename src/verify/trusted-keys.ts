import { array, object, parse, type Shape } from '../wire/check.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { publicKeyObject } from '../wire/public-key.ts';

/** A key that configuration pins for one purpose; tokens name it by `kid`. */
export interface TrustedKey {
  readonly kid: string;
  readonly jwk: PublicJwk;
}

const anything: Shape<unknown> = (value) => value;

/**
 * Trusted keys from a JWK Set (RFC 7517 §5) that configuration pins for one purpose; a key without `kid` goes
 * by its thumbprint. Never fetch the set from where a token says.
 * @throws KeydError `configuration_invalid` for keys that are unusable, private or named twice
 */
export function trustedKeys(jwks: unknown): readonly TrustedKey[] {
  const { keys } = parse(
    object({ keys: array(anything, { max: 64, min: 1 }) }),
    jwks,
    'configuration_invalid',
  );
  const trusted = keys.map((key) => trustedKey(key));
  if (new Set(trusted.map(({ kid }) => kid)).size !== trusted.length) {
    throw new KeydError('configuration_invalid', 'two trusted keys have the same kid');
  }
  return trusted;
}

/** One trusted key from its JWK. @throws KeydError `configuration_invalid` */
export function trustedKey(key: unknown): TrustedKey {
  try {
    const jwk = parsePublicJwk(key, 'trusted key');
    publicKeyObject(jwk);
    const kid: unknown = (key as Readonly<Record<string, unknown>>)['kid'];
    return { kid: typeof kid === 'string' ? kid : jwkThumbprint(jwk), jwk };
  } catch (cause) {
    const reason = cause instanceof KeydError ? cause.message : 'is no JWK';
    throw new KeydError('configuration_invalid', `a trusted key can not be used: ${reason}`, { cause });
  }
}
