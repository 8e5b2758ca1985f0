/** TPM2_MakeCredential in software (Part 1 §24, Part 3 §12.6): only the TPM that holds both keys opens it. */
import {
  constants,
  createCipheriv,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { TpmWriter } from '../../wire/tpm/codec.ts';
import { CURVES, HASHES, type HashName } from '../../wire/tpm/constants.ts';
import { kdfA, kdfE } from '../../wire/tpm/kdf.ts';
import type { EccPublicArea, PublicArea, RsaPublicArea } from '../../wire/tpm/public-area.ts';
import { keyMaterialOf, leftPad, publicAreaToKeyObject } from '../../wire/tpm/public-key.ts';

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
  const { seed, encSecret } = ek.type === 'rsa' ? seedForRsa(ek) : seedForEcc(ek);

  const encryptionKey = kdfA(ek.nameAlg, seed, STORAGE, akName, NOTHING, ek.symmetricBits);
  // Each key is used once, so the IV of zeros that the specification demands is sound.
  const cipher = createCipheriv(`aes-${ek.symmetricBits}-cfb`, encryptionKey, new Uint8Array(16));
  const identity = new TpmWriter().tpm2b(secret).toOctets();
  const encIdentity = Buffer.concat([cipher.update(identity), cipher.final()]);

  const hmacKey = kdfA(ek.nameAlg, seed, INTEGRITY, NOTHING, NOTHING, 8 * HASHES[ek.nameAlg].octets);
  const integrity = createHmac(ek.nameAlg, hmacKey).update(encIdentity).update(akName).digest();
  return { idObject: new TpmWriter().tpm2b(integrity).octets(encIdentity).toOctets(), encSecret };
}

interface Seed {
  readonly seed: Uint8Array;
  readonly encSecret: Uint8Array;
}

/** Part 1 §B.10.3: OAEP with the EK's nameAlg; the label has its terminating zero. */
function seedForRsa(ek: RsaPublicArea): Seed {
  const seed = randomBytes(HASHES[ek.nameAlg].octets);
  const encSecret = publicEncrypt(
    {
      key: publicAreaToKeyObject(ek),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: ek.nameAlg,
      oaepLabel: Buffer.from(`${IDENTITY}\0`),
    },
    seed,
  );
  return { seed, encSecret };
}

/** Part 1 §C.6.1: one-pass ECDH, KDFe over both x-coordinates. */
function seedForEcc(ek: EccPublicArea): Seed {
  const curve = CURVES[ek.curve];
  const ephemeral = generateKeyPairSync('ec', { namedCurve: curve.openssl });
  const point = keyMaterialOf(ephemeral.publicKey);
  if (point.type !== 'ecc') throw new KeydError('internal', 'an EC key pair without a point');
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: publicAreaToKeyObject(ek) });
  const hash: HashName = ek.nameAlg;
  const seed = kdfE(hash, z, IDENTITY, point.x, leftPad(ek.x, curve.octets), 8 * HASHES[hash].octets);
  return { seed, encSecret: new TpmWriter().tpm2b(point.x).tpm2b(point.y).toOctets() };
}
