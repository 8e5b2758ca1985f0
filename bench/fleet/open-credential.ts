/** TPM2_ActivateCredential in software (Part 1 §24): what a TPM with a P-256 EK of template L-2 does. */
import { createDecipheriv, createHmac, createPublicKey, diffieHellman, timingSafeEqual } from 'node:crypto';
import { encodeBase64url } from '../../src/wire/base64url.ts';
import { TpmReader } from '../../src/wire/tpm/codec.ts';
import { kdfA, kdfE } from '../../src/wire/tpm/kdf.ts';
import { keyMaterialOf } from '../../src/wire/tpm/public-key.ts';
import type { KeyPair } from '../../test/support/certificates.ts';

const COORDINATE_OCTETS = 32;
const SECRET_OCTETS = 32;
const NOTHING = new Uint8Array();

/** @throws Error where the credential is for another EK or another AK */
export function openCredential(
  ek: KeyPair,
  akName: Uint8Array,
  idObject: Uint8Array,
  encSecret: Uint8Array,
): Uint8Array {
  const seed = sharedSeed(ek, encSecret);
  const reader = new TpmReader(idObject, 'TPM2B_ID_OBJECT');
  const integrity = reader.tpm2b(SECRET_OCTETS, 'integrity');
  const encIdentity = idObject.subarray(2 + integrity.length);
  const hmacKey = kdfA('sha256', seed, 'INTEGRITY', NOTHING, NOTHING, 256);
  const expected = createHmac('sha256', hmacKey).update(encIdentity).update(akName).digest();
  if (!timingSafeEqual(expected, integrity)) throw new Error('the credential is not for this EK and AK');
  const key = kdfA('sha256', seed, 'STORAGE', akName, NOTHING, 128);
  const decipher = createDecipheriv('aes-128-cfb', key, new Uint8Array(16));
  const identity = new TpmReader(
    Buffer.concat([decipher.update(encIdentity), decipher.final()]),
    'TPM2B_DIGEST',
  );
  return identity.tpm2b(SECRET_OCTETS, 'identity');
}

/** Part 1 §C.6.1. */
function sharedSeed(ek: KeyPair, encSecret: Uint8Array): Uint8Array {
  const reader = new TpmReader(encSecret, 'TPM2B_ENCRYPTED_SECRET');
  const x = reader.tpm2b(COORDINATE_OCTETS, 'x');
  const y = reader.tpm2b(COORDINATE_OCTETS, 'y');
  const point = { kty: 'EC', crv: 'P-256', x: encodeBase64url(x), y: encodeBase64url(y) };
  const z = diffieHellman({
    privateKey: ek.privateKey,
    publicKey: createPublicKey({ format: 'jwk', key: point }),
  });
  const own = keyMaterialOf(ek.publicKey);
  if (own.type !== 'ecc') throw new Error('the EK is not P-256');
  return kdfE('sha256', z, 'IDENTITY', x, own.x, 256);
}
