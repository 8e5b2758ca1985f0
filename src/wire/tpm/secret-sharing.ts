/** A secret that only the TPM with a certain decryption key learns (Part 1, annexes B.10 and C.6). */
import { constants, diffieHellman, generateKeyPairSync, publicEncrypt, randomBytes } from 'node:crypto';
import { KeydError } from '../problem.ts';
import { TpmWriter } from './codec.ts';
import { CURVES, HASHES } from './constants.ts';
import { kdfE } from './kdf.ts';
import type { EccPublicArea, PublicArea, RsaPublicArea } from './public-area.ts';
import { keyMaterialOf, leftPad, publicAreaToKeyObject } from './public-key.ts';

/** What the secret is for: `IDENTITY` the seed of a credential, `SECRET` the salt of a session. */
export type SecretLabel = 'IDENTITY' | 'SECRET';

export interface SharedSecret {
  /** As many random octets as the key's nameAlg has. The caller wipes it. */
  readonly secret: Uint8Array;
  /** Contents of TPM2B_ENCRYPTED_SECRET. */
  readonly encrypted: Uint8Array;
}

/**
 * A fresh secret for the TPM that has `key`.
 * @throws KeydError `malformed_structure` for a key that is none
 */
export function shareSecret(key: PublicArea, label: SecretLabel): SharedSecret {
  return key.type === 'rsa' ? shareByOaep(key, label) : shareByEcdh(key, label);
}

/** Part 1 §B.10.3: OAEP with the key's nameAlg; the label has its terminating zero. */
function shareByOaep(key: RsaPublicArea, label: SecretLabel): SharedSecret {
  const secret = randomBytes(HASHES[key.nameAlg].octets);
  const encrypted = publicEncrypt(
    {
      key: publicAreaToKeyObject(key),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: key.nameAlg,
      oaepLabel: Buffer.from(`${label}\0`),
    },
    secret,
  );
  return { secret, encrypted };
}

/** Part 1 §C.6.1: one-pass ECDH, KDFe over both x-coordinates. */
function shareByEcdh(key: EccPublicArea, label: SecretLabel): SharedSecret {
  const curve = CURVES[key.curve];
  const ephemeral = generateKeyPairSync('ec', { namedCurve: curve.openssl });
  const point = keyMaterialOf(ephemeral.publicKey);
  if (point.type !== 'ecc') throw new KeydError('internal', 'an EC key pair without a point');
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: publicAreaToKeyObject(key) });
  const bits = 8 * HASHES[key.nameAlg].octets;
  const secret = kdfE(key.nameAlg, z, label, point.x, leftPad(key.x, curve.octets), bits);
  z.fill(0);
  return { secret, encrypted: new TpmWriter().tpm2b(point.x).tpm2b(point.y).toOctets() };
}
