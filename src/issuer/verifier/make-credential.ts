/** TPM2_MakeCredential in software (Part 1 §24, Part 3 §12.6): only the TPM that holds both keys opens it. */
import { createCipheriv, createHmac } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { TpmWriter } from '../../wire/tpm/codec.ts';
import { HASHES } from '../../wire/tpm/constants.ts';
import { kdfA } from '../../wire/tpm/kdf.ts';
import type { PublicArea } from '../../wire/tpm/public-area.ts';
import { shareSecret } from '../../wire/tpm/secret-sharing.ts';

export interface Credential {
  /** TPM2B_ID_OBJECT contents: integrity HMAC and encrypted identity. */
  readonly idObject: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET contents: the seed for the EK. */
  readonly encSecret: Uint8Array;
}

// Part 1 §24.3: the labels of the seed, the encryption key and the HMAC key.
const IDENTITY = 'IDENTITY';
const STORAGE = 'STORAGE';
const INTEGRITY = 'INTEGRITY';
const NOTHING = new Uint8Array();

/**
 * Encrypts `secret` so that TPM2_ActivateCredential gives it back only where the EK and an object named `akName`
 * are in one TPM. The secret has at most the octets of the EK's nameAlg.
 * @throws KeydError `malformed_structure` for a key that is no EK
 */
export function makeCredential(ek: PublicArea, akName: Uint8Array, secret: Uint8Array): Credential {
  if (ek.symmetricBits === undefined) {
    throw new KeydError('malformed_structure', 'the EK is no storage key: it has no symmetric algorithm');
  }
  if (secret.length > HASHES[ek.nameAlg].octets) {
    throw new KeydError(
      'malformed_structure',
      `a credential of ${secret.length} octets is longer than ${ek.nameAlg}`,
    );
  }
  const { secret: seed, encrypted: encSecret } = shareSecret(ek, IDENTITY);

  const encryptionKey = kdfA(ek.nameAlg, seed, STORAGE, akName, NOTHING, ek.symmetricBits);
  // Each key is used once, so the IV of zeros that the specification demands is sound.
  const cipher = createCipheriv(`aes-${ek.symmetricBits}-cfb`, encryptionKey, new Uint8Array(16));
  const identity = new TpmWriter().tpm2b(secret).toOctets();
  const encIdentity = Buffer.concat([cipher.update(identity), cipher.final()]);

  const hmacKey = kdfA(ek.nameAlg, seed, INTEGRITY, NOTHING, NOTHING, 8 * HASHES[ek.nameAlg].octets);
  const integrity = createHmac(ek.nameAlg, hmacKey).update(encIdentity).update(akName).digest();
  return { idObject: new TpmWriter().tpm2b(integrity).octets(encIdentity).toOctets(), encSecret };
}
