/**
 * The parent's own check of every signature that a module host returns (S17): against the public key that is
 * pinned for the key id and the very octets that were to be signed. Cryptography is OpenSSL's.
 */
import { createPublicKey, hash as hashOctets } from 'node:crypto';
import type { SignInput } from '../backend.ts';
import { algorithmEntry } from '../../wire/algorithms.ts';
import { decodeBase64url } from '../../wire/base64url.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { asKeydError, KeydError } from '../../wire/problem.ts';
import type { VerificationThread } from './verification-thread.ts';
import { verifyAddon, type NativePublicKey } from './verify-addon.ts';

const DIGEST_OCTETS = { sha256: 32, sha384: 48 } as const;

/** DER of DigestInfo for SHA-256 without the digest (RFC 8017 §9.2 note 1). */
const SHA256_DIGEST_INFO_PREFIX = Buffer.from('3031300d060960864801650304020105000420', 'hex');

/** What is to be signed, as `VerifyingKey.prepare` makes it of a request. */
export interface PreparedInput {
  /** The digest, or for Ed25519 the message: what the signature is verified over. */
  readonly octets: Uint8Array;
  /** The same as the token's mechanism takes it: for PKCS#1 v1.5 the DigestInfo. */
  readonly forMechanism: Uint8Array;
}

/** A public key and what signing with its private half needs on this side of the socketpair. */
export class VerifyingKey {
  readonly jwk: PublicJwk;
  readonly #key: NativePublicKey;
  #disposed = false;
  /** Octets of a JOSE signature by this key. */
  readonly #signatureOctets: number;

  /** @throws KeydError `internal` if the token’s public key is none, such as a point off its curve */
  constructor(jwk: PublicJwk) {
    this.jwk = jwk;
    try {
      const spki = createPublicKey({ key: { ...jwk }, format: 'jwk' }).export({
        type: 'spki',
        format: 'der',
      });
      this.#key = new (verifyAddon().PublicKey)(jwk.alg, spki);
    } catch (thrown) {
      if (thrown instanceof KeydError) throw thrown;
      const message = `The token’s public key is invalid: ${asKeydError(thrown).message}`;
      throw new KeydError('internal', message, { cause: thrown });
    }
    this.#signatureOctets =
      jwk.kty === 'RSA' ? decodeBase64url(jwk.n).length : (algorithmEntry(jwk.alg).signatureOctets ?? 0);
  }

  /** @throws KeydError `unsupported_algorithm` for a digest to Ed25519, `malformed_request` for its wrong length */
  prepare(input: SignInput): PreparedInput {
    const { hash, rsaPadding } = algorithmEntry(this.jwk.alg);
    if (hash === undefined) {
      if (input.kind === 'message') return { octets: input.octets, forMechanism: input.octets };
      throw new KeydError('unsupported_algorithm', `${this.jwk.alg} signs messages, not digests (RFC 8032)`);
    }
    const octets = input.kind === 'message' ? hashOctets(hash, input.octets, 'buffer') : input.octets;
    if (octets.length !== DIGEST_OCTETS[hash]) {
      const wanted = `${DIGEST_OCTETS[hash]} octets (${hash})`;
      throw new KeydError(
        'malformed_request',
        `A digest for ${this.jwk.alg} has ${wanted}, not ${octets.length}`,
      );
    }
    const forMechanism = rsaPadding === 'pkcs1' ? Buffer.concat([SHA256_DIGEST_INFO_PREFIX, octets]) : octets;
    return { octets, forMechanism };
  }

  /**
   * The module's signature in JOSE form, if it is one over `prepared`.
   * @param fromModule PKCS#11 form: r‖s, R‖S or the RSA integer; some modules drop leading zeros
   * @throws KeydError `signature_mismatch`; `key_not_found` after `dispose`
   */
  release({ octets }: PreparedInput, fromModule: Uint8Array): Uint8Array {
    this.#assertHeld();
    const signature = this.#pad(fromModule);
    if (signature === undefined || !this.#key.verifies(octets, signature)) throw mismatch();
    return signature;
  }

  /**
   * As `release`, with the arithmetic on another thread: two hops cost time, and leave this one free for other
   * requests. @throws KeydError as `release` and `VerificationThread.verifies`
   */
  async releaseBeside(
    { octets }: PreparedInput,
    fromModule: Uint8Array,
    thread: VerificationThread,
  ): Promise<Uint8Array> {
    this.#assertHeld();
    const signature = this.#pad(fromModule);
    if (signature === undefined || !(await thread.verifies(this.#key, octets, signature))) throw mismatch();
    return signature;
  }

  /** Frees the native key: nothing is released by this one any more. */
  dispose(): void {
    this.#disposed = true;
    this.#key.release();
  }

  #assertHeld(): void {
    if (this.#disposed) throw new KeydError('key_not_found', 'The key was destroyed while it signed');
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
}

function mismatch(): KeydError {
  return new KeydError(
    'signature_mismatch',
    'The token returned a signature that does not verify; it was not released. Check the token and its module',
  );
}
