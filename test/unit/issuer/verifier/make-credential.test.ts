/** Sizes and refusals; that a TPM opens what is made here is shown by test/integration/verifier. */
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { makeCredential } from '../../../../src/issuer/verifier/make-credential.ts';
import { parsePublicArea, type PublicArea } from '../../../../src/wire/tpm/public-area.ts';
import { rebuildEkPublic, type EkTemplateName } from '../../../../src/wire/tpm/templates.ts';
import { ecKeyPair } from '../../../support/certificates.ts';
import { posingAgentKey } from '../../../support/posing-tpm.ts';
import { refusalOf } from '../../../support/refusal.ts';

const NAME = new Uint8Array(34).fill(1);
const SECRET = new Uint8Array(32).fill(2);

function ek(template: EkTemplateName, curve?: string): PublicArea {
  const { publicKey } =
    curve === undefined ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : ecKeyPair(curve);
  return parsePublicArea(rebuildEkPublic(template, publicKey));
}

describe('TPM2_MakeCredential', () => {
  // TPM2B_DIGEST of the HMAC, then the encrypted TPM2B of 32 octets.
  it.each([
    ['RSA-2048', ek('L-1'), 2 + 32 + 34, 256],
    ['P-256', ek('L-2', 'P-256'), 2 + 32 + 34, 2 * (2 + 32)],
    ['P-384', ek('H-3', 'P-384'), 2 + 48 + 34, 2 * (2 + 48)],
  ] as const)('has the sizes of a %s EK, and never the same octets', (_kind, area, idObject, encSecret) => {
    const first = makeCredential(area, NAME, SECRET);
    const second = makeCredential(area, NAME, SECRET);
    expect(first.idObject).toHaveLength(idObject);
    expect(first.encSecret).toHaveLength(encSecret);
    expect(Buffer.from(first.idObject).equals(second.idObject)).toBe(false);
    expect(Buffer.from(first.encSecret).equals(second.encSecret)).toBe(false);
  });

  it('does not take a key that is no EK, nor a secret longer than the EK’s hash', () => {
    const signing = parsePublicArea(posingAgentKey().publicArea);
    expect(refusalOf(() => makeCredential(signing, NAME, SECRET))).toMatch(
      /^malformed_structure: .*no storage key/,
    );
    const area = ek('L-2', 'P-256');
    expect(refusalOf(() => makeCredential(area, NAME, new Uint8Array(33)))).toMatch(/longer than sha256/);
  });
});
