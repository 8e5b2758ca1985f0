import {
  constants,
  createDecipheriv,
  createECDH,
  createHmac,
  createPrivateKey,
  createPublicKey,
  privateDecrypt,
} from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { TpmReader } from '../../../../src/wire/tpm/codec.ts';
import { kdfA, kdfE } from '../../../../src/wire/tpm/kdf.ts';
import { keyMaterialOf } from '../../../../src/wire/tpm/public-key.ts';
import { fromHex, malformed, toHex, vectors } from './vectors.ts';

const EMPTY = new Uint8Array();

/** The file of tpm2_makecredential: magic, version, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET. */
function readBlob(blob: string): { mac: Uint8Array; identity: Uint8Array; secret: Uint8Array } {
  const reader = new TpmReader(fromHex(blob), 'credential file');
  expect([reader.u32(), reader.u32()]).toEqual([0xbadcc0de, 1]);
  const object = new TpmReader(reader.tpm2b(512, 'idObject'), 'TPMS_ID_OBJECT');
  const mac = object.tpm2b(64, 'integrity');
  return { mac, identity: object.octets(34), secret: reader.tpm2b(512, 'secret') };
}

/** Part 1 §24.5: what TPM2_ActivateCredential does with the seed. */
function open(seed: Uint8Array, { mac, identity }: ReturnType<typeof readBlob>): string {
  const name = fromHex(vectors.credentials.name);
  const macKey = kdfA('sha256', seed, 'INTEGRITY', EMPTY, EMPTY, 256);
  expect(toHex(createHmac('sha256', macKey).update(identity).update(name).digest())).toBe(toHex(mac));
  const key = kdfA('sha256', seed, 'STORAGE', name, EMPTY, 128);
  const decipher = createDecipheriv('aes-128-cfb', key, new Uint8Array(16));
  return toHex(Buffer.concat([decipher.update(identity), decipher.final()]).subarray(2));
}

describe('KDFa and KDFe', () => {
  it('open the credential that tpm2_makecredential made for an RSA EK (KDFa)', () => {
    const { privateKey, blob } = vectors.credentials.rsa;
    const parts = readBlob(blob);
    const key = createPrivateKey({ key: Buffer.from(privateKey, 'hex'), format: 'der', type: 'pkcs8' });
    const seed = privateDecrypt(
      {
        key,
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: 'sha256',
        oaepLabel: Buffer.from('IDENTITY\0'),
      },
      parts.secret,
    );
    expect(open(seed, parts)).toBe(vectors.credentials.secret);
  });

  it('open the credential that tpm2_makecredential made for an ECC EK (KDFe, KDFa)', () => {
    const { privateKey, blob } = vectors.credentials.ecc;
    const parts = readBlob(blob);
    const key = createPrivateKey({ key: Buffer.from(privateKey, 'hex'), format: 'der', type: 'pkcs8' });
    const material = keyMaterialOf(createPublicKey(key));
    const point = new TpmReader(parts.secret, 'TPMS_ECC_POINT');
    const [x, y] = [point.tpm2b(32, 'x'), point.tpm2b(32, 'y')];
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url'));
    const z = ecdh.computeSecret(Buffer.concat([Buffer.of(4), x, y]));
    if (material.type !== 'ecc') throw new Error('not an ECC key');
    expect(open(kdfE('sha256', z, 'IDENTITY', x, material.x, 256), parts)).toBe(vectors.credentials.secret);
  });

  it('derive more than one block, each prefix of the longer except for the length that KDFa binds', () => {
    const key = Uint8Array.of(1);
    expect(kdfE('sha256', key, 'X', EMPTY, EMPTY, 512).subarray(0, 32)).toEqual(
      kdfE('sha256', key, 'X', EMPTY, EMPTY, 256),
    );
    expect(kdfA('sha256', key, 'X', EMPTY, EMPTY, 512).subarray(0, 32)).not.toEqual(
      kdfA('sha256', key, 'X', EMPTY, EMPTY, 256),
    );
    expect(kdfA('sha384', key, 'X', EMPTY, EMPTY, 1024)).toHaveLength(128);
  });

  it('refuse lengths that are not whole octets', () => {
    for (const bits of [0, -8, 7, 1.5, Number.NaN]) {
      expect(() => kdfA('sha256', EMPTY, 'X', EMPTY, EMPTY, bits)).toThrow(malformed);
    }
  });
});
