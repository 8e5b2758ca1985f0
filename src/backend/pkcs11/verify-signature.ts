/**
 * The parent's own check of every signature that a module host returns (S17): against the public key that is
 * pinned for the key id and the very octets that were to be signed. Cryptography is node:crypto's.
 */
import {
  constants,
  createPublicKey,
  hash as hashOctets,
  verify,
  type KeyObject,
  type VerifyKeyObjectInput,
} from 'node:crypto';
import type { SignInput } from '../backend.ts';
import { algorithmEntry } from '../../wire/algorithms.ts';
import { decodeBase64url } from '../../wire/base64url.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { asKeydError, KeydError } from '../../wire/problem.ts';
import type { ThreadKey, VerificationThread } from './verification-thread.ts';
import { SHA256_DIGEST_INFO_PREFIX, verifyEcdsaDigest, verifyRsaDigest } from './verify-digest.ts';

const DIGEST_OCTETS = { sha256: 32, sha384: 48 } as const;

/** A public key and what signing with its private half needs on this side of the socketpair. */
export class VerifyingKey implements ThreadKey {
  readonly jwk: PublicJwk;
  readonly #key: KeyObject;
  readonly #verifyKey: VerifyKeyObjectInput;
  /** Octets of a JOSE signature by this key. */
  readonly #signatureOctets: number;

  /** @throws KeydError `internal` if the token’s public key is none, such as a point off its curve */
  constructor(jwk: PublicJwk) {
    this.jwk = jwk;
    try {
      this.#key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
    } catch (thrown) {
      const message = `The token’s public key is invalid: ${asKeydError(thrown).message}`;
      throw new KeydError('internal', message, { cause: thrown });
    }
    this.#verifyKey = verifyKey(jwk, this.#key);
    this.#signatureOctets =
      jwk.kty === 'RSA' ? decodeBase64url(jwk.n).length : (algorithmEntry(jwk.alg).signatureOctets ?? 0);
  }

  /**
   * What the token's mechanism takes: the digest, the DigestInfo for PKCS#1 v1.5, the message for Ed25519.
   * @throws KeydError `unsupported_algorithm` for a digest to Ed25519, `malformed_request` for its wrong length
   */
  mechanismInput(input: SignInput): Uint8Array {
    const { hash, rsaPadding } = algorithmEntry(this.jwk.alg);
    if (hash === undefined) {
      if (input.kind === 'message') return input.octets;
      throw new KeydError('unsupported_algorithm', `${this.jwk.alg} signs messages, not digests (RFC 8032)`);
    }
    const digest = input.kind === 'message' ? hashOctets(hash, input.octets, 'buffer') : input.octets;
    if (digest.length !== DIGEST_OCTETS[hash]) {
      const wanted = `${DIGEST_OCTETS[hash]} octets (${hash})`;
      throw new KeydError(
        'malformed_request',
        `A digest for ${this.jwk.alg} has ${wanted}, not ${digest.length}`,
      );
    }
    return rsaPadding === 'pkcs1' ? Buffer.concat([SHA256_DIGEST_INFO_PREFIX, digest]) : digest;
  }

  /**
   * The module's signature in JOSE form, if it is one over `input`.
   * @param fromModule PKCS#11 form: r‖s, R‖S or the RSA integer; some modules drop leading zeros
   * @throws KeydError `signature_mismatch`
   */
  release(input: SignInput, fromModule: Uint8Array): Uint8Array {
    const signature = this.#pad(fromModule);
    if (signature === undefined || !this.#verify(input, signature)) throw mismatch();
    return signature;
  }

  /**
   * As `release`, with the arithmetic on another thread: a hop costs time, and leaves this thread free for other
   * requests. @throws KeydError `signature_mismatch`
   */
  async releaseBeside(
    input: SignInput,
    fromModule: Uint8Array,
    thread: VerificationThread,
  ): Promise<Uint8Array> {
    if (input.kind === 'digest') return this.release(input, fromModule);
    const signature = this.#pad(fromModule);
    if (signature === undefined || !(await thread.verifies(this, input.octets, signature))) throw mismatch();
    return signature;
  }

  /** Whether `signature` (JOSE form) is one over the message `octets`. */
  verifies(octets: Uint8Array, signature: Uint8Array): boolean {
    const { hash = null } = algorithmEntry(this.jwk.alg);
    return verify(hash, octets, this.#verifyKey, signature);
  }

  #pad(fromModule: Uint8Array): Uint8Array | undefined {
    const wanted = this.#signatureOctets;
    const given = fromModule.length;
    // A copy in either case: the module's octets are a view on a shared buffer.
    if (given === wanted) return Uint8Array.from(fromModule);
    if (given > wanted || given === 0 || this.jwk.kty === 'OKP') return undefined;
    const padded = new Uint8Array(wanted);
    if (this.jwk.kty === 'RSA') {
      padded.set(fromModule, wanted - given);
      return padded;
    }
    // r and s have the same length by PKCS#11 v3.0 §2.3.1, which is that of the longer one.
    if (given % 2 !== 0) return undefined;
    padded.set(fromModule.subarray(0, given / 2), (wanted - given) / 2);
    padded.set(fromModule.subarray(given / 2), wanted - given / 2);
    return padded;
  }

  #verify(input: SignInput, signature: Uint8Array): boolean {
    if (input.kind === 'message') return this.verifies(input.octets, signature);
    const { jwk } = this;
    return jwk.kty === 'EC'
      ? verifyEcdsaDigest(jwk, input.octets, signature)
      : jwk.kty === 'RSA' && verifyRsaDigest(this.#key, jwk.alg, input.octets, signature);
  }
}

function verifyKey(jwk: PublicJwk, key: KeyObject): VerifyKeyObjectInput {
  switch (jwk.kty) {
    case 'EC':
      return { key, dsaEncoding: 'ieee-p1363' };
    case 'OKP':
      return { key };
    case 'RSA':
      return algorithmEntry(jwk.alg).rsaPadding === 'pss'
        ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
        : { key, padding: constants.RSA_PKCS1_PADDING };
  }
}

function mismatch(): KeydError {
  return new KeydError(
    'signature_mismatch',
    'The token returned a signature that does not verify; it was not released. Check the token and its module',
  );
}
