import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { TpmWriter } from '../../../../src/wire/tpm/codec.ts';
import { HASHES, TPM_CC, TPM_RH, TPMA_NV, type HashName } from '../../../../src/wire/tpm/constants.ts';
import { nvName } from '../../../../src/wire/tpm/nv-public.ts';
import { parsePublicArea } from '../../../../src/wire/tpm/public-area.ts';
import {
  akTemplate,
  EK_TEMPLATE_NAMES,
  EK_TEMPLATES,
  ekTemplate,
  isEkTemplateName,
  rebuildEkPublic,
  signingKeyTemplate,
  srkTemplate,
} from '../../../../src/wire/tpm/templates.ts';
import { fromHex, objectNamed, toHex, vectors } from './vectors.ts';

/** policyDigest' = H(policyDigest ‖ what), from a start of zeros (Part 3 §23). */
const extend = (hash: HashName, ...parts: readonly Uint8Array[]): Uint8Array =>
  createHash(hash).update(new Uint8Array(HASHES[hash].octets)).update(Buffer.concat(parts)).digest();
const u32 = (value: number): Uint8Array => new TpmWriter().u32(value).toOctets();

/** PolicySecret(TPM_RH_ENDORSEMENT): extended by the entity's Name, then by an empty policyRef. */
function policyA(hash: HashName): Uint8Array {
  const first = extend(hash, u32(TPM_CC.PolicySecret), u32(TPM_RH.ENDORSEMENT));
  return createHash(hash).update(first).digest();
}

/** PolicyB = PolicyOR(PolicyA, PolicyAuthorizeNV(index I)); index I: EK Credential Profile §B.6.4. */
function policyB(hash: 'sha256' | 'sha384' | 'sha512'): Uint8Array {
  const bits =
    TPMA_NV.policyWrite |
    TPMA_NV.writeAll |
    TPMA_NV.ppRead |
    TPMA_NV.ownerRead |
    TPMA_NV.authRead |
    TPMA_NV.policyRead;
  const index = nvName({
    nvIndex: { sha256: 0x01c07f01, sha384: 0x01c07f02, sha512: 0x01c07f03 }[hash],
    nameAlg: hash,
    attributes: bits | TPMA_NV.noDA | TPMA_NV.written,
    authPolicy: policyA(hash),
    dataSize: 2 + HASHES[hash].octets,
  });
  const policyC = extend(hash, u32(TPM_CC.PolicyAuthorizeNV), index);
  return extend(hash, u32(TPM_CC.PolicyOR), policyA(hash), policyC);
}

describe('EK templates', () => {
  it('carry PolicyA and PolicyB as computed from their parts', () => {
    for (const name of EK_TEMPLATE_NAMES) {
      const { authPolicy, nameAlg } = parsePublicArea(ekTemplate(name));
      if (nameAlg === 'sha1') throw new Error('no EK template has SHA-1');
      expect(toHex(authPolicy)).toBe(
        toHex(EK_TEMPLATES[name].userWithAuth ? policyB(nameAlg) : policyA(nameAlg)),
      );
    }
  });

  it('rebuild the EK of the TPM from its certificate, octet for octet', () => {
    for (const name of ['L-1', 'L-2', 'H-3'] as const) {
      const certificate = new X509Certificate(fromHex(vectors.ekCertificates[name] ?? ''));
      expect(toHex(rebuildEkPublic(name, certificate.publicKey))).toBe(objectNamed(`EK ${name}`).publicArea);
    }
  });

  it('do not fit a key of another kind', () => {
    const keys = [
      generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey,
      generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey,
    ];
    for (const key of keys) {
      for (const name of ['L-1', 'L-2', 'H-1', 'H-2', 'H-4', 'H-7'] as const) {
        expect(() => rebuildEkPublic(name, key)).toThrow(
          expect.objectContaining({ code: 'evidence_invalid' }) as unknown,
        );
      }
    }
    const ed25519 = generateKeyPairSync('ed25519').publicKey;
    expect(() => rebuildEkPublic('L-2', ed25519)).toThrow(
      expect.objectContaining({ code: 'unsupported_algorithm' }) as unknown,
    );
  });

  it('low range: zero-filled unique; high range: empty unique', () => {
    for (const name of EK_TEMPLATE_NAMES) {
      const area = parsePublicArea(ekTemplate(name));
      const unique = area.type === 'ecc' ? [area.x, area.y] : [area.modulus];
      for (const part of unique) {
        expect(part.length === 0).toBe(EK_TEMPLATES[name].userWithAuth);
        expect(part.every((octet) => octet === 0)).toBe(true);
      }
    }
  });

  it('are known by name', () => {
    expect(isEkTemplateName('H-3')).toBe(true);
    for (const wrong of ['L-3', 'H-5', 'h-3', '', 'constructor']) expect(isEkTemplateName(wrong)).toBe(false);
  });
});

/** Everything but the key itself, as tpm2-tools wrote it after creation. */
const headOf = (publicArea: Uint8Array, uniqueOctets: number): string =>
  toHex(publicArea.subarray(0, publicArea.length - uniqueOctets));

describe('templates of our own keys', () => {
  it('SRK: what tpm2_createprimary with the TCG attributes made', () => {
    const made = fromHex(objectNamed('SRK').publicArea);
    expect(headOf(srkTemplate(), 68)).toBe(headOf(made, 68));
    expect(toHex(srkTemplate().subarray(-68))).toBe(`0020${'00'.repeat(32)}0020${'00'.repeat(32)}`);
  });

  it('AK: restricted, and with the unique that was given', () => {
    const unique = new Uint8Array(32).fill(7);
    const made = fromHex(objectNamed('AK').publicArea);
    expect(headOf(akTemplate(unique), 36)).toBe(headOf(made, 68));
    expect(toHex(akTemplate(unique).subarray(-36))).toBe(`0020${'07'.repeat(32)}0000`);
    expect(parsePublicArea(akTemplate(unique)).attributes).toBe(0x00050472);
  });

  it('signing keys: unrestricted, one scheme each', () => {
    for (const [alg, unique] of [
      ['ES256', 68],
      ['ES384', 100],
      ['RS256', 258],
    ] as const) {
      const empty = alg.startsWith('ES') ? 4 : 2;
      const made = fromHex(objectNamed(`key ${alg}`).publicArea);
      expect(headOf(signingKeyTemplate(alg), empty)).toBe(headOf(made, unique));
      expect(parsePublicArea(signingKeyTemplate(alg)).attributes).toBe(0x00040472);
    }
    const made = fromHex(objectNamed('key PS256').publicArea);
    expect(headOf(signingKeyTemplate('PS256', { rsaBits: 3072 }), 2)).toBe(headOf(made, 386));
  });

  it('a key with a policy is not usable by its auth value alone', () => {
    const policy = new Uint8Array(32).fill(1);
    const area = parsePublicArea(signingKeyTemplate('ES256', { authPolicy: policy }));
    expect(area.attributes).toBe(0x00040432);
    expect(area.authPolicy).toEqual(policy);
  });

  it('there is no Ed25519 template', () => {
    expect(() => signingKeyTemplate('Ed25519')).toThrow(
      expect.objectContaining({ code: 'unsupported_algorithm' }) as unknown,
    );
  });
});
